"""What is to be noticed about each picture of a dataset, in one word and in a sentence."""

from collections.abc import Collection, Sequence
from typing import Any

from studio.dataset.intake import digest
from studio.dataset.report import SMALL_PX
from studio.dataset.rows import Dataset


def badges(
    dataset: Dataset, captions: Sequence[str], facts: dict[str, Any], suggested: Collection[str] = (), masked: Collection[str] = ()
) -> dict[str, tuple[list[str], str]]:
    """By file: some of "held out", "problem", "note", "framed", "masked", "edited" and "no caption", and what they mean in a sentence.

    Captions of the files in `suggested` are a captioner's: they are not edited.
    """
    twins = _twins(facts["duplicates"])
    found = {}
    for row, caption in zip(dataset.rows, captions, strict=True):
        problems = [twins[row.file]] if row.file in twins else []
        if min(row.width, row.height) < SMALL_PX:
            problems.append(f"smaller than {SMALL_PX} px: it will be enlarged")
        marks = {
            "held out": row.split == "held_out",
            "problem": bool(problems),
            "note": bool(row.note) and not problems,
            "framed": row.edit is not None,
            "masked": row.file in masked,
            "edited": bool(row.words) and digest(caption) != row.words and row.file not in suggested,
            "no caption": not caption,
        }
        notes = [note for note in row.note.split("; ") if note and not note.startswith("the same picture as")]
        found[row.file] = ([name for name, is_set in marks.items() if is_set], "; ".join([*problems, *notes]))
    return found


def _twins(groups: Sequence[dict[str, Any]]) -> dict[str, str]:
    """By file: which other pictures are the same or look alike."""
    twins: dict[str, str] = {}
    for group in groups:
        what = "the same picture as" if group["kind"] == "exact" else "looks like"
        for file in group["files"]:
            other = next(name for name in group["files"] if name != file)
            more = f" and {len(group['files']) - 2} more" if len(group["files"]) > 2 else ""
            twins.setdefault(file, f"{what} {other}{more}")
    return twins
