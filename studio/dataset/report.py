"""What a dataset is like, in numbers and in sentences a person can act on."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from studio.dataset.alike import ALIKE
from studio.dataset.rows import Dataset, Row
from studio.dataset.words import check_words

SMALL_PX = 64  # the embedded model's size
LONG_WORDS = 50  # about the 77 tokens of CLIP's text encoder
MIN_TESTABLE = 5  # held-out pictures below which no significance can be claimed (sign test: .031 at five)


def report(dataset: Dataset, *, size_px: int = SMALL_PX, captions: list[str] | None = None) -> dict[str, Any]:
    """Facts about `dataset` for JSON: sizes are shorter sides in pixels, `small` those below `size_px`.

    `captions` of all rows, where they are known already, are not read again.
    """
    rows = dataset.rows
    captions = captions if captions is not None else [dataset.caption(row) for row in rows]
    sides = [min(row.width, row.height) for row in rows]
    facts = {
        "dataset": dataset.name,
        **numbers(dataset, captions),
        "aspects": dict(Counter(_aspect(row) for row in rows)),
        "duplicates": duplicates(rows),
        "small": [row.file for row, side in zip(rows, sides, strict=True) if side < size_px],
        "long_captions": [row.file for row, text in zip(rows, captions, strict=True) if len(text.split()) > LONG_WORDS],
    }
    notes = [*_split_notes(dataset), *_caption_notes(captions, facts), *_word_notes(dataset, captions), *_picture_notes(facts, size_px)]
    return {**facts, "notes": notes}


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


def duplicates(rows: list[Row]) -> list[dict[str, Any]]:
    """Groups of pictures that are the same ("exact") or look alike ("near"), each with its files."""
    same, near = defaultdict(list), defaultdict(list)
    for row in rows:
        same[row.pixels].append(row.file)
        if row.group.startswith(ALIKE):
            near[row.group].append(row)
    exact = [{"kind": "exact", "files": files} for files in same.values() if len(files) > 1]
    alike = [group for group in near.values() if len({row.pixels for row in group}) > 1]
    return exact + [{"kind": "near", "files": [row.file for row in group]} for group in alike]


def _aspect(row: Row) -> str:
    if row.width == row.height:
        return "square"
    return "landscape" if row.width > row.height else "portrait"


def _split_notes(dataset: Dataset) -> list[str]:
    num, num_held = len(dataset.rows), len(dataset.held_out_rows)
    notes = []
    if num == 1:
        notes.append("only one picture: nothing can be held out, so no claim about unseen pictures")
    elif not num_held:
        notes.append("nothing is held out, so no claim about unseen pictures")
    elif num_held < MIN_TESTABLE:
        notes.append(f"{_count(num_held, 'held-out picture')}: a comparison on so few is weak, {MIN_TESTABLE} allow a test")
    if num and num_held == num:
        notes.append("every picture is held out: nothing is left to train on")
    straddling = {row.group for row in dataset.train_rows} & {row.group for row in dataset.held_out_rows} - {""}
    if straddling:
        notes.append(f"{_count(len(straddling), 'group')} on both sides of the given split: held-out scores may flatter")
    return notes


def _caption_notes(captions: list[str], facts: dict[str, Any]) -> list[str]:
    notes = []
    if facts["empty_captions"]:
        notes.append(f"{_count(facts['empty_captions'], 'picture')} without a caption: write them, or fill them from a template")
    if facts["captions"] > 1 and len(set(filter(None, captions))) == 1:
        notes.append("all captions are the same: prompts will hardly steer the result")
    if facts["long_captions"]:
        notes.append(f"{_count(len(facts['long_captions']), 'caption')} over {LONG_WORDS} words: the end may not be read")
    return notes


def _word_notes(dataset: Dataset, captions: list[str]) -> list[str]:
    found, names = check_words(captions, dataset.about), {"trigger": "the trigger word", "class_noun": "the class noun"}
    return [
        f"{_count(each['lacks'], 'caption')} without {names[key]} {each['word']}: add it to them, or show what lacks it"
        for key, each in found.items()
        if each["lacks"]
    ]


def _picture_notes(facts: dict[str, Any], size_px: int) -> list[str]:
    notes = []
    for kind, what in (("exact", "identical"), ("near", "look-alike")):
        groups = [group for group in facts["duplicates"] if group["kind"] == kind]
        if groups:
            num = sum(len(group["files"]) for group in groups)
            notes.append(f"{num} {what} pictures in {_count(len(groups), 'group')}: each group stays on one side of the split")
    if facts["small"]:
        notes.append(f"{_count(len(facts['small']), 'picture')} below {size_px} px: they will be enlarged")
    if facts["skipped"]:
        notes.append(f"{_count(len(facts['skipped']), 'problem')} at import: see the list of skipped files")
    return notes


def _count(num: int, noun: str) -> str:
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"
