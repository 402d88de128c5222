"""The denoising objective (Ho 2020) for any family: what one global batch is, and its loss."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import TYPE_CHECKING

from studio.encode.build import Encoded, Item
from studio.families.base import Cond, Parts
from studio.families.timesteps import AUTO, Timesteps
from studio.methods.base import Attached
from studio.spec import RunSpec
from studio.train.randomness import generator

if TYPE_CHECKING:
    from torch import Tensor

MIN_WEIGHT = 1e-6  # below the smallest that a mask of 8 bits can sum to


@dataclass
class Batch:
    """Samples of one bucket, on the CPU: clean latents z, noise eps [B, C, h, w], u [B] in [0, 1), captions, geometry [B, 6].

    `weight` [B, 1, h, w] says how much each position counts, where pictures have masks.
    """

    z: "Tensor"
    eps: "Tensor"
    u: "Tensor"
    conds: list[Cond]  # empty where the text encoder is trained, or there is none
    captions: list[str]
    geometry: "Tensor"
    files: list[str]
    how: Timesteps = AUTO  # the noise levels that u stands for
    weight: "Tensor | None" = None

    def __len__(self) -> int:
        return len(self.u)

    def micro(self, size: int) -> "Iterator[Batch]":
        """Consecutive parts of at most `size` samples."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            lists = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "how"}
            yield replace(self, **{name: None if value is None else value[part] for name, value in lists.items()})


def draw_batch(items: list[Item], encoded: Encoded, spec: RunSpec, step: int, caption_dropout: float, purpose: str = "") -> Batch:
    """The global batch of a step; every draw depends on (seed, purpose, step, position) alone."""
    import torch

    seed = spec.train.seed
    strata = torch.randperm(len(items), generator=generator(seed, purpose + "strata", step)).tolist()
    z, eps, u, conds, captions, geometry, weights = [], [], [], [], [], [], []
    for position, item in enumerate(items):
        rng = generator(seed, purpose + "sample", step, position)
        jitter, dropout, pick = torch.rand(3, generator=rng).tolist()
        crop = int(pick * len(item.latents))
        mean, std = encoded.latent(item.latents[crop])
        noise = torch.randn(2, *mean.shape, generator=rng)
        z.append(mean if std is None else mean + std * noise[1])
        eps.append(noise[0])
        u.append((strata[position] + jitter) / len(items))  # stratified: one draw per equal part of [0, 1)
        dropped = dropout < caption_dropout
        captions.append("" if dropped else item.caption)
        if item.cond:
            conds.append(encoded.cond(encoded.empty_cond if dropped else item.cond))
        geometry.append(item.geometry[crop])
        weights.append(encoded.weight(item, crop))
    files = [i.file for i in items]
    how = Timesteps(spec.train.timesteps, spec.train.timestep_shift)
    parts = torch.stack(z), torch.stack(eps), torch.tensor(u), conds, captions, torch.tensor(geometry), files
    return Batch(*parts, how, stack_weights(weights))


def stack_weights(weights: "list[Tensor | None]") -> "Tensor | None":
    """Weights [B, 1, h, w] of samples, 1 for those without a mask; None where none has one."""
    import torch

    like = next((weight for weight in weights if weight is not None), None)
    return None if like is None else torch.stack([torch.ones_like(like) if weight is None else weight for weight in weights])


def sample_losses(family: ModuleType, parts: Parts, batch: Batch) -> "tuple[Tensor, Tensor]":
    """(mean squared error [B] in the family's own target space, timesteps [B]) of a batch, on the device.

    Where there are masks, it is the mean over positions weighted by them; 0 for a sample of which nothing counts.
    """
    z, eps = batch.z.to(parts.device), batch.eps.to(parts.device)
    prediction, t = _answers(family, parts, batch)
    error = (prediction - family.target(parts, z, eps, t).float()).square()
    if batch.weight is None:
        return error.flatten(1).mean(1), t
    weight = batch.weight.to(parts.device).expand_as(error)
    return (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(MIN_WEIGHT), t


def _answers(family: ModuleType, parts: Parts, batch: Batch) -> "tuple[Tensor, Tensor]":
    """(what the denoiser says to the noisy latents, fp32 [B, C, h, w]; timesteps [B])."""
    z, eps = batch.z.to(parts.device), batch.eps.to(parts.device)
    t = family.sample_t(parts, batch.u.to(parts.device), tuple(z.shape), batch.how)
    conds = batch.conds or family.encode_text(parts, batch.captions)
    cond = parts.place(family.collate(conds))
    return family.predict(parts, family.add_noise(parts, z, eps, t).to(parts.dtype), t, cond, batch.geometry).float(), t


def batch_loss(family: ModuleType, parts: Parts, batch: Batch, gamma: float, global_size: int) -> "Tensor":
    """What this (micro-)batch adds to the global loss, a scalar: weighted losses summed over samples, over the global batch size."""
    losses, t = sample_losses(family, parts, batch)
    return (losses * family.weight(parts, t, gamma)).sum() / global_size


def kept_loss(family: ModuleType, parts: Parts, adapter: Attached, batch: Batch, gamma: float, global_size: int) -> "Tensor":
    """How far the adapted model's answers are from the base's own, weighted and summed as `batch_loss`.

    The base answers to the same noisy latents, so that a class is kept without any picture of it.
    """
    import torch

    with torch.no_grad(), adapter.at([0.0]):
        wanted, _ = _answers(family, parts, batch)
    if torch.is_autocast_enabled(parts.device.type):
        torch.clear_autocast_cache()  # it holds weights in half precision, those at strength 0
    answers, t = _answers(family, parts, batch)
    losses = (answers - wanted).square().flatten(1).mean(1)
    return (losses * family.weight(parts, t, gamma)).sum() / global_size
