"""The pixel base: a small unconditional UNet2DModel at 32 px for the DDPM method (Ho et al. 2020), without text or autoencoder."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from studio.starter import pictures as P
from studio.starter.bench import Bench
from studio.starter.captions import BACKGROUNDS
from studio.starter.loop import Plan, fit, generator_at, load_weights, read_ema
from studio.starter.unet import min_snr_weights
from studio.starter.vae import to_pixels

if TYPE_CHECKING:
    from studio.starter.recipe import Recipe

MAX_BYTES = 8_000_000
CARD = """---
model_name: Domain Studio starter, pixels
license: other
license_name: Apache-2.0, MIT and CC BY 4.0 by parts, see the starter's README.md
---

# The embedded pixel base

A small unconditional diffusion model at 32 px in the layout of `DDPMPipeline`, for the DDPM method: it draws emoji-like things and reads
no text. How it was made, from what, and its figures are told with the embedded base model, in the folder above.
"""


def make_pixel_unet(recipe: "Recipe") -> UNet2DModel:
    """Return an untrained UNet for pictures [B, 3, pixel_px, pixel_px]."""
    widths = recipe.pixel_widths
    attends = [recipe.pixel_px >> level <= 8 for level in range(len(widths))]
    return UNet2DModel(
        sample_size=recipe.pixel_px,
        block_out_channels=widths,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=16,
    )


def make_pixel_scheduler() -> DDPMScheduler:
    """Return the scheduler that the pixel base is trained with: the cosine schedule of Nichol and Dhariwal 2021, v-prediction."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=True)


def pixel_bank(rgba: np.ndarray, recipe: "Recipe") -> torch.Tensor:
    """Return icons [N, 128, 128, 4] as small pictures: on white three times in four, else on a named colour: uint8 [N, P, P, 3]."""
    rng = np.random.default_rng(recipe.seed)
    colours = list(BACKGROUNDS.values())
    grounds = [(255, 255, 255) if rng.random() < 0.75 else colours[rng.integers(len(colours))] for _ in rgba]
    return torch.from_numpy(np.stack([P.shrink(P.flatten(p, c), recipe.pixel_px) for p, c in zip(rgba, grounds, strict=True)]))


def train_pixel(bank: torch.Tensor, folder: Path, bench: Bench) -> UNet2DModel:
    """Train on uint8 pictures [N, P, P, 3], mirrored at random, resuming where the folder's state stands."""
    recipe, scheduler = bench.recipe, make_pixel_scheduler()
    torch.manual_seed(recipe.seed)
    unet = make_pixel_unet(recipe)
    seed = recipe.seed
    if bench.start:  # other noise than the weights have seen
        load_weights(unet, bench.start / "pixel" / "unet" / "diffusion_pytorch_model.safetensors")
        seed += 1
    unet.to(bench.device)
    plan = Plan(recipe.pixel_samples // recipe.unet_batch, recipe.unet_batch, 1e-3, hold=0.5, warmup_steps=200, seed=seed)
    pool = to_pixels(bank).to(bench.device)

    def loss_at(step: int) -> torch.Tensor:
        x, noise, t = draw(pool, plan.batch, generator_at(plan.seed, step))
        return (v_losses(unet, scheduler, x, noise, t) * min_snr_weights(scheduler, t)).mean()

    average = fit(unet, loss_at, plan, folder / "state.safetensors", bench.progress)
    unet.load_state_dict(average, strict=False)
    return unet.eval()


def draw(pool: torch.Tensor, batch: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw pictures and noise [B, 3, S, S], and stratified timesteps [B], of one step."""
    x = pool[torch.randint(len(pool), (batch,), generator=g).to(pool.device)]
    x = torch.where((torch.rand(batch, 1, 1, 1, generator=g) < 0.5).to(pool.device), x.flip(3), x)
    noise = torch.randn(x.shape, generator=g).to(pool.device)
    u = (torch.arange(batch) + torch.rand(batch, generator=g)) / batch
    return x, noise, (u * 1000).long().clamp(max=999).to(pool.device)


def v_losses(unet: UNet2DModel, scheduler: DDPMScheduler, x: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the squared error of v per picture, [B]."""
    out = unet(scheduler.add_noise(x, noise, t), t).sample
    return (out - scheduler.get_velocity(x, noise, t)).square().mean((1, 2, 3))


@torch.no_grad()
def measure_v_mse(unet: UNet2DModel, bank: torch.Tensor, num_batches: int = 16) -> float:
    """Return the mean squared error of v over fixed draws from a bank uint8 [N, H, W, 3] (unweighted, timesteps stratified)."""
    scheduler, device = make_pixel_scheduler(), next(unet.parameters()).device
    pool = to_pixels(bank).to(device)
    losses = [v_losses(unet, scheduler, *draw(pool, 64, generator_at(99, n))).mean() for n in range(num_batches)]
    return round(float(torch.stack(losses).mean()), 4)


def save_pixel(work: Path, out: Path, recipe: "Recipe") -> None:
    """Write the newest averaged weights as a DDPMPipeline folder in half precision."""
    unet = make_pixel_unet(recipe)
    unet.load_state_dict(read_ema(work / "state.safetensors")[0])
    DDPMPipeline(unet.half(), make_pixel_scheduler()).save_pretrained(out, safe_serialization=True)
    (out / "README.md").write_text(CARD, encoding="utf-8")
    num_bytes = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    assert num_bytes <= MAX_BYTES, f"the pixel base is {num_bytes / 1e6:.1f} MB"
