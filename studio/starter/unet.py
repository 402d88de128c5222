"""The generator: a small UNet2DConditionModel on cached latents and cached text embeddings.

v-prediction (Salimans and Ho 2022), cosine schedule, min-SNR weighting with gamma 5 (Hang et al. 2023), stratified
timesteps, averaged weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file

from studio.starter.captions import EMPTY_SHARE
from studio.starter.loop import Plan, fit, generator_at
from studio.starter.recipe import Recipe

MIN_SNR_GAMMA = 5.0


def make_unet(recipe: Recipe) -> UNet2DConditionModel:
    """Return an untrained UNet; attention at 16x16 would cost a third of the speed."""
    widths = recipe.unet_widths
    cross, plain = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    return UNet2DConditionModel(
        sample_size=recipe.size_px // 4,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) + (cross,) * (len(widths) - 1),
        up_block_types=(plain,) * (len(widths) - 1) + ("UpBlock2D",),
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
        t = load_file(file)
        return cls(t["latents"].to(device), t["chances"], t["captions"], t["embeds"].to(device))


def draw_batch(cache: Cache, batch: int, step: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Return z, text, noise and stratified timesteps of one step."""
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
    """min(SNR, gamma) / (SNR + 1), the weight for v-prediction, scaled to a mean near one."""
    alpha = scheduler.alphas_cumprod.to(t.device)[t]
    snr = alpha / (1 - alpha)
    return snr.clamp(max=MIN_SNR_GAMMA) / (snr + 1) / 0.4


def train_unet(cache: Cache, recipe: Recipe, samples: int, folder: Path, progress: Callable[[str], None]) -> UNet2DConditionModel:
    """Train on `samples` samples in all, resuming where the folder's state stands."""
    torch.manual_seed(recipe.seed)
    unet = make_unet(recipe).to(cache.latents.device)
    plan = unet_plan(recipe, samples)
    scheduler = make_scheduler()

    def loss_at(step: int) -> torch.Tensor:
        drawn = draw_batch(cache, plan.batch, step, plan.seed)
        return (v_losses(unet, scheduler, drawn) * min_snr_weights(scheduler, drawn[3])).mean()

    average = fit(unet, loss_at, plan, folder / "state.safetensors", progress)
    unet.load_state_dict(average, strict=False)
    return unet.eval()


def unet_plan(recipe: Recipe, samples: int) -> Plan:
    """Return the UNet's plan for a budget of samples."""
    return Plan(samples // recipe.unet_batch, recipe.unet_batch, 1e-3, hold=0.6, warmup_steps=200, seed=recipe.seed)


@torch.no_grad()
def measure_v_mse(unet: UNet2DConditionModel, cache: Cache, num_batches: int = 16) -> float:
    """Return the mean squared error of v over fixed draws (fixed seed, unweighted, timesteps stratified)."""
    scheduler = make_scheduler()
    losses = [v_losses(unet, scheduler, draw_batch(cache, 64, i, 99)).mean() for i in range(num_batches)]
    return round(float(torch.stack(losses).mean()), 4)
