"""Datasets as pages show them: a line in a list, one page of pictures, and how ready they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.dataset.doctor.table import CHECKS
from studio.dataset.framing import describe_edit
from studio.dataset.kinds import VIEW_SIZES, view_name
from studio.dataset.rows import Row
from studio.dataset.shelf import Kept
from studio.dataset.sources import natural_key
from studio.dataset.words import has_entry, lacks
from studio.errors import StudioError

MAX_PAGE = 200
MAX_SKIPPED = 200
BY_CHECK = "check:"  # begins the filters that show what a check of the doctor has found


def summary(kept: Kept) -> dict[str, Any]:
    """A dataset in a list."""
    dataset = kept.dataset
    return {
        "dataset": dataset.root.name,
        "name": dataset.name,
        "images": len(dataset.rows),
        "train": len(dataset.train_rows),
        "held_out": len(dataset.held_out_rows),
        "captions": sum(bool(text) for text in kept.captions),
        "created": dataset.created,
        "thumbs": [address(row, VIEW_SIZES[0]) for row in dataset.rows[:4]],
    }


def facts(kept: Kept) -> dict[str, Any]:
    """A dataset in numbers, and how ready the doctor finds it: {"score", "num_findings"}."""
    known, told = kept.facts, kept.diagnosis
    chosen = ("images", "train", "held_out", "captions", "empty_captions", "sizes")
    doctor = {"score": told["score"], "num_findings": sum(each["cost"] > 0 for each in told["findings"])}
    return {**{key: known[key] for key in chosen}, "doctor": doctor, "skipped": known["skipped"][-MAX_SKIPPED:]}


def address(row: Row, size_px: int) -> str:
    """Where a page finds the view of a row."""
    return f"/studio/views/{view_name(row.pixels, size_px)}"


FILTERS: dict[str, Callable[[Kept, Row], bool]] = {
    "all": lambda kept, row: True,
    "train": lambda kept, row: row.split == "train",
    "held_out": lambda kept, row: row.split == "held_out",
    "problem": lambda kept, row: not {"problem", "note"}.isdisjoint(kept.badges[row.file][0]),
    "no_caption": lambda kept, row: not kept.caption(row),
    "no_trigger": lambda kept, row: lacks(kept.caption(row), str(kept.dataset.about.get("trigger", ""))),
    "no_class_noun": lambda kept, row: lacks(kept.caption(row), str(kept.dataset.about.get("class_noun", ""))),
    "edited": lambda kept, row: "edited" in kept.badges[row.file][0],
    "framed": lambda kept, row: row.edit is not None,
    "masked": lambda kept, row: kept.has_mask(row),
    "text": lambda kept, row: "text" in kept.badges[row.file][0],
}
SORTS: dict[str, Callable[[Kept, Row], Any]] = {
    "order": lambda kept, row: 0,
    "name": lambda kept, row: natural_key(row.source),
    "caption": lambda kept, row: kept.caption(row).casefold(),
    "size": lambda kept, row: row.width * row.height,
    "newest": lambda kept, row: 0,
}


@dataclass(frozen=True)
class Query:
    """Which part of a dataset is asked for."""

    offset: int = 0
    limit: int = 60
    filter: str = "all"
    sort: str = "order"
    text: str = ""
    word: str = ""  # a word or tag of the captions


def page(kept: Kept, query: Query) -> dict[str, Any]:
    """One page of a dataset for JSON; `shown` counts the rows that pass the filter. StudioError for an unknown filter or order."""
    check = query.filter.removeprefix(BY_CHECK) if query.filter.startswith(BY_CHECK) else None
    if (query.filter not in FILTERS and check not in CHECKS) or query.sort not in SORTS:
        known = [*FILTERS, *(BY_CHECK + key for key in CHECKS)]
        raise StudioError(f"the filter is one of {', '.join(known)}, the order one of {', '.join(SORTS)}")
    passes = FILTERS[query.filter] if check is None else lambda kept, row: row.file in kept.flagged(check)
    rows, words = [row for row in kept.dataset.rows if passes(kept, row)], query.text.casefold().split()
    if words:
        rows = [row for row in rows if all(word in f"{kept.caption(row)}\n{row.source}".casefold() for word in words)]
    if query.word:
        rows = [row for row in rows if has_entry(kept.caption(row), query.word)]
    rows.sort(key=lambda row: SORTS[query.sort](kept, row))
    if query.sort == "newest":
        rows.reverse()
    dataset, offset = kept.dataset, max(0, query.offset)
    return {
        "dataset": dataset.root.name,
        "name": dataset.name,
        "version": kept.version,
        "total": len(dataset.rows),
        "shown": len(rows),
        "offset": offset,
        "trigger": str(dataset.about.get("trigger", "")),
        "domain": str(dataset.about.get("domain", "")),
        "class_noun": str(dataset.about.get("class_noun", "")),
        "fields": kept.fields,
        "facts": facts(kept),
        "checked": CHECKS[check].title.lower() if check else "",
        "items": [item(kept, row) for row in rows[offset : offset + min(query.limit, MAX_PAGE)]],
    }


def item(kept: Kept, row: Row) -> dict[str, Any]:
    """One picture for JSON."""
    badges, why = kept.badges[row.file]
    return picture(kept, row) | {
        "badges": badges,
        "note": why,
        "framed": describe_edit(row.edit),
        "said": kept.said(row),
        "versions": len({version.source for version in kept.versions(row) if version.caption}),
    }


def picture(kept: Kept, row: Row) -> dict[str, Any]:
    """What every list of pictures shows of one, for JSON."""
    return {
        "file": row.file,
        "source": row.source,
        "caption": kept.caption(row),
        "width": row.width,
        "height": row.height,
        "split": row.split,
        "thumb": address(row, VIEW_SIZES[0]),
        "view": address(row, VIEW_SIZES[1]),
    }
