"""Which noise levels training draws: plain mathematics, without torch, so that a screen can show what the loop will do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["auto", "uniform", "logit-normal"]
NORMAL = NormalDist()


@dataclass(frozen=True)
class Timesteps:
    """How noise levels in (0, 1) are drawn: the density, and the shift towards noise; auto and None = as the family and its files say."""

    kind: Kind = "auto"
    shift: float | None = None


AUTO = Timesteps()


def shifted(level: Any, shift: float) -> Any:
    """A noise level (a number or a tensor) moved towards noise where shift > 1: shift s / (1 + (shift - 1) s) (Esser 2024, eq. 23)."""
    return shift * level / (1 + (shift - 1) * level)


def levels(u: "Tensor", kind: str, shift: float) -> "Tensor":
    """Noise levels [B] in [0, 1) of u [B] in [0, 1): the quantiles of the density `kind`, shifted.

    logit-normal: the normal quantile through a sigmoid (Esser 2024, section 3.1; location 0, scale 1).
    """
    import torch

    if kind == "logit-normal":
        u = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)).sigmoid()
    return shifted(u, shift)


def share_below(level: float, kind: str, shift: float) -> float:
    """The share of drawn noise levels that lie below `level`: the inverse of `levels`."""
    if not 0 < level < 1:
        return min(max(level, 0.0), 1.0)
    plain = shifted(level, 1 / shift)
    if kind == "uniform":
        return plain
    return NORMAL.cdf(math.log(plain / (1 - plain)))


def histogram(kind: str, shift: float, bins: int = 20) -> list[float]:
    """The share of drawn noise levels in each of equal bins of (0, 1), from the picture's side to the noise's."""
    edges = [share_below(i / bins, kind, shift) for i in range(bins + 1)]
    return [high - low for low, high in zip(edges, edges[1:], strict=False)]


def shift_of(scheduler: Mapping[str, Any], num_tokens: int) -> float:
    """The shift that a flow scheduler's configuration means for pictures of this many tokens.

    Dynamic shifting: mu grows linearly with the tokens (diffusers' `calculate_shift`), and the shift is exp(mu), or mu itself.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return float(scheduler.get("shift") or scheduler.get("flow_shift") or 1.0)
    first, last = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    low, high = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    mu = low + (high - low) * (num_tokens - first) / (last - first)
    return mu if scheduler.get("time_shift_type") == "linear" else math.exp(mu)
