"""Parquet tables of pictures with captions, as Hugging Face keeps datasets: a column of encoded pictures, a column of text."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import extras
from studio.dataset.captions import clean
from studio.dataset.pixels import Unreadable, see
from studio.dataset.readers.base import Choices, Scan, Set, Take
from studio.dataset.table import NAMES, TEXTS

TITLE = "a Parquet table"
EXTRA = "parquet"
CAPTION = ""
FIELDS: frozenset[str] = frozenset()
LIMIT = ""
SUBJECT = ""
MAX_ROWS = 100_000
ROWS_AT_ONCE = 4  # that are held while their pictures are read, however large a row group is
MAX_DEPTH = 4  # of structs in structs in which pictures are looked for
_PICTURES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "pixel_values", "bytes")
_MASKS = ("mask", "mask_image", "conditioning_mask")
_SAID = re.compile(r"(?!neg)(?:.*[_.\s-])?(?:text|captions?|prompt|description|alt)(?:[_.\s-]?\d{1,2})?")  # en_text, caption_0
MAX_COLUMNS = 24
_HELD_OUT = re.compile(r"(?<![a-z])(validation|valid|val|dev|test|held[_-]?out)(?![a-z])")
_TRAIN = re.compile(r"(?<![a-z])train(ing)?(?![a-z])")


def recognise(name: str, head: bytes) -> bool:
    """Whether this is a Parquet file."""
    return head[:4] == b"PAR1"


def survey(path: Path, salt: str) -> dict[str, Any]:
    """How many pictures there are, and in which columns pictures and captions are; Unreadable where there are none."""
    table = _open(path)
    pictures, texts, mask = _columns(table.schema_arrow)
    if not pictures:
        names = any(field.name in NAMES for field in table.schema_arrow)
        way_out = ": it names pictures; save it as metadata.csv beside them" if names else ""
        raise Unreadable(f"is a Parquet table without a column of pictures{way_out}")
    if table.metadata.num_rows > MAX_ROWS:
        raise Unreadable(f"has {table.metadata.num_rows} rows, more than {MAX_ROWS}: take a part of it")
    key = hashlib.blake2b(str(path).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
    return {
        "subject": key.hexdigest(), "num": table.metadata.num_rows, "picture": pictures, "text": texts, "mask": mask,
        "others": _plain_columns(table.schema_arrow, {pictures, texts, mask}), "is_held_out": _is_held_out(path),
    }  # fmt: skip


def _is_held_out(path: Path) -> bool:
    """Whether a table is of a part that is held out, as its name says, else that of its folder."""
    name, folder = path.name.casefold(), path.parent.name.casefold()
    return bool(_HELD_OUT.search(name) or (not _TRAIN.search(name) and _HELD_OUT.fullmatch(folder)))


def _open(path: Path) -> Any:
    extras.need(EXTRA)
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, buffer_size=2**20, pre_buffer=False)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"is a damaged Parquet table ({type(error).__name__}): copy or download it again") from None


def _columns(schema: Any) -> tuple[str, str, str]:
    """(column of pictures, of captions, of masks), with dots where they lie in structs; "" where there is none."""
    pictures, texts, masks = [], [], []
    for path, kind in (each for field in schema for each in _leaves(field, "", MAX_DEPTH)):
        names = path.casefold().split(".")
        if kind == "picture":
            if names[0] in _MASKS:
                masks.append(path)
            pictures.append((names[0] in _MASKS, not any(name in _PICTURES for name in names), len(names), len(pictures), path))
        elif _text_rank(names) is not None:
            texts.append((_text_rank(names), len(names), len(texts), path))
    picture = min(pictures, default=("",))[-1]
    return picture, min(texts, default=("",))[-1], next((mask for mask in masks if mask != picture), "")


def _text_rank(names: list[str]) -> tuple[int, int] | None:
    """How likely a column of text holds captions, the least the likeliest: called so, in a struct called so, or called nearly so."""
    if names[-1] in TEXTS:
        return 0, TEXTS.index(names[-1])
    if set(names) & set(TEXTS):
        return 1, 0
    return (2, 0) if _SAID.fullmatch(names[-1]) else None


def _plain_columns(schema: Any, known: set[str]) -> list[str]:
    """The columns of short values that a row says besides, as a line of `metadata.csv` does."""
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, _is_text)
    return [field.name for field in schema if field.name not in known and any(test(_plain(field.type)) for test in tests)][:MAX_COLUMNS]


def _plain(kind: Any) -> Any:
    """What a type holds: lists count as their values, and so do dictionaries, in which words that recur are kept once."""
    from pyarrow import types

    while any(test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_dictionary)):
        kind = kind.value_type
    return kind


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _leaves(field: Any, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    """(dotted name, "picture" or "text") of what may be one below a field; lists count as what they hold."""
    from pyarrow import types

    kind, path = _plain(field.type), f"{prefix}{field.name}"
    if _is_bytes(kind):
        yield path, "picture"
    elif _is_text(kind):
        yield path, "text"
    elif types.is_struct(kind) and depth:
        index = kind.get_field_index("bytes")
        if index >= 0 and (_is_bytes(kind[index].type) or types.is_null(kind[index].type)):
            yield path, "picture"
            return
        for inner in kind:
            yield from _leaves(inner, f"{path}.", depth - 1)


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
    ask = {"columns": [head["picture"], head["text"], head["mask"]], "others": head["others"]}
    return [
        Take(found.files[0], f"table {found.number} row {i + 1:06d}", ask | {"row": i}, {}, split=split)
        for i in range((choices.every - 1) // 2, head["num"], choices.every)
    ]


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """The picture of one row, and its caption: of several, the first. Unreadable where there is none."""
    picture, text, mask = ask["columns"]
    row = _rows(path, path.stat().st_mtime_ns, tuple(dict.fromkeys(filter(None, [*ask["columns"], *ask["others"]])))).at(ask["row"])
    data = _bytes_of(row, picture)
    if not data:
        raise Unreadable("holds the name of a picture, not the picture itself" if _first(_inner(row, picture)) else "holds no picture")
    said, notes = _inner(row, text) if text else "", []
    if isinstance(said, list) and len(said) > 1:
        notes = [f"the first of its {len(said)} captions was taken"]
    seen, said = see(data, "#ffffff"), _first(said)
    return Scan(
        seen.image,
        [*seen.notes, *notes],
        caption=clean(said)[0] if isinstance(said, str) else "",
        columns={name: _first(row[name]) for name in ask["others"]},
        mask=(_bytes_of(row, mask) if mask else b"") or b"",
    )


def _bytes_of(row: dict[str, Any], path: str) -> bytes | None:
    """The image file at a dotted name of a row; None where it holds none."""
    cell = _first(_inner(row, path))
    return cell.get("bytes") if isinstance(cell, dict) else cell


def _inner(row: Any, path: str) -> Any:
    """What lies at a dotted name of a row."""
    for name in path.split("."):
        row = _first(row)
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


class _Rows:
    """The rows of a table in order, a few at a time; going back begins the row group anew."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._table, self._columns = _open(path), list(columns)
        self._batches: Iterator[Any] = iter(())
        self._start, self._held = 0, []

    def at(self, row: int) -> dict[str, Any]:
        """Row `row`; Unreadable where the table is damaged there."""
        from pyarrow import ArrowException

        try:
            if row < self._start or row >= self._next_group_start(self._start):
                self._begin(row)
            while row >= self._start + len(self._held):
                self._start += len(self._held)
                self._held = next(self._batches).to_pylist()
            return self._held[row - self._start]
        except (ArrowException, OSError, StopIteration) as error:
            self._start, self._held = 0, []
            self._batches = iter(())
            if isinstance(error, MemoryError):  # Arrow's is both
                raise MemoryError from None
            raise Unreadable("is damaged in this row: copy or download the table again") from None

    def _next_group_start(self, row: int) -> int:
        """Where the row group after that of `row` begins; 0 while none is open."""
        return self._group_of(row)[1] if self._held else 0

    def _group_of(self, row: int) -> tuple[int, int, int]:
        """(first row, first row after it, number) of the row group of `row`."""
        first, metadata = 0, self._table.metadata
        for group in range(metadata.num_row_groups):
            after = first + metadata.row_group(group).num_rows
            if row < after:
                return first, after, group
            first = after
        raise StopIteration

    def _begin(self, row: int) -> None:
        self._start, _, group = self._group_of(row)
        self._held = []
        self._batches = self._table.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=self._columns, use_threads=False)


@lru_cache(maxsize=1)
def _rows(path: Path, changed_ns: int, columns: tuple[str, ...]) -> _Rows:
    """An open table, kept for its next row."""
    return _Rows(path, columns)
