"""A dataset for other tools: pictures with `.txt` captions (kohya), or with a `metadata.jsonl` (HF ImageFolder)."""

import json
import os
import shutil
from pathlib import Path
from typing import Literal

from studio.dataset.building import building
from studio.dataset.rows import Dataset, Row
from studio.dataset.sources import TABLE
from studio.errors import StudioError, printable


def export_dataset(dataset: Dataset, out: Path, captions: Literal["txt", "jsonl"]) -> Path:
    """Copy the pictures and captions of `dataset` to the new folder `out`, whole or not at all; returns it.

    Only the table keeps split and group. StudioError where `out` holds something or a picture is missing.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if captions not in ("txt", "jsonl"):
        raise StudioError(f"{captions!r} is not a kind of captions: use txt or jsonl")
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise StudioError(f"{printable(str(out))} exists already: choose a new or empty folder")
    with building(out) as folder:
        for row in dataset.rows:
            _copy(dataset, row, folder)
            if captions == "txt":
                (folder / row.file).with_suffix(".txt").write_bytes(dataset.caption(row).encode("utf-8"))
        if captions == "jsonl":
            lines = [json.dumps(_entry(dataset, row), ensure_ascii=False) for row in dataset.rows]
            (folder / TABLE).write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return out


def _copy(dataset: Dataset, row: Row, folder: Path) -> None:
    try:
        shutil.copyfile(dataset.path(row), folder / row.file)
    except FileNotFoundError:
        raise StudioError(f"{row.file} is missing from {printable(str(dataset.root))}: import the dataset again") from None


def _entry(dataset: Dataset, row: Row) -> dict[str, str]:
    entry = {"file_name": row.file, "text": dataset.caption(row), "split": row.split or "train"}
    return {**entry, "group": row.group} if row.group else entry
