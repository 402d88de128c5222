"""A dataset for other tools: pictures with `.txt` captions, in kohya's folders, with a `metadata.jsonl` (HF ImageFolder), or in Parquet."""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from studio.dataset.building import building
from studio.dataset.parquet_export import tables, write_table, write_tables
from studio.dataset.rows import Dataset, Row
from studio.dataset.sources import TABLE
from studio.errors import StudioError, printable

Kind = Literal["txt", "jsonl", "kohya", "parquet"]
MASKS = "mask"  # a folder that an import reads as masks
_PIECE_BYTES = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def export_dataset(dataset: Dataset, out: Path, kind: Kind, masks: bool = True, facts: bool = False) -> Path:
    """Copy the pictures and captions of `dataset` to the new folder `out`, whole or not at all; returns it.

    Masks go to a folder `mask` in it, under their pictures' names (kohya). Only the table keeps split and group, and names the masks;
    tables hold what readers know of pictures where `facts` are asked for. StudioError where `out` holds something or a picture is missing.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if kind not in get_args(Kind):
        raise StudioError(f"{kind!r} is not a kind of captions: use {', '.join(get_args(Kind))}")
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise StudioError(f"{printable(str(out))} exists already: choose a new or empty folder")
    _require_pictures(dataset)
    with building(out) as folder:
        if kind == "parquet":
            write_tables(dataset, folder, facts, masks)
            return out
        for name, content in _files(dataset, kind, masks, facts):
            (folder / name).parent.mkdir(exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, folder / name)
            else:
                (folder / name).write_bytes(content)
    return out


def stream_zip(dataset: Dataset, kind: Kind, masks: bool = True, facts: bool = False) -> Iterator[bytes]:
    """The same files as one zip archive, piece by piece, without a copy on disk; StudioError where a picture is missing."""
    _require_pictures(dataset)
    return _zip_tables(dataset, tables(dataset), facts, masks) if kind == "parquet" else _zip(dataset, kind, masks, facts)


def _require_pictures(dataset: Dataset) -> None:
    for row in dataset.rows:
        if not dataset.path(row).exists():
            raise StudioError(f"{row.file} is missing from {printable(str(dataset.root))}: import the dataset again")


def _files(dataset: Dataset, kind: Kind, masks: bool, facts: bool) -> Iterator[tuple[str, Path | bytes]]:
    """(name below the export, its content or where that lies) of every file."""
    subject = _subject(dataset)
    for row in dataset.rows:
        place = f"{row.repeats}_{subject}/{row.file}" if kind == "kohya" else row.file
        yield place, dataset.path(row)
        if masks and dataset.mask_path(row).exists():
            yield _mask_name(row), dataset.mask_path(row)
        if kind != "jsonl":
            yield str(PurePosixPath(place).with_suffix(".txt")), dataset.caption(row).encode("utf-8")
    if kind == "jsonl":
        yield TABLE, _table(dataset, masks, facts).encode("utf-8")


def _subject(dataset: Dataset) -> str:
    """What kohya's folders are called besides their repeats: trigger word and class noun, else the dataset."""
    words = [str(dataset.about.get(name) or "") for name in ("trigger", "class_noun")]
    return re.sub(r"[^\w -]+", " ", " ".join(words)).strip()[:80] or dataset.root.name


def _zip(dataset: Dataset, kind: Kind, masks: bool, facts: bool) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _files(dataset, kind, masks, facts):
            with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as target:
                with open(content, "rb") if isinstance(content, Path) else io.BytesIO(content) as source:
                    while piece := source.read(_PIECE_BYTES):
                        target.write(piece)
                        yield pieces.take()
    yield pieces.take()


def _zip_tables(dataset: Dataset, found: dict[str, list[Row]], facts: bool, masks: bool) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for name, rows in found.items():
            table = _Pieces()
            with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as target:
                for _ in write_table(table, dataset, rows, facts, masks):
                    target.write(table.take())
                    yield pieces.take()
                target.write(table.take())
    yield pieces.take()


class _Pieces(io.RawIOBase):
    """What was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._num_bytes += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._num_bytes

    def take(self) -> bytes:
        """All pieces so far, as one."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _table(dataset: Dataset, masks: bool, facts: bool) -> str:
    return "".join(json.dumps(_entry(dataset, row, masks, facts), ensure_ascii=False) + "\n" for row in dataset.rows)


def _mask_name(row: Row) -> str:
    return f"{MASKS}/{Path(row.file).stem}.png"


def _entry(dataset: Dataset, row: Row, masks: bool, facts: bool) -> dict[str, str | int | float]:
    entry = {"file_name": row.file, "text": dataset.caption(row), "split": row.split or "train"}
    if masks and dataset.mask_path(row).exists():
        entry["mask_file_name"] = _mask_name(row)
    if facts:
        entry = {**row.facts, **entry}
    return {**entry, **({"group": row.group} if row.group else {}), **({"repeats": row.repeats} if row.repeats > 1 else {})}
