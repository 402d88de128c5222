"""What a run will read of a dataset: for every picture its bucket and the exact frames that are encoded. No torch, nothing decoded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from studio.dataset.framing import Frame
from studio.dataset.rows import Row
from studio.encode.buckets import assign_buckets, frames
from studio.spec import DataSpec


@dataclass(frozen=True)
class Planned:
    """One picture as it is trained: its shape, and its frames, of which the first is the plain one."""

    row: Row
    bucket: tuple[int, int]  # width, height, px
    frames: tuple[Frame, ...]

    @property
    def cut_share(self) -> float:
        """How much of the picture as edited its first frame leaves out."""
        first = self.frames[0]
        return 1 - self.bucket[0] * self.bucket[1] / (first.resized[0] * first.resized[1])


def plan(rows: Sequence[Row], size_px: int, multiple: int, data: DataSpec) -> list[Planned]:
    """The plan for `rows` with a base of this picture size; held-out pictures are only measured, in their first frame."""
    sizes = [row.framing.size_px(row.width, row.height) for row in rows]
    planned = []
    for row, bucket in zip(rows, assign_buckets(sizes, size_px, multiple), strict=True):
        is_trained = row.split == "train"
        found = frames((row.width, row.height), row.framing, bucket, data.crops if is_trained else 1, row.sha256)
        mirrors = (0, 1) if data.flip and is_trained else (0,)
        planned.append(Planned(row, bucket, tuple(replace(frame, further_mirror=m) for frame in found for m in mirrors)))
    return planned


def geometry(row: Row, frame: Frame) -> tuple[int, ...]:
    """(original h, w, crop top, left, target h, w) of a frame, as base models that are told sizes take it; of the picture as edited."""
    width, height = row.framing.size_px(row.width, row.height)
    left, top, right, bottom = frame.place
    if frame.further_mirror:
        left = frame.resized[0] - right
    return height, width, top, left, frame.size[1], frame.size[0]


def summary(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Per bucket, the fullest first: {"width", "height", "images", "cut_percent": mean share cut away, "most_cut_percent"}."""
    members: dict[tuple[int, int], list[float]] = defaultdict(list)
    for each in planned:
        members[each.bucket].append(100 * each.cut_share)
    found = [
        {"width": w, "height": h, "images": len(cut), "cut_percent": round(fmean(cut), 1), "most_cut_percent": round(max(cut), 1)}
        for (w, h), cut in members.items()
    ]
    return sorted(found, key=lambda bucket: (-bucket["images"], bucket["width"]))
