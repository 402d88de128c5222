"""Held-out loss on fixed noise, paired with the base: the one curve that resolves small differences.

Every (picture, noise level, noise) triple is the same for base and adapter, so their difference carries none of the
noise of an ordinary training loss. Weighted by masks alone, without caption dropout, in the family's own target space.
"""

import math
import statistics
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.encode.build import Encoded, Item
from studio.families.base import Parts
from studio.methods.base import Attached
from studio.spec import EvaluateSpec
from studio.store import sha256
from studio.train.objective import Batch, sample_losses, stack_weights
from studio.train.randomness import generator

if TYPE_CHECKING:
    from torch import Tensor

FORWARD_BATCH = 16
MIN_IMAGES = 5  # fewer cannot tell a turn from chance (one-sided sign test: 0.5^5 = 0.03)
DIVERGED = 1e9  # stands for a loss that is no longer a number
NOISE_SEED = 20  # fixed for all runs, so that runs on one dataset can be compared


@dataclass(frozen=True)
class Score:
    """Mean losses over a set of pictures, adapted beside base."""

    loss: float
    base: float
    log_ratio: float  # mean over pictures of log(adapted / base); below 0 = better than the base
    standard_error: float  # of log_ratio, over pictures
    num_better: int
    num_images: int
    ratios: list[float]  # log(adapted / base) per picture
    num_masked: int = 0  # pictures of which masks leave parts out, weighted as in training


class HeldOut:
    """Measures an adapter on held-out pictures and, beside them, on as many training pictures."""

    def __init__(self, family: ModuleType, parts: Parts, encoded: Encoded, spec: EvaluateSpec) -> None:
        self._family, self._parts, self._encoded, self._spec = family, parts, encoded, spec
        held_out = _spread(encoded.held_out, spec.max_images)
        train = _spread([item for item in encoded.train if not item.is_lying], len(held_out))
        self.sets = {"held_out": held_out, "train": train} if spec.num_timesteps else {"held_out": [], "train": []}
        self._base: dict[str, Tensor] = {}

    def measure_base(self, adapter: Attached, known: dict[str, list[float]] | None = None) -> dict[str, list[float]]:
        """Measure the base, with the adapter at strength 0: {picture and caption: losses}, to be handed in as `known` the next time."""
        import torch

        losses = dict(known or {})
        wanted = [item for items in self.sets.values() for item in items]
        with adapter.at([0.0]):
            for item in wanted:
                if len(losses.get(self._key(item), ())) != self._spec.num_timesteps:
                    losses[self._key(item)] = self._losses([item])[0].tolist()
        self._base = {name: torch.tensor([losses[self._key(i)] for i in items]) for name, items in self.sets.items() if items}
        return {self._key(item): losses[self._key(item)] for item in wanted}

    def measure(self, adapter: Attached, names: tuple[str, ...]) -> dict[str, Score]:
        """The adapter's scores on the named sets, as it is now."""
        return {name: self._score(name) for name in names if name in self._base}

    def _score(self, name: str) -> Score:
        items = self.sets[name]
        return replace(score(self._losses(items), self._base[name]), num_masked=sum(bool(item.masks) for item in items))

    def _losses(self, items: list[Item]) -> "Tensor":
        """Losses [num_images, num_timesteps]."""
        import torch

        rows = []
        with torch.no_grad():
            for item in items:
                whole = self._triples(item)
                rows.append(torch.cat([sample_losses(self._family, self._parts, part)[0].cpu() for part in whole.micro(FORWARD_BATCH)]))
        return torch.stack(rows)

    def _triples(self, item: Item) -> Batch:
        import torch

        count = self._spec.num_timesteps
        mean, _ = self._encoded.latent(item.latents[0])
        eps = torch.stack([torch.randn(mean.shape, generator=generator(NOISE_SEED, item.file, k)) for k in range(count)])
        u = (torch.arange(count) + 0.5) / count
        conds = [self._encoded.cond(item.cond)] * count if item.cond else []
        geometry = torch.tensor([item.geometry[0]] * count)
        weight = stack_weights([self._encoded.weight(item, 0)] * count)
        return Batch(mean.expand(count, *mean.shape), eps, u, conds, [item.caption] * count, geometry, [item.file] * count, weight=weight)

    def _key(self, item: Item) -> str:
        """What the losses of a picture depend on besides the model: its latent, its name (for the noise), its caption, and its mask."""
        mask = (item.masks[0], repr(self._encoded.mask_floor)) if item.masks else ()
        return sha256("\0".join((item.file, item.latents[0], item.caption, *mask)).encode())[:16]


def _spread(items: list[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spread over the list."""
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def score(adapted: "Tensor", base: "Tensor") -> Score:
    """Compare losses [num_images, num_timesteps] triple by triple, averaged per picture: the picture is the unit of inference."""
    adapted = adapted.nan_to_num(DIVERGED, DIVERGED).clamp(1e-12, DIVERGED)
    ratios = (adapted / base.clamp_min(1e-12)).log().mean(1)
    values = [round(r, 6) for r in ratios.tolist()]
    return Score(
        float(adapted.mean()),
        float(base.mean()),
        float(ratios.mean()),
        _standard_error(values),
        int((ratios < 0).sum()),
        len(values),
        values,
    )


def _standard_error(values: list[float]) -> float:
    """Of the mean of `values`; NaN for a single one."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else float("nan")


def overfit_since(scores: list[dict[str, Any]]) -> str | None:
    """A sentence when held-out loss has clearly turned up, else None.

    Clearly: each of the last two scores lies, picture by picture, 2 standard errors above the best before them, on
    at least MIN_IMAGES pictures.
    """
    measured = [s for s in scores if s.get("held_out") and s["held_out"]["num_images"] >= MIN_IMAGES]
    if len(measured) < 3:
        return None
    best = min(measured[:-2], key=lambda s: s["held_out"]["log_ratio"])
    if not all(_rose(best["held_out"]["ratios"], last["held_out"]["ratios"]) for last in measured[-2:]):
        return None
    return f"held-out loss has risen since step {best['step']}: the adapter starts to learn the pictures by heart"


def _rose(before: list[float], after: list[float]) -> bool:
    rises = [b - a for a, b in zip(before, after, strict=True)]
    return statistics.fmean(rises) > 2 * _standard_error(rises)
