"""Base and adapted pictures from the same noise, in one batched pass where that is exact."""

from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from studio.errors import StudioError
from studio.families.base import Card, Cond, Denoising, Parts
from studio.methods.base import Attached
from studio.settings import Settings, setting
from studio.spec import NO_GUIDANCE, clean_prompt
from studio.train.randomness import generator

if TYPE_CHECKING:
    from PIL import Image
    from torch import Generator, Tensor

SHOTS_PER_PASS = 16
GUIDANCE = 5.0


class Sampling(Settings):
    """What a picture depends on besides the model and the adapter."""

    prompt: str = setting("", "Prompt", "What to draw", advanced=False)
    negative: str = setting("", "Negative prompt", "What not to draw", advanced=False)
    seed: int = setting(0, "Seed", "Same seed, same noise", advanced=False, ge=0, le=2**63 - 1)
    steps: int = setting(20, "Steps", "Denoising steps", advanced=False, ge=1, le=500)
    guidance: float = setting(GUIDANCE, "Guidance scale", "How strongly the picture follows the prompt", advanced=False, ge=0, le=50)
    sampler: str = setting("dpm++2m", "Sampler", "Which solver")
    width: int = setting(..., "Width", "Picture width", unit="px", ge=8, le=4096)
    height: int = setting(..., "Height", "Picture height", unit="px", ge=8, le=4096)

    @field_validator("prompt", "negative")
    @classmethod
    def _printable(cls, prompt: str) -> str:
        return clean_prompt(prompt)


class Shot(Settings):
    """One picture to draw: its sampling settings and the adapter's strength (0 = the base)."""

    sampling: Sampling
    strength: float


def draw(
    family: ModuleType, parts: Parts, adapter: Attached | None, shots: list[Shot], batchable: bool, tick: Callable[[], None] = lambda: None
) -> "list[Image.Image]":
    """The picture of every shot, in order.

    Shots that differ only in prompt, seed and strength share a pass; where per-sample strengths are not exact
    (`batchable` False), those of one strength do. `tick` is called after each denoising step.
    """
    pictures: dict[int, Image.Image] = {}
    groups: dict[tuple, list[int]] = {}
    for i, shot in enumerate(shots):
        s = shot.sampling
        groups.setdefault((s.steps, s.guidance, s.sampler, s.width, s.height, None if batchable else shot.strength), []).append(i)
    for members in groups.values():
        for start in range(0, len(members), SHOTS_PER_PASS):
            part = members[start : start + SHOTS_PER_PASS]
            pictures |= zip(part, _draw_pass(family, parts, adapter, [shots[i] for i in part], tick), strict=True)
    return [pictures[i] for i in range(len(shots))]


def _draw_pass(
    family: ModuleType, parts: Parts, adapter: Attached | None, shots: list[Shot], tick: Callable[[], None]
) -> "list[Image.Image]":
    import torch

    first = shots[0].sampling
    generators = [generator(s.sampling.seed, "noise") for s in shots]
    noise = torch.stack([_noise(parts, s.sampling, rng) for s, rng in zip(shots, generators, strict=True)])
    scheduler = make_scheduler(family.card, parts, first.sampler)
    how = Denoising(scheduler, noise.to(parts.device, parts.dtype), first.steps, first.guidance, generators, tick)
    with torch.no_grad(), adapter.at([s.strength for s in shots]) if adapter else nullcontext():
        parts.need(*family.card.text_encoders)
        cond = _encode(family, parts, adapter, [s.sampling.prompt for s in shots])
        negative = _encode(family, parts, adapter, [s.sampling.negative for s in shots], "encode_negative")
        parts.need(family.card.denoiser)
        z = family.denoise(parts, cond, negative, how)
    parts.need("vae")
    return to_pictures(family.decode_image(parts, z))


def _encode(family: ModuleType, parts: Parts, adapter: Attached | None, texts: list[str], way: str = "encode_text") -> Cond:
    """The batch of text embeddings; equal texts are encoded once unless the adapter's strength changes them.

    A family may read negative prompts another `way` than prompts.
    """
    encode, there = getattr(family, way, family.encode_text), parts.at(*family.card.text_encoders)
    if adapter and adapter.components & set(family.card.text_encoders):
        return parts.place(family.collate(encode(there, texts)))
    unique = list(dict.fromkeys(texts))
    encoded = dict(zip(unique, encode(there, unique), strict=True))
    return parts.place(family.collate([encoded[t] for t in texts]))


def _noise(parts: Parts, sampling: Sampling, rng: "Generator") -> "Tensor":
    """Standard normal latents [C, h, w] that depend on the seed and the size alone; `rng` goes on from there, as in diffusers."""
    import torch

    scale = parts.facts.vae_scale
    shape = (parts.facts.latent_channels, sampling.height // scale, sampling.width // scale)
    return torch.randn(shape, generator=rng)


def make_scheduler(card: Card, parts: Parts, sampler: str) -> Any:
    """The solver named `sampler`, on the base's own noise schedule; StudioError naming the known ones."""
    import diffusers

    if sampler not in card.samplers:
        raise StudioError(f"sampler {sampler!r} is not known; there are: {', '.join(card.samplers)}")
    name, options = card.samplers[sampler]
    return getattr(diffusers, name).from_config(parts.scheduler.config, **{**parts.facts.told_to_schedulers(), **options})


def to_pictures(px: "Tensor") -> "list[Image.Image]":
    """PIL images of px [B, 3, H, W] in [-1, 1]; StudioError where they are not numbers."""
    from PIL import Image

    if not px.isfinite().all():
        raise StudioError("the picture came out as not-a-number: lower strength or guidance, or use an earlier snapshot")
    values = ((px + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(v) for v in values]


def settle_text(card: Card, prompt: str, negative: str, guidance: float | None) -> float:
    """The guidance scale that is meant (None = as usual); StudioError where text steers a family that reads none."""
    if card.text:
        if negative.strip() and not card.negative:
            raise StudioError(f"negative: {card.title} knows no negative prompts, its guidance is an input of the model: leave it out")
        return (card.guidance or GUIDANCE) if guidance is None else guidance
    for name, text in (("prompt", prompt), ("negative", negative)):
        if text.strip():
            raise StudioError(f"{name}: {card.title} reads no text, so the seed alone decides what is drawn: leave it out")
    if guidance not in (None, NO_GUIDANCE):
        raise StudioError(f"guidance: {card.title} reads no text that it could follow more or less strongly: leave it out")
    return NO_GUIDANCE


def check_size(parts: Parts, width: int, height: int) -> None:
    """StudioError unless both sides fit the model's grid."""
    scale = parts.facts.draw_multiple or parts.facts.vae_scale
    if width % scale or height % scale:
        raise StudioError(f"size {width}x{height}: both sides must be multiples of {scale} px for this model")
