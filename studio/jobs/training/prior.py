"""What keeps a class as the base knows it while a subject is learned (DreamBooth, Ruiz 2023, eq. 2): class pictures, or its own outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from PIL import Image

from studio import subject
from studio.dataset.class_pictures import ClassPictures, class_pictures
from studio.dataset.rows import Dataset
from studio.encode.build import Encoded, Encoder, Progress, encode_dataset
from studio.families.base import Parts
from studio.methods.base import Attached
from studio.sample.pair import Sampling, Shot, draw
from studio.sample.pictures import write_png
from studio.spec import RunSpec

PER_PASS = 8


@dataclass
class Maker:
    """What drawing class pictures needs, and whom it tells."""

    family: ModuleType
    parts: Parts
    adapter: Attached  # on the base, at strength 0
    identity: str
    tell: Callable[[int, int], None]  # (drawn, wanted); raises to end the work: what is drawn stays


def encode_prior(dataset: Dataset, encoder: Encoder, spec: RunSpec, text_is_live: bool, progress: Progress, maker: Maker) -> Encoded | None:
    """The prior's part of the data: class pictures with the class prompt, or the very pictures with the class's captions; None without."""
    if not spec.prior.weight:
        return None
    if spec.prior.match == "outputs":
        return encode_dataset(dataset, encoder, spec, text_is_live, progress, partial(subject.as_class, spec.prior))
    pictures = draw_class_pictures(dataset, spec, maker)
    plain = spec.model_copy(update={"data": spec.data.model_copy(update={"crops": 1, "flip": False, "turns": False, "colour": 0.0})})
    return encode_dataset(pictures.dataset(spec.prior.count), encoder, plain, text_is_live, progress, lambda _: spec.prior.prompt)


def draw_class_pictures(dataset: Dataset, spec: RunSpec, maker: Maker) -> ClassPictures:
    """The first `prior.count` class pictures, those drawn now that are missing: an interrupted drawing goes on where it was."""
    prior, size_px = spec.prior, maker.parts.facts.size_px
    first = Sampling(
        prompt=prior.prompt, steps=prior.steps, guidance=prior.guidance, sampler=spec.preview.sampler, width=size_px, height=size_px
    )
    about = {**first.model_dump(exclude={"seed"}), "base": maker.identity, "prediction": maker.parts.facts.prediction_type}
    pictures = class_pictures(dataset, about | {"noun": prior.class_noun, "source": spec.base.source})
    missing = [n for n in range(prior.count) if not _is_whole(pictures, n)]
    for start in range(0, len(missing), PER_PASS):
        maker.tell(prior.count - len(missing) + start, prior.count)
        part = missing[start : start + PER_PASS]
        shots = [Shot(sampling=first.model_copy(update={"seed": number}), strength=0.0) for number in part]
        drawn = draw(maker.family, maker.parts, maker.adapter, shots, batchable=False)
        for number, shot, image in zip(part, shots, drawn, strict=True):
            write_png(pictures.file(number), image, {**shot.sampling.model_dump(), "base_sha256": maker.identity, "strength": 0.0})
    if missing:
        maker.tell(prior.count, prior.count)
    return pictures


def _is_whole(pictures: ClassPictures, number: int) -> bool:
    """Whether this picture is there and can be read."""
    try:
        with Image.open(pictures.file(number), formats=["PNG"]) as image:
            image.load()
        return True
    except (OSError, SyntaxError, ValueError):
        return False
