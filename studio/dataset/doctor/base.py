"""What a check of the doctor is: what it looks at, what it finds, and how both are told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from studio.dataset.doctor.chart import Chart
from studio.dataset.rows import Dataset, Row

USUAL_FROM = 8  # pictures from which on there is such a thing as usual
Z = 4.0  # robust deviations: 3.5 marks an outlier (Iglewicz and Hoaglin 1993), and false alarms cost more than misses here


@dataclass(frozen=True)
class Case:
    """One dataset as the checks see it; nothing here is decoded or measured anew."""

    dataset: Dataset
    captions: Sequence[str]
    chart: Chart
    size_px: int  # what the base model draws
    cut: Callable[[str], int | None]  # where the encoder stops reading a caption, in characters; None where it reads all
    reader: str = "the embedded model"  # whose encoder that is

    @cached_property
    def measures(self) -> list[dict[str, Any] | None]:
        """What was measured of each row; None where nothing was yet."""
        return [self.chart.measured.get(row.pixels) for row in self.dataset.rows]

    def column(self, name: str) -> np.ndarray:
        """One measure of all rows, float64 [N], NaN where it is not known."""
        return np.array([each[name] if each else np.nan for each in self.measures], np.float64)

    def files(self, is_hit: np.ndarray) -> list[str]:
        """The files of the rows where a boolean [N] is set."""
        return [self.dataset.rows[int(i)].file for i in np.flatnonzero(is_hit)]

    @cached_property
    def caption_of(self) -> dict[str, str]:
        """The captions by file."""
        return {row.file: text for row, text in zip(self.dataset.rows, self.captions, strict=True)}

    @cached_property
    def by_pixels(self) -> dict[str, list[Row]]:
        """The rows of each pixel hash."""
        found: dict[str, list[Row]] = {}
        for row in self.dataset.rows:
            found.setdefault(row.pixels, []).append(row)
        return found


@dataclass
class Found:
    """What a check found: the files concerned, why in words for each, and groups where they belong together."""

    files: list[str]
    text: str
    told: dict[str, str] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)  # {"files", "best": the proposal}


@dataclass(frozen=True)
class Check:
    """One thing that the doctor looks for; `weight` is the most points of 100 that it can cost."""

    key: str
    title: str
    why: str  # what it is, why it matters and how it is told, in plain words
    weight: int
    find: Callable[[Case], Found | None]
    mends: tuple[str, ...] = ()  # keys of `mends.MENDS`, the first is the proposal
    is_whole: bool = False  # about the dataset, not about single pictures
    reads_captions: bool = False


def unusual(values: np.ndarray, least: float) -> np.ndarray:
    """How far each value [N] lies above or below (negative) the median, in robust deviations of at least `least`; 0 among few."""
    known = values[np.isfinite(values)]
    if len(known) < USUAL_FROM:
        return np.zeros(len(values))
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle)) + least
    return np.nan_to_num((values - middle) / spread)


def pictures(num: int) -> str:
    """A number of pictures in words."""
    return "1 picture" if num == 1 else f"{num:,} pictures"
