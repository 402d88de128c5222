"""Mathematics shared by families with discrete timesteps (DDPM, Ho 2020): epsilon and v prediction."""

from typing import TYPE_CHECKING

from studio.families.base import Parts
from studio.families.timesteps import AUTO, Timesteps, levels

if TYPE_CHECKING:
    from torch import Tensor


def _signal_noise(parts: Parts, t: "Tensor", ndim: int) -> "tuple[Tensor, Tensor]":
    """(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)), fp32, shaped [B, 1, …] with `ndim` dimensions."""
    alpha_bar = parts.scheduler.alphas_cumprod.to(t.device).float()[t].view(-1, *[1] * (ndim - 1))
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def sample_t(parts: Parts, u: "Tensor", shape: tuple[int, ...], how: Timesteps = AUTO) -> "Tensor":
    """Timesteps [B] int64 from u [B] in [0, 1): uniform over the schedule, unless `how` says otherwise."""
    num = parts.facts.num_train_timesteps
    if how != AUTO:
        u = levels(u, "uniform" if how.kind == "auto" else how.kind, how.shift or 1.0)
    return (u * num).long().clamp_(max=num - 1)


def add_noise(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """z_t = sqrt(alpha_bar_t) z + sqrt(1 - alpha_bar_t) eps (DDPM eq. 4)."""
    signal, noise = _signal_noise(parts, t, z.ndim)
    return (signal * z + noise * eps).to(z.dtype)


def target(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """What the denoiser is trained to output: eps, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) z (Salimans & Ho 2022)."""
    if parts.facts.prediction_type == "epsilon":
        return eps
    signal, noise = _signal_noise(parts, t, z.ndim)
    return (signal * eps - noise * z).to(z.dtype)


def weight(parts: Parts, t: "Tensor", gamma: float) -> "Tensor":
    """Min-SNR loss weights [B] (Hang 2023): min(snr, gamma)/snr for epsilon, /(snr + 1) for v; ones where gamma is 0."""
    import torch

    if not gamma:
        return torch.ones(t.shape, device=t.device)
    signal, noise = _signal_noise(parts, t, 1)
    snr = (signal / noise.clamp_min(1e-8)).square()
    clipped = snr.clamp(max=gamma)
    return clipped / snr.clamp_min(1e-8) if parts.facts.prediction_type == "epsilon" else clipped / (snr + 1)
