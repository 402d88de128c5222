"""Latents as rows of tokens, 2 x 2 positions each, and where each token lies: what FLUX.1 and its kin read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 2  # latent positions per side of a token
OF_PICTURE = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
OF_TEXT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
TARGETS = {  # of the blocks of FLUX.1 and Chroma
    "attention": (*OF_PICTURE, *OF_TEXT),
    "feed_forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
}


def pack(z: "Tensor") -> "Tensor":
    """Tokens [B, h/2 w/2, 4 C] of latents z [B, C, h, w], in reading order."""
    count, channels, height, width = z.shape
    blocks = z.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(count, height // 2 * (width // 2), channels * 4)


def unpack(tokens: "Tensor", height: int, width: int) -> "Tensor":
    """Latents [B, C, height, width] of tokens [B, L, 4 C]: the inverse of `pack`."""
    count, _, channels = tokens.shape
    blocks = tokens.view(count, height // 2, width // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(count, channels // 4, height, width)


def positions(z: "Tensor") -> "Tensor":
    """(0, row, column) [L, 3], fp32, of each token of latents z [B, C, h, w]."""
    import torch

    rows, columns = (torch.arange(side // 2, device=z.device) for side in z.shape[-2:])
    grid = torch.cartesian_prod(rows, columns).float()
    return torch.cat([torch.zeros_like(grid[:, :1]), grid], 1)


def check_channels(path: Path, transformer: Any, latent_channels: int) -> None:
    """StudioError unless the transformer's tokens hold just 2 x 2 positions of the VAE's latents."""
    reads = transformer.config.in_channels
    if reads != 4 * latent_channels:
        kind = "is a fill, depth or other conditioned model" if reads > 4 * latent_channels else "has the VAE of another model"
        raise StudioError(
            f"{path}: it {kind} (its transformer reads {reads} channels a token, the VAE makes {4 * latent_channels}): use the plain model"
        )
