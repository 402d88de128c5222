"""What is to be noticed about each picture of a dataset, in one word and in a sentence."""

from collections.abc import Collection, Mapping, Sequence

from studio.dataset.rows import Dataset, digest
from studio.dataset.text_suspicion import BURNED_IN


def badges(
    dataset: Dataset,
    captions: Sequence[str],
    problems: Mapping[str, Sequence[str]],
    suggested: Collection[str] = (),
    masked: Collection[str] = (),
) -> dict[str, tuple[list[str], str]]:
    """By file: some of "held out", "problem", "note", "text", "framed", "masked", "edited" and "no caption", and what they mean.

    `problems` are the doctor's, by file. Captions of the files in `suggested` are a captioner's: they are not edited.
    """
    found = {}
    for row, caption in zip(dataset.rows, captions, strict=True):
        wrong = problems.get(row.file, ())
        marks = {
            "held out": row.split == "held_out",
            "problem": bool(wrong),
            "note": bool(row.note) and not wrong,
            "text": BURNED_IN in row.note,
            "framed": row.edit is not None,
            "masked": row.file in masked,
            "edited": bool(row.words) and digest(caption) != row.words and row.file not in suggested,
            "no caption": not caption,
        }
        notes = [note for note in row.note.split("; ") if note and not note.startswith("the same picture as")]
        found[row.file] = ([name for name, is_set in marks.items() if is_set], "; ".join([*wrong, *notes]))
    return found
