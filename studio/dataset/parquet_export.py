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


def write_tables(dataset: Dataset, folder: Path, facts: bool) -> None:
    """Write the tables below `folder`; with `facts`, their columns beside the captions."""
    for name, rows in tables(dataset).items():
        (folder / name).parent.mkdir(exist_ok=True)
        with open(folder / name, "wb") as target:
            for _ in write_table(target, dataset, rows, facts):
                pass


def write_table(target: Any, dataset: Dataset, rows: list[Row], facts: bool) -> Iterator[None]:
    """Write one table to `target`, which can `write` and `tell`, piece by piece: it yields after each."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    names = sorted({name for row in dataset.rows for name in row.facts}) if facts else []
    kinds = {"image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})}
    kinds |= dict.fromkeys(["text", *names], pyarrow.string())
    told = {name: {"dtype": "string", "_type": "Value"} for name in kinds} | {"image": {"_type": "Image"}}
    schema = pyarrow.schema(kinds, metadata={"huggingface": json.dumps({"info": {"features": told}})})
    with ParquetWriter(target, schema) as writer:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = [_cells(dataset, row, names) for row in rows[start : start + ROWS_AT_ONCE]]
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
            yield


def _cells(dataset: Dataset, row: Row, names: list[str]) -> dict[str, Any]:
    picture = {"bytes": dataset.path(row).read_bytes(), "path": row.file}
    about = {name: str(row.facts[name]) for name in names if name in row.facts}
    return {"image": picture, "text": dataset.caption(row), **about}
