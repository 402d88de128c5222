"""Parquet tables of pictures with captions, as Hugging Face keeps datasets: a column of encoded pictures, a column of text."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import extras
from studio.dataset.captions import clean
from studio.dataset.pixels import Unreadable, see
from studio.dataset.readers.base import Choices, Scan, Set, Take

TITLE = "a Parquet table"
EXTRA = "parquet"
CAPTION = ""
FIELDS: frozenset[str] = frozenset()
LIMIT = ""
SUBJECT = ""
MAX_ROWS = 100_000
MAX_GROUP_BYTES = 2**30  # of the row group that is held while its pictures are read
_TEXTS = ("text", "caption", "captions", "prompt", "description")
_HELD_OUT = re.compile(r"(?<![a-z])(validation|valid|val|dev|test|held[_-]?out)(?![a-z])")


def recognise(name: str, head: bytes) -> bool:
    """Whether this is a Parquet file."""
    return head[:4] == b"PAR1"


def survey(path: Path, salt: str) -> dict[str, Any]:
    """How many pictures there are, and in which columns pictures and captions are; Unreadable where there are none."""
    table = _open(path)
    pictures, texts = _columns(table)
    if not pictures:
        raise Unreadable("is a Parquet table without a column of pictures")
    if table.metadata.num_rows > MAX_ROWS:
        raise Unreadable(f"has {table.metadata.num_rows} rows, more than {MAX_ROWS}: take a part of it")
    key = hashlib.blake2b(str(path).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
    is_held_out = _HELD_OUT.search(path.name.casefold()) is not None
    return {"subject": key.hexdigest(), "num": table.metadata.num_rows, "picture": pictures, "text": texts, "is_held_out": is_held_out}


def _open(path: Path) -> Any:
    extras.need(EXTRA)
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except Exception as error:
        raise Unreadable(f"is a damaged Parquet table ({type(error).__name__}): copy or download it again") from None


def _columns(table: Any) -> tuple[str, str]:
    """(column of pictures, column of captions), "" where there is none."""
    import pyarrow

    schema = table.schema_arrow
    pictures = ""
    for field in schema:
        is_struct = pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        if is_struct or pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            pictures = pictures or field.name
    return pictures, next((name for name in _TEXTS if name in schema.names), "")


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per table."""
    return [
        Set(
            reader="parquet",
            title="table",
            about=f"{head['num']} pictures, {'with captions' if head['text'] else 'no column of captions'}",
            files=[file],
            heads=[head],
            subject=head["subject"],
            num=head["num"],
            choices=("every",),
            notes=["its pictures are held out, as its name says"] if head["is_held_out"] else [],
        )
        for file, head in surveyed
    ]


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """Nothing."""
    return []


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th row."""
    head = found.heads[0]
    split = "held_out" if head["is_held_out"] else None
    return [
        Take(
            found.files[0], f"table {found.number} row {i + 1:06d}", {"row": i, "columns": [head["picture"], head["text"]]}, {}, split=split
        )
        for i in range((choices.every - 1) // 2, head["num"], choices.every)
    ]


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """The picture of one row, and its caption."""
    table, row, columns = _open(path), ask["row"], tuple(filter(None, ask["columns"]))
    group, first = 0, 0
    while row >= first + table.metadata.row_group(group).num_rows:
        first += table.metadata.row_group(group).num_rows
        group += 1
    if table.metadata.row_group(group).total_byte_size > MAX_GROUP_BYTES:
        raise Unreadable(f"has row groups larger than {MAX_GROUP_BYTES >> 20} MiB: write it anew with smaller ones")
    values = _group(path, path.stat().st_mtime_ns, group, columns).slice(row - first, 1).to_pylist()[0]
    cell = values[columns[0]]
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not data:
        raise Unreadable("holds the name of a picture, not the picture itself")
    seen = see(data, "#ffffff")
    text = values.get(columns[1]) if len(columns) > 1 else ""
    return Scan(seen.image, list(seen.notes), caption=clean(text)[0] if isinstance(text, str) else "")


@lru_cache(maxsize=1)
def _group(path: Path, changed_ns: int, group: int, columns: tuple[str, ...]) -> Any:
    """One row group, kept for its next row."""
    return _open(path).read_row_group(group, columns=list(columns))
