"""What a dataset is like, in numbers; what is wrong with it is the doctor's to say, and is told in the doctor's words."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from studio.dataset.doctor.chart import read_chart
from studio.dataset.doctor.diagnosis import SMALL_PX, diagnose
from studio.dataset.rows import Dataset, Row


def report(dataset: Dataset, *, size_px: int = SMALL_PX, captions: list[str] | None = None) -> dict[str, Any]:
    """Facts about `dataset` for JSON: sizes are shorter sides in pixels, `small` those below `size_px`, `notes` what the doctor finds.

    `captions` of all rows, where they are known already, are not read again.
    """
    captions = captions if captions is not None else [dataset.caption(row) for row in dataset.rows]
    told = diagnose(dataset, captions, read_chart(dataset.root), size_px=size_px)
    found = {each["key"]: each for each in told["findings"]}

    def groups(kind: str) -> list[list[str]]:
        return [group["files"] for group in found[kind]["groups"]] if kind in found else []

    def files(kind: str) -> list[str]:
        return found[kind]["files"] if kind in found else []

    looked = {"lookalikes": groups("alike"), "outliers": files("outlier")} if told["compared"] and len(dataset.rows) > 1 else {}
    return {
        "dataset": dataset.name,
        **numbers(dataset, captions),
        "aspects": dict(Counter(_aspect(row) for row in dataset.rows)),
        "readiness": told["score"],
        "duplicates": [{"kind": kind, "files": each} for kind in ("exact", "near") for each in groups(kind)],
        "small": files("small"),
        "long_captions": files("long_caption"),
        **looked,
        "notes": [each["text"] for each in told["findings"]],
    }


def numbers(dataset: Dataset, captions: Sequence[str]) -> dict[str, Any]:
    """How many pictures there are on each side, with and without captions, how large, and what was not taken."""
    sides = [min(row.width, row.height) for row in dataset.rows]
    return {
        "images": len(dataset.rows),
        "train": len(dataset.train_rows),
        "held_out": len(dataset.held_out_rows),
        "captions": sum(bool(caption) for caption in captions),
        "empty_captions": sum(not caption for caption in captions),
        "sizes": {"min": min(sides, default=0), "median": median(sides) if sides else 0, "max": max(sides, default=0)},
        "skipped": [skipped.model_dump() for skipped in dataset.skipped],
    }


def _aspect(row: Row) -> str:
    if row.width == row.height:
        return "square"
    return "landscape" if row.width > row.height else "portrait"
