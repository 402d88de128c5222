"""A dataset as the training loop needs it: cached latents and text embeddings, nothing decoded or encoded twice."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.dataset.framing import Frame, render
from studio.dataset.masks import mask_bytes, open_mask
from studio.dataset.rows import Dataset, Row
from studio.dataset.stored import open_image
from studio.encode.cache import Cache, key_of
from studio.encode.plan import Planned, geometry, plan
from studio.errors import StudioError
from studio.families.base import Cond, Parts
from studio.families.reading import cut
from studio.spec import RunSpec
from studio.store import sha256, sha256_file

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Item:
    """One picture, ready to train on."""

    file: str
    split: str  # train | held_out
    bucket: tuple[int, int]  # width, height, px
    latents: tuple[str, ...]  # cache keys, one per frame; the first is the plain one
    geometry: tuple[tuple[int, ...], ...]  # per latent: original h, w, crop top, left, target h, w
    caption: str
    cond: str  # cache key of the caption; empty where the text encoder is trained, or there is none
    masks: tuple[str, ...] = ()  # cache keys, one per latent; empty where the whole picture counts
    repeats: int = 1  # how often it is trained on while others are once
    is_lying: bool = False  # the second of two items of one picture, turned by a quarter: it is trained on, never measured


@dataclass
class Encoded:
    """A whole dataset, ready to train on."""

    items: list[Item]
    empty_cond: str
    cache: Cache
    num_made: int
    num_reused: int
    long_captions: list[tuple[str, str, str]]  # picture, what the base reads of its caption, what it does not
    mask_floor: float = 1.0

    @property
    def train(self) -> list[Item]:
        """What is trained on."""
        return [i for i in self.items if i.split == "train"]

    @property
    def held_out(self) -> list[Item]:
        """What is held out."""
        return [i for i in self.items if i.split == "held_out"]

    def latent(self, key: str) -> "tuple[Tensor, Tensor | None]":
        """(mean, std) [C, h, w] of a cache key; std None where the encoder gives a point."""
        entry = self.cache.read(key)
        return entry["mean"], entry.get("std")

    def weight(self, item: Item, number: int) -> "Tensor | None":
        """Loss weights [1, h, w] of one of a picture's latents: the floor where its mask is black, 1 where white; None without mask."""
        if not item.masks:
            return None
        mask = self.cache.read(item.masks[number])["mask"].float() / 255
        return self.mask_floor + (1 - self.mask_floor) * mask

    def cond(self, key: str) -> Cond:
        """The text embedding of a cache key."""
        return dict(self.cache.read(key))


class Encoder:
    """Encodes pictures and captions of one base model, each alone, so that its result depends on nothing but itself."""

    def __init__(self, family: ModuleType, parts: Parts, identity: str, cache: Cache) -> None:
        self.family, self.parts, self.cache = family, parts, cache
        self._identity = identity
        self.num_made = self.num_reused = 0

    def _key(self, **parts: Any) -> str:
        """A cache key of something that this base makes of `parts`, in the precision it has by now: a method may have changed it."""
        return key_of(**parts, family=self.family.card.key, base=self._identity, dtype=str(self.parts.dtype))

    def _ensure(self, key: str, make: "Callable[[], dict[str, Tensor]]") -> str:
        if self.cache.ensure(key, make):
            self.num_made += 1
        else:
            self.num_reused += 1
        return key

    def image(self, dataset: Dataset, row: Row, frame: Frame) -> str:
        """The cache key of one frame's latent, encoded now if it was not."""
        key = self._key(what="latent", image=row.sha256, frame=frame.token())
        return self._ensure(key, lambda: self._encode_image(dataset, row, frame))

    def _encode_image(self, dataset: Dataset, row: Row, frame: Frame) -> "dict[str, Tensor]":
        path = dataset.path(row)
        image = open_image(path)
        if sha256_file(path) != row.sha256:
            raise StudioError(
                f"dataset {dataset.name}: {row.file} was changed after it was read in: make the dataset anew with the new picture"
            )
        self.parts.need("vae")
        latent = self.family.encode_image(self.parts, to_tensor(render(image, frame))[None])
        self._require_numbers(latent.mean, "autoencoder", row.file)
        tensors = {"mean": latent.mean[0]}
        return tensors if latent.std is None else tensors | {"std": latent.std[0]}

    def mask(self, dataset: Dataset, row: Row, data: bytes, frame: Frame, latent: str) -> str:
        """The cache key of a mask as the frame shows it, reduced to the positions of its latent (a cache key): uint8 [1, h, w]."""
        height, width = self.cache.read(latent)["mean"].shape[-2:]
        key = key_of(what="mask", mask=sha256(data), frame=frame.token(), height=height, width=width)
        return self._ensure(key, lambda: {"mask": _reduced(render(open_mask(dataset, row, data), frame), width, height)})

    def _require_numbers(self, made: "Tensor", by: str, of: str) -> None:
        """StudioError where what a component has made is no numbers."""
        if not made.isfinite().all():
            raise StudioError(
                f"{self.parts.source}: its {by} makes no numbers of {of}: its weights are damaged, or too large for its precision: "
                "try train.precision=fp32, or fetch it again"
            )

    def text(self, caption: str) -> str:
        """The cache key of a caption's embedding, encoded now if it was not."""
        import torch

        def make() -> "dict[str, Tensor]":
            names = self.family.card.text_encoders
            self.parts.need(*names)
            with torch.no_grad():
                cond = self.family.encode_text(self.parts.at(*names), [caption])[0]
            read = cond["embeds"][cond["mask"].bool()] if "mask" in cond else cond["embeds"]
            self._require_numbers(read, "text encoder", f"the caption “{caption[:60]}”")
            return cond

        return self._ensure(self._key(what="text", caption=caption), make)


