"""Latents of a KL autoencoder (Kingma & Welling 2014; Rombach 2022), shared by the families that denoise them."""

from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Latent, Parts

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """Posterior mean and std [B, C, h, w] of px [B, 3, H, W] in [-1, 1], shifted and scaled; fp32 where the VAE asks for it."""
    import torch

    vae = _vae(parts)
    with torch.no_grad():
        posterior = vae.encode(px.to(parts.device, vae.dtype)).latent_dist
    scale, shift = vae.config.scaling_factor, _shift(vae)
    return Latent(((posterior.mean - shift) * scale).float(), (posterior.std * scale).float())


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of latents z [B, C, h, w]."""
    import torch

    vae = _vae(parts)
    with torch.no_grad():
        return vae.decode(z.to(vae.device, vae.dtype) / vae.config.scaling_factor + _shift(vae)).sample.float().clamp(-1, 1)


def _vae(parts: Parts) -> Any:
    import torch

    vae = parts.modules["vae"]
    if vae.config.force_upcast and vae.dtype == torch.float16:
        vae.to(torch.float32)
    return vae


def _shift(vae: Any) -> float:
    return vae.config.shift_factor or 0.0


def vae_scale(vae: Any) -> int:
    """Pixels per latent position."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def check_channels(path: "Path", denoiser: Any, vae: Any) -> None:
    """StudioError unless the denoiser reads just the latents that the VAE writes."""
    reads, writes = denoiser.config.in_channels, vae.config.latent_channels
    if reads != writes and reads - writes > 1:
        raise StudioError(f"{path}: this is an inpainting or depth model ({reads} input channels): use its plain version")
    if reads != writes:
        raise StudioError(f"{path}: its VAE writes {writes} channels, but its denoiser reads {reads}: put the VAE of this very model there")
