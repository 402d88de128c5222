"""The generator: a small UNet2DConditionModel on cached latents and cached text embeddings.

v-prediction (Salimans and Ho 2022), cosine schedule, min-SNR weighting with gamma 5 (Hang et al. 2023), stratified
timesteps, averaged weights.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file

from studio.starter.bench import Bench
from studio.starter.captions import EMPTY_SHARE
from studio.starter.loop import Plan, fit, generator_at, load_weights
from studio.starter.recipe import Recipe

MIN_SNR_GAMMA = 5.0


def make_unet(recipe: Recipe) -> UNet2DConditionModel:
    """Return an untrained UNet with attention wherever the latent is at most recipe.unet_attention_side wide."""
    widths, side = recipe.unet_widths, recipe.size_px // 4
    attends = [side >> level <= recipe.unet_attention_side for level in range(len(widths))]
    return UNet2DConditionModel(
        sample_size=side,
        block_out_channels=widths,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=tuple(max(2, w // 32) for w in widths),
        cross_attention_dim=recipe.text_width,
        use_linear_projection=True,
    )


def make_scheduler() -> DDIMScheduler:
    """Return the scheduler that the model is trained with and ships with."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )


@dataclass(frozen=True)
class Cache:
    """What the UNet learns from: latents [N, 4, h, w], their captions (index lists), and the embeddings of captions."""

    latents: torch.Tensor
    chances: torch.Tensor  # [N]: how often each latent is drawn
    captions: torch.Tensor  # [N, 3]: rows of `embeds`
    embeds: torch.Tensor  # [T, L, D]; row 0 is the empty caption

    @classmethod
    def read(cls, file: Path, device: str) -> "Cache":
        """The cache in a file, on a device."""
        t = load_file(file)
        return cls(t["latents"].to(device), t["chances"], t["captions"], t["embeds"].to(device))


def draw_batch(cache: Cache, batch: int, step: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Return z [B, C, h, w], text embeddings [B, L, D], noise like z, and stratified timesteps [B] of one step."""
    g = generator_at(seed, step)
    rows = torch.multinomial(cache.chances, batch, replacement=True, generator=g)
    wording = torch.randint(4, (batch,), generator=g).clamp(max=3) % 3  # the first wording twice as often
    text = cache.captions[rows, wording]
    text = torch.where(torch.rand(batch, generator=g) < EMPTY_SHARE, 0, text)
    noise = torch.randn((batch, *cache.latents.shape[1:]), generator=g)
    u = (torch.arange(batch) + torch.rand(batch, generator=g)) / batch
    device = cache.latents.device
    return (
        cache.latents[rows.to(device)],
        cache.embeds[text.to(device)],
        noise.to(device),
        (u * 1000).long().clamp(max=999).to(device),
    )


def v_losses(unet: UNet2DConditionModel, scheduler: DDIMScheduler, drawn: tuple) -> torch.Tensor:
    """Return the squared error of v per sample, [B]."""
    z, text, noise, t = drawn
    out = unet(scheduler.add_noise(z, noise, t), t, encoder_hidden_states=text).sample
    return (out - scheduler.get_velocity(z, noise, t)).square().mean((1, 2, 3))


def min_snr_weights(scheduler: DDIMScheduler, t: torch.Tensor) -> torch.Tensor:
    """min(SNR, gamma) / (SNR + 1) of timesteps [B] (Hang 2023), the weight for v-prediction, scaled to a mean near one."""
    alpha = scheduler.alphas_cumprod.to(t.device)[t]
    snr = alpha / (1 - alpha)
    return snr.clamp(max=MIN_SNR_GAMMA) / (snr + 1) / 0.4


@torch.no_grad()
def begin(unet: UNet2DConditionModel, model: Path) -> None:
    """Begin with the UNet of a finished model; blocks that it lacks add nothing at first."""
    missing = load_weights(unet, model / "unet" / "diffusion_pytorch_model.safetensors")
    for name, p in unet.named_parameters():
        if name in missing and ".proj_out." in name:
            p.zero_()


def train_unet(cache: Cache, samples: int, folder: Path, bench: Bench) -> UNet2DConditionModel:
    """Train on `samples` samples, resuming where the folder's state stands."""
    recipe = bench.recipe
    torch.manual_seed(recipe.seed)
    unet = make_unet(recipe)
    if bench.start:
        begin(unet, bench.start)
    unet.to(cache.latents.device)
    plan = unet_plan(recipe, samples, bench.start is not None)
    scheduler = make_scheduler()

    def loss_at(step: int) -> torch.Tensor:
        drawn = draw_batch(cache, plan.batch, step, plan.seed)
        return (v_losses(unet, scheduler, drawn) * min_snr_weights(scheduler, drawn[3])).mean()

    average = fit(unet, loss_at, plan, folder / "state.safetensors", bench.progress)
    unet.load_state_dict(average, strict=False)
    return unet.eval()


def unet_plan(recipe: Recipe, samples: int, goes_on: bool = False) -> Plan:
    """Return the UNet's plan for a budget of samples; where it begins with trained weights, it draws other noise than they saw."""
    seed, hold = (recipe.seed + 1, 0.4) if goes_on else (recipe.seed, 0.6)
    return Plan(samples // recipe.unet_batch, recipe.unet_batch, 1e-3, hold=hold, warmup_steps=200, seed=seed)


@torch.no_grad()
def measure_v_mse(unet: UNet2DConditionModel, cache: Cache, num_batches: int = 16) -> float:
    """Return the mean squared error of v over fixed draws (fixed seed, unweighted, timesteps stratified)."""
    scheduler = make_scheduler()
    losses = [v_losses(unet, scheduler, draw_batch(cache, 64, i, 99)).mean() for i in range(num_batches)]
    return round(float(torch.stack(losses).mean()), 4)
