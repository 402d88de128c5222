"""The autoencoder: AutoencoderKL, factor 4, four channels, trained on icons of the training styles, textures and photographs."""

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from studio.starter.bench import Bench
from studio.starter.loop import Plan, fit, generator_at, load_weights

CROP_PX = 32


def make_vae(size_px: int, widths: tuple[int, ...] = (16, 32, 64)) -> AutoencoderKL:
    """Return an untrained autoencoder whose residual branches start near zero, which speeds the first minutes."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=size_px,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        for name, p in vae.named_parameters():
            if name.endswith("conv2.weight"):
                p.mul_(0.1)
    return vae


def to_pixels(rgb: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1]."""
    return rgb.permute(0, 3, 1, 2).float() / 127.5 - 1


def draw_crops(bank: torch.Tensor, batch: int, step: int, seed: int) -> torch.Tensor:
    """Draw one step's crops from uint8 [N, S, S, 3]: 32 px and whole ones in turn, mirrored and turned."""
    g = generator_at(seed, step)
    whole = step % 2 == 1
    rows = torch.randint(len(bank), (batch // 4 if whole else batch,), generator=g)
    size_px = bank.shape[1]
    if whole:
        px = to_pixels(bank[rows])
    else:
        corner = torch.randint(size_px - CROP_PX + 1, (len(rows), 2), generator=g).tolist()
        cut = [bank[r, y : y + CROP_PX, x : x + CROP_PX] for r, (y, x) in zip(rows.tolist(), corner, strict=True)]
        px = to_pixels(torch.stack(cut))
    turn = torch.randint(8, (1,), generator=g).item()
    px = torch.rot90(px, turn % 4, (2, 3))
    return (px.flip(3) if turn >= 4 else px).contiguous()


def reconstruction_loss(out: torch.Tensor, px: torch.Tensor) -> torch.Tensor:
    """L1 + 4 MSE + 0.5 L1 of the picture gradients, of pictures [B, 3, S, S]: one number."""
    d = out - px
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    return d.abs().mean() + 4 * d.square().mean() + 0.5 * edges


def train_vae(bank: torch.Tensor, plan: Plan, folder: Path, bench: Bench) -> AutoencoderKL:
    """Train on uint8 pictures [N, S, S, 3]; the returned model carries the averaged weights."""
    torch.manual_seed(plan.seed)
    device = bench.device
    vae = make_vae(bank.shape[1], bench.recipe.vae_widths)
    if bench.start:
        load_weights(vae, bench.start / "vae" / "diffusion_pytorch_model.safetensors")
    vae.to(device)

    def loss_at(step: int) -> torch.Tensor:
        px = draw_crops(bank, plan.batch, step, plan.seed).to(device)
        posterior = vae.encode(px).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator_at(plan.seed + 1, step)).to(device)
        out = vae.decode(posterior.mean + posterior.std * noise).sample
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        return reconstruction_loss(out, px) + 3e-4 * kl

    average = fit(vae, loss_at, plan, folder / "state.safetensors", bench.progress)
    vae.load_state_dict(average, strict=False)
    return vae.eval()


@torch.no_grad()
def encode(vae: AutoencoderKL, rgb: torch.Tensor, batch: int = 64) -> torch.Tensor:
    """Posterior means of uint8 pictures [N, H, W, 3]: float [N, 4, H/4, W/4] on the CPU."""
    device = next(vae.parameters()).device
    return torch.cat([vae.encode(to_pixels(b).to(device)).latent_dist.mean.cpu() for b in rgb.split(batch)])


@torch.no_grad()
def fold_normalisation(vae: AutoencoderKL, z: torch.Tensor) -> None:
    """Make latents [N, C, h, w] zero-mean and unit-variance per channel by changing the two 1x1 convolutions only.

    mean' = (mean - m) / s and logvar' = logvar - 2 ln s in quant_conv; z = z' s + m in post_quant_conv: decoding is
    unchanged, and scaling_factor stays 1.
    """
    device = next(vae.parameters()).device
    m, s = z.mean((0, 2, 3)).to(device), z.std((0, 2, 3)).to(device)
    c = len(m)
    pre, post = vae.quant_conv, vae.post_quant_conv
    pre.weight[:c] /= s.view(-1, 1, 1, 1)
    pre.bias[:c] = (pre.bias[:c] - m) / s
    pre.bias[c:] -= 2 * s.log()
    post.bias += (post.weight * m.view(1, -1, 1, 1)).sum((1, 2, 3))
    post.weight *= s.view(1, -1, 1, 1)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, rgb: torch.Tensor, batch: int = 64) -> torch.Tensor:
    """Encode (posterior mean) and decode uint8 pictures [N, H, W, 3] to uint8 pictures."""
    device = next(vae.parameters()).device
    out = [vae.decode(z.to(device)).sample.cpu() for z in encode(vae, rgb, batch).split(batch)]
    return ((torch.cat(out).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def psnr_db(vae: AutoencoderKL, rgb: torch.Tensor) -> float:
    """Mean over uint8 pictures [N, S, S, 3] of the PSNR of their reconstructions, in dB."""
    error = (reconstruct(vae, rgb).float() - rgb.float()).square().mean((1, 2, 3)).clamp_min(1e-3)
    return float((10 * (math.log10(255**2) - error.log10())).mean())
