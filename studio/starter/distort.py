"""Icons made to look otherwise, so that towers learn what is shown and not how: moved, recoloured, outlined, blurred."""

import numpy as np
import torch
import torch.nn.functional as F

CANVAS_PX = 80  # pictures are resampled to their size from this canvas, at random places


def canvas_rgba(rgba: np.ndarray) -> torch.Tensor:
    """Resize pictures [N, 128, 128, 4] to CANVAS_PX, colours premultiplied so that edges stay clean: uint8."""
    from PIL import Image

    out = [Image.fromarray(p).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BOX) for p in rgba]
    return torch.from_numpy(np.stack([np.asarray(p) for p in out]))


def _chosen(batch: int, share: float, g: torch.Generator) -> torch.Tensor:
    return torch.rand(batch, 1, 1, 1, generator=g) < share


def resample(px: torch.Tensor, size_px: int, g: torch.Generator, tilt: float = 0.0) -> torch.Tensor:
    """Scale, shift, mirror and turn (by up to `tilt` radians) pictures [B, C, H, W]: [B, C, size_px, size_px]."""
    batch = len(px)
    scale = 0.9 + 0.3 * torch.rand(batch, generator=g)
    shift = 0.2 * torch.rand(batch, 2, generator=g) - 0.1
    mirror = 1 - 2 * (torch.rand(batch, generator=g) < 0.5).float()
    turn = tilt * (2 * torch.rand(batch, generator=g) - 1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * mirror * turn.cos(), -scale * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * mirror * turn.sin(), scale * turn.cos()
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, (batch, px.shape[1], size_px, size_px), align_corners=False)
    return F.grid_sample(px, grid, padding_mode="border", align_corners=False)


def flatten(rgba: torch.Tensor, grounds: torch.Tensor) -> torch.Tensor:
    """Composite uint8 [B, H, W, 4] over colours [B, 3] of 0-255: [B, 3, H, W] in [0, 1]."""
    alpha = rgba[..., 3:].float() / 255
    return ((rgba[..., :3].float() * alpha + grounds[:, None, None].float() * (1 - alpha)) / 255).permute(0, 3, 1, 2)


def restyle(rgba: torch.Tensor, px: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Draw pictures [B, 3, H, W] in [0, 1], composited from `rgba`, in made-up styles: outlines, line art, silhouettes, other colours."""
    batch = len(px)
    alpha = rgba[..., 3].float()[:, None] / 255
    marks = torch.cat([px.mean(1, keepdim=True), alpha], 1)
    steps = F.pad((marks[..., 1:] - marks[..., :-1]).abs(), (0, 1)) + F.pad((marks[..., 1:, :] - marks[..., :-1, :]).abs(), (0, 0, 0, 1))
    edges = (steps.amax(1, keepdim=True) * (2 + 6 * torch.rand(batch, 1, 1, 1, generator=g)) - 0.4).clamp(0, 1)
    edges = torch.where(_chosen(batch, 0.6, g), F.max_pool2d(edges, 3, 1, 1), edges)
    mixed = recolour(px, g)
    mixed = torch.where(_chosen(batch, 0.45, g), mixed * (1 - edges), mixed)
    mixed = torch.where(_chosen(batch, 0.12, g), 1 - edges, mixed)
    mixed = torch.where(_chosen(batch, 0.08, g), 1 - alpha, mixed)
    return torch.where(_chosen(batch, 0.06, g), 1 - mixed, mixed)


def recolour(px: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Change contrast, brightness and saturation of pictures in [0, 1], turn some hues, make some grey, blur some."""
    batch = len(px)
    grey = px.mean(1, keepdim=True)
    saturation = 2 * torch.rand(batch, 1, 1, 1, generator=g)
    px = torch.where(_chosen(batch, 0.15, g), grey.expand_as(px), grey + (px - grey) * saturation)
    order = torch.randperm(3, generator=g)
    px = torch.where(_chosen(batch, 0.15, g), px[:, order], px)
    px = 0.5 + (px - 0.5) * (0.6 + 0.8 * torch.rand(batch, 1, 1, 1, generator=g)) + 0.3 * torch.rand(batch, 1, 1, 1, generator=g) - 0.15
    small = F.interpolate(px, scale_factor=0.5, mode="bilinear", antialias=True)
    blurred = F.interpolate(small, size=px.shape[-1], mode="bilinear")
    return torch.where(_chosen(batch, 0.25, g), blurred, px).clamp(0, 1)


def erase(px: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Cover a square of a third of the pictures [B, C, S, S] with grey, so that no single part decides."""
    batch, size_px = len(px), px.shape[-1]
    side = size_px // 4
    corner = torch.randint(size_px - side, (batch, 2, 1), generator=g)
    line = torch.arange(size_px)
    inside = (line >= corner) & (line < corner + side)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :] & (torch.rand(batch, 1, 1, generator=g) < 0.33)
    return px.masked_fill(hole[:, None], 0.0)
