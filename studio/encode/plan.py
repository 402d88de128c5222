"""What a run will read of a dataset: for every picture its bucket and the exact frames that are encoded. No torch, nothing decoded."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import Any

from studio.dataset.framing import Frame
from studio.dataset.rows import Row
from studio.encode.buckets import assign_buckets, frames
from studio.spec import DataSpec

ENLARGED = 1.05  # times; less is not seen
MAX_SAMPLES = 32  # kept per picture: more than this adds no variety worth the disk


@dataclass(frozen=True)
class Planned:
    """One picture as it is trained: its shape, and its frames, of which the first is the plain one.

    Where quarter turns are trained, a picture is there twice: upright (and upside down), and lying, in the shape that it then has.
    """

    row: Row
    bucket: tuple[int, int]  # width, height, px
    frames: tuple[Frame, ...]
    is_lying: bool = False

    @property
    def cut_share(self) -> float:
        """How much of the picture as edited its first frame leaves out."""
        first = self.frames[0]
        return 1 - self.bucket[0] * self.bucket[1] / (first.resized[0] * first.resized[1])

    @property
    def enlarged(self) -> float:
        """How many times larger the picture as edited is made than it is; below 1 where it is reduced."""
        first = self.frames[0]
        left, top, right, bottom = first.box
        return math.sqrt(first.resized[0] * first.resized[1] / ((right - left) * (bottom - top)))


def plan(rows: Sequence[Row], size_px: int, multiple: int, data: DataSpec, only: Collection[str] | None = None) -> list[Planned]:
    """The plan for `rows` with a base of this picture size; held-out pictures are only measured, in their first frame.

    With `only`, files, just their part of it: all rows decide on the shapes.
    """
    entries = [(row, False) for row in rows]
    entries += [(row, True) for row in rows if data.turns and row.split == "train"]
    sizes = [row.framing.size_px(row.width, row.height) for row, _ in entries]
    sizes = [size[::-1] if is_lying else size for size, (_, is_lying) in zip(sizes, entries, strict=True)]
    buckets = assign_buckets(sizes, size_px, multiple)
    return [
        Planned(row, bucket, _frames(row, bucket, data, is_lying), is_lying)
        for (row, is_lying), bucket in zip(entries, buckets, strict=True)
        if only is None or row.file in only
    ]


def _frames(row: Row, bucket: tuple[int, int], data: DataSpec, is_lying: bool) -> tuple[Frame, ...]:
    """The frames of a picture in its bucket: crops, each mirrored, turned and recoloured as the settings say, within MAX_SAMPLES."""
    upright = bucket[::-1] if is_lying else bucket
    size, is_trained = (row.width, row.height), row.split == "train"
    found = frames(size, row.framing, upright, data.crops if is_trained else 1, row.sha256)
    if not is_trained:
        return tuple(found)
    turns = (1, 3) if is_lying else (0, 2) if data.turns else (0,)
    colours = (False, True) if data.colour else (False,)
    every = [
        replace(frame, further_turns=t, further_mirror=m, colour=_shift(row, n, t, m, data.colour) if c else frame.colour)
        for n, frame in enumerate(found)
        for m in ((0, 1) if data.flip else (0,))
        for t in turns
        for c in colours
    ]
    limit = MAX_SAMPLES // (2 if data.turns else 1)
    if len(every) > limit:  # which ones is drawn from the picture, so that no kind of change is left out as a whole
        order = sorted(range(1, len(every)), key=lambda k: hashlib.sha256(f"{row.sha256}/sample/{k}".encode()).digest())
        every = [every[k] for k in (0, *sorted(order[: limit - 1]))]
    return tuple(every)


def _shift(row: Row, number: int, turns: int, mirror: int, strength: float) -> tuple[int, int, int]:
    """Brightness, contrast and saturation in per cent, each up to `strength` from 100, drawn from the picture and the sample."""
    digest = hashlib.sha256(f"{row.sha256}/colour/{number}/{turns}/{mirror}".encode()).digest()
    drawn = [int.from_bytes(digest[8 * i : 8 * i + 8]) / 2**63 - 1 for i in range(3)]
    brightness, contrast, saturation = (round(100 * (1 + strength * share)) for share in drawn)
    return brightness, contrast, saturation


def geometry(row: Row, frame: Frame) -> tuple[int, ...]:
    """(original h, w, crop top, left, target h, w) of a frame, as base models that are told sizes take it; of the picture as edited."""
    width, height = row.framing.size_px(row.width, row.height)
    (left, top, right, bottom), (resized_w, resized_h) = frame.place, frame.resized
    for _ in range(frame.further_turns):
        left, top, right, bottom = resized_h - bottom, left, resized_h - top, right
        width, height, resized_w, resized_h = height, width, resized_h, resized_w
    if frame.further_mirror:
        left = resized_w - right
    return height, width, top, left, frame.size[1], frame.size[0]


def summary(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Per bucket, the fullest first: how many pictures, how much of them is cut away, how many are enlarged, and how far.

    {"width", "height", "images": upright, "cut_percent": mean share, "most_cut_percent", "enlarged": how many, "most_enlarged": times}
    """
    members: dict[tuple[int, int], list[Planned]] = defaultdict(list)
    for each in planned:
        if not each.is_lying:
            members[each.bucket].append(each)
    return sorted((_told(*item) for item in members.items()), key=lambda bucket: (-bucket["images"], bucket["width"]))


def _told(bucket: tuple[int, int], members: list[Planned]) -> dict[str, Any]:
    cut, times = [100 * each.cut_share for each in members], [each.enlarged for each in members]
    return {
        "width": bucket[0],
        "height": bucket[1],
        "images": len(members),
        "cut_percent": round(fmean(cut), 1),
        "most_cut_percent": round(max(cut), 1),
        "enlarged": sum(each > ENLARGED for each in times),
        "most_enlarged": round(max(times), 2),
    }


def count_samples(planned: Sequence[Planned]) -> int:
    """How many samples are encoded and kept for training."""
    return sum(len(each.frames) for each in planned if each.row.split == "train")


def num_samples(rows: Sequence[Row], size_px: int, multiple: int, data: DataSpec) -> int:
    """`count_samples` of the plan for `rows`, remembered: forms ask again at every change of theirs."""
    known = tuple((row.sha256, row.width, row.height, row.split, row.edit) for row in rows)
    return _num_samples(known, size_px, multiple, data.model_dump_json())


@lru_cache(8)
def _num_samples(known: tuple, size_px: int, multiple: int, data: str) -> int:
    names = ("sha256", "width", "height", "split", "edit")
    rows = [Row.model_construct(**dict(zip(names, each, strict=True))) for each in known]
    return count_samples(plan(rows, size_px, multiple, DataSpec.model_validate_json(data)))
