"""A dataset as Parquet tables that Hugging Face's `datasets` opens with its pictures: one for training, one for what is held out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio import extras
from studio.dataset.rows import Dataset, Row

ROWS_AT_ONCE = 64  # pictures in memory while a table is written, and in one row group
_NAMES = {"train": "data/train-00000-of-00001.parquet", "held_out": "data/validation-00000-of-00001.parquet"}


def tables(dataset: Dataset) -> dict[str, list[Row]]:
    """The rows of each table, by its name below the export; StudioError where the extra is missing."""
    extras.need("parquet")
    rows = {name: [row for row in dataset.rows if row.split == split] for split, name in _NAMES.items()}
    return {name: each for name, each in rows.items() if each}


def write_tables(dataset: Dataset, folder: Path, facts: bool, masks: bool) -> None:
    """Write the tables below `folder`; with `facts`, their columns beside the captions; with `masks`, those beside their pictures."""
    for name, rows in tables(dataset).items():
        (folder / name).parent.mkdir(exist_ok=True)
        with open(folder / name, "wb") as target:
            for _ in write_table(target, dataset, rows, facts, masks):
                pass


def write_table(target: Any, dataset: Dataset, rows: list[Row], facts: bool, masks: bool) -> Iterator[None]:
    """Write one table to `target`, which can `write` and `tell`, piece by piece: it yields after each."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    pictures = ["image", *(["mask"] if masks and any(dataset.mask_path(row).exists() for row in dataset.rows) else [])]
    names = {name for row in dataset.rows for name in _said(row, facts)}
    kinds = dict.fromkeys(pictures, pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}))
    kinds |= dict.fromkeys(["text", *sorted(names)], pyarrow.string())
    told = {name: {"dtype": "string", "_type": "Value"} for name in kinds} | {name: {"_type": "Image"} for name in pictures}
    schema = pyarrow.schema(kinds, metadata={"huggingface": json.dumps({"info": {"features": told}})})
    with ParquetWriter(target, schema) as writer:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = [
                {name: _image(path) for name, path in zip(pictures, (dataset.path(row), dataset.mask_path(row)), strict=False)}
                | {"text": dataset.caption(row), **_said(row, facts)}
                for row in rows[start : start + ROWS_AT_ONCE]
            ]
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
            yield


def _said(row: Row, facts: bool) -> dict[str, str]:
    """What a row says beside its caption, as the columns of a `metadata.jsonl` do."""
    said = {name: str(value) for name, value in row.facts.items()} if facts else {}
    return said | ({"group": row.group} if row.group else {}) | ({"repeats": str(row.repeats)} if row.repeats > 1 else {})


def _image(path: Path) -> dict[str, Any] | None:
    """An image file as Hugging Face keeps it in a table; None where there is none."""
    return {"bytes": path.read_bytes(), "path": path.name} if path.exists() else None
