"""A dataset for other tools: pictures with `.txt` captions (kohya), or with a `metadata.jsonl` (HF ImageFolder)."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from studio.dataset.building import building
from studio.dataset.rows import Dataset, Row
from studio.dataset.sources import TABLE
from studio.errors import StudioError, printable

MASKS = "mask"  # a folder that an import reads as masks
_PIECE_BYTES = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def export_dataset(dataset: Dataset, out: Path, captions: Literal["txt", "jsonl"], masks: bool = True) -> Path:
    """Copy the pictures and captions of `dataset` to the new folder `out`, whole or not at all; returns it.

    Masks go to a folder `mask` in it, under their pictures' names (kohya). Only the table keeps split and group, and names the masks.
    StudioError where `out` holds something or a picture is missing.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if captions not in ("txt", "jsonl"):
        raise StudioError(f"{captions!r} is not a kind of captions: use txt or jsonl")
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise StudioError(f"{printable(str(out))} exists already: choose a new or empty folder")
    with building(out) as folder:
        for row in dataset.rows:
            _copy(dataset, row, folder)
            if masks and dataset.mask_path(row).exists():
                (folder / MASKS).mkdir(exist_ok=True)
                shutil.copyfile(dataset.mask_path(row), folder / _mask_name(row))
            if captions == "txt":
                (folder / row.file).with_suffix(".txt").write_bytes(dataset.caption(row).encode("utf-8"))
        if captions == "jsonl":
            (folder / TABLE).write_bytes(_table(dataset, masks).encode("utf-8"))
    return out


def stream_zip(dataset: Dataset, captions: Literal["txt", "jsonl"], masks: bool = True) -> Iterator[bytes]:
    """The same files as one zip archive, piece by piece, without a copy on disk; StudioError where a picture is missing."""
    for row in dataset.rows:
        if not dataset.path(row).exists():
            raise _missing(dataset, row)
    return _zip(dataset, captions, masks)


def _zip(dataset: Dataset, captions: str, masks: bool) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for row in dataset.rows:
            files = {row.file: dataset.path(row)}
            if masks and dataset.mask_path(row).exists():
                files[_mask_name(row)] = dataset.mask_path(row)
            for name, path in files.items():
                with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as target, open(path, "rb") as source:
                    while piece := source.read(_PIECE_BYTES):
                        target.write(piece)
                        yield pieces.take()
            if captions == "txt":
                archive.writestr(zipfile.ZipInfo(str(Path(row.file).with_suffix(".txt")), _EPOCH), dataset.caption(row))
                yield pieces.take()
        if captions == "jsonl":
            archive.writestr(zipfile.ZipInfo(TABLE, _EPOCH), _table(dataset, masks))
    yield pieces.take()


class _Pieces(io.RawIOBase):
    """What was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """All pieces so far, as one."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _table(dataset: Dataset, masks: bool) -> str:
    return "".join(json.dumps(_entry(dataset, row, masks), ensure_ascii=False) + "\n" for row in dataset.rows)


def _mask_name(row: Row) -> str:
    return f"{MASKS}/{Path(row.file).stem}.png"


def _copy(dataset: Dataset, row: Row, folder: Path) -> None:
    try:
        shutil.copyfile(dataset.path(row), folder / row.file)
    except FileNotFoundError:
        raise _missing(dataset, row) from None


def _missing(dataset: Dataset, row: Row) -> StudioError:
    return StudioError(f"{row.file} is missing from {printable(str(dataset.root))}: import the dataset again")


def _entry(dataset: Dataset, row: Row, masks: bool) -> dict[str, str]:
    entry = {"file_name": row.file, "text": dataset.caption(row), "split": row.split or "train"}
    if masks and dataset.mask_path(row).exists():
        entry["mask_file_name"] = _mask_name(row)
    return {**entry, "group": row.group} if row.group else entry