def to_tensor(image: "Image") -> "Tensor":
    """The pixels of an RGB image as [3, H, W] in [-1, 1]."""
    import numpy
    import torch

    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float() / 127.5 - 1


def _reduced(mask: "Image", width: int, height: int) -> "Tensor":
    """A rendered mask as the means of the pixels that each of width x height latent positions stands for: uint8 [1, h, w]."""
    import numpy
    import torch
    from PIL import Image

    return torch.from_numpy(numpy.asarray(mask.resize((width, height), Image.Resampling.BOX)).copy())[None]


def encode_dataset(
    dataset: Dataset, encoder: Encoder, spec: RunSpec, text_is_live: bool, progress: Progress, reword: Callable[[str], str] = str
) -> Encoded:
    """Encode every picture and caption (as `reword` words it) of `dataset` once; a second time everything comes from the cache."""
    family, parts = encoder.family, encoder.parts
    keeps_text = family.card.text and not text_is_live
    planned = plan(dataset.rows, parts.facts.size_px, parts.facts.pixel_multiple, spec.data)
    items, long_captions, total = [], [], len(planned) * (2 if keeps_text else 1)
    conds = {}  # all captions first: text encoders and autoencoder may have to take turns on the device
    for number, each in enumerate(planned if keeps_text else ()):
        conds[each.row.file] = encoder.text(reword(dataset.caption(each.row)))
        progress(number + 1, total)
    empty = encoder.text("") if keeps_text else ""
    for number, each in enumerate(planned, total - len(planned)):
        row = each.row
        caption = reword(dataset.caption(row))
        read, rest = cut(family, parts, caption)
        if rest and not each.is_lying:
            long_captions.append((row.file, read, rest))
        latents = tuple(encoder.image(dataset, row, frame) for frame in each.frames)
        places = tuple(geometry(row, frame) for frame in each.frames)
        masks = _masks(dataset, each, latents, encoder, spec.data.mask_floor) if spec.data.mask_floor < 1 else ()
        cond = conds.get(row.file, "")
        items.append(Item(row.file, row.split, each.bucket, latents, places, caption, cond, masks, row.repeats, each.is_lying))
        progress(number + 1, total)
    return Encoded(items, empty, encoder.cache, encoder.num_made, encoder.num_reused, long_captions, spec.data.mask_floor)


def _masks(dataset: Dataset, planned: Planned, latents: tuple[str, ...], encoder: Encoder, floor: float) -> tuple[str, ...]:
    """Cache keys of a picture's mask, one per latent; empty where it has none. StudioError where a frame would hold nothing to learn."""
    row, data = planned.row, mask_bytes(dataset, planned.row)
    if data is None:
        return ()
    keys = tuple(encoder.mask(dataset, row, data, frame, latent) for frame, latent in zip(planned.frames, latents, strict=True))
    if floor == 0 and not encoder.cache.read(keys[0])["mask"].any():
        raise StudioError(
            f"dataset {dataset.name}: the mask of {row.file} leaves nothing to learn in what is trained of it: "
            "paint some of it white, move its crop, or set data.mask_floor above 0"
        )
    return keys
