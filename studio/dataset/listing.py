"""Datasets as pages show them: a line in a list, one page of pictures, and the things to look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.dataset.framing import describe_edit
from studio.dataset.kinds import VIEW_SIZES, view_name
from studio.dataset.report import LONG_WORDS, SMALL_PX
from studio.dataset.rows import Row
from studio.dataset.shelf import Kept
from studio.dataset.sources import natural_key
from studio.dataset.words import has_entry, lacks
from studio.errors import StudioError

MAX_PAGE = 200
MAX_SKIPPED = 200
_LINKS = {  # what a sentence of the report is about: the filter that shows these pictures
    "without a caption": "no_caption",
    "identical pictures": "duplicate",
    "look-alike pictures": "duplicate",
    "they will be enlarged": "small",
    "the end may not be read": "long_caption",
    "held-out picture": "held_out",
    "the trigger word": "no_trigger",
    "the class noun": "no_class_noun",
    "at import": "skipped",
}


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
    """A dataset in numbers, and its things to look at: {"text", "filter": the pictures concerned, or None}."""
    known = kept.facts
    chosen = ("images", "train", "held_out", "captions", "empty_captions", "sizes")
    things = [{"text": note, "filter": next((_LINKS[words] for words in _LINKS if words in note), None)} for note in known["notes"]]
    return {**{key: known[key] for key in chosen}, "things": things, "skipped": known["skipped"][-MAX_SKIPPED:]}


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
    "duplicate": lambda kept, row: row.file in kept.twins,
    "small": lambda kept, row: min(row.width, row.height) < SMALL_PX,
    "long_caption": lambda kept, row: len(kept.caption(row).split()) > LONG_WORDS,
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
    if query.filter not in FILTERS or query.sort not in SORTS:
        raise StudioError(f"the filter is one of {', '.join(FILTERS)}, the order one of {', '.join(SORTS)}")
    rows, words = [row for row in kept.dataset.rows if FILTERS[query.filter](kept, row)], query.text.casefold().split()
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
        "class_noun": str(dataset.about.get("class_noun", "")),
        "facts": facts(kept),
        "items": [item(kept, row) for row in rows[offset : offset + min(query.limit, MAX_PAGE)]],
    }


def item(kept: Kept, row: Row) -> dict[str, Any]:
    """One picture for JSON."""
    badges, why = kept.badges[row.file]
    return {
        "file": row.file,
        "source": row.source,
        "caption": kept.caption(row),
        "width": row.width,
        "height": row.height,
        "split": row.split,
        "badges": badges,
        "note": why,
        "framed": describe_edit(row.edit),
        "said": kept.said(row),
        "versions": len({version.source for version in kept.versions(row) if version.caption}),
        "thumb": address(row, VIEW_SIZES[0]),
        "view": address(row, VIEW_SIZES[1]),
    }
