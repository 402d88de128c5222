"""The 16 px prints of a dataset's pictures, kept by pixel hash, so that look-alikes are found without decoding anything again."""

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from studio.dataset.alike import THUMB_PX
from studio.dataset.rows import Dataset
from studio.dataset.worker import Worker
from studio.store import Workspace, write_bytes

_HASH_BYTES, _PRINT_BYTES = 32, THUMB_PX * THUMB_PX * 3
_RECORD_BYTES = _HASH_BYTES + _PRINT_BYTES


def keep_prints(workspace: Workspace, folder: str, prints: dict[str, bytes]) -> None:
    """Add `prints` (by pixel hash) to those kept for the dataset in `folder`; a disk that refuses costs only time later."""
    with suppress(OSError):
        known = {**_read(_path(workspace, folder)), **prints}
        write_bytes(_path(workspace, folder), b"".join(bytes.fromhex(key) + known[key] for key in sorted(known)))


def prints_of(workspace: Workspace, dataset: Dataset, tick: Callable[[], None]) -> np.ndarray:
    """The prints of all rows, uint8 [N, THUMB_PX, THUMB_PX, 3]; missing ones are made again, noise for pictures that are gone."""
    known = _read(_path(workspace, dataset.root.name))
    missing = [row for row in dataset.rows if row.pixels not in known]
    made = {}
    if missing:
        with Worker() as worker:
            for row in missing:
                answer = worker.ask({"source": str(dataset.path(row)), "views": str(workspace.cache / "views"), "size": 0}, tick)
                if answer.get("pixels") == row.pixels:
                    made[row.pixels] = base64.b64decode(answer["thumb"])
        keep_prints(workspace, dataset.root.name, made)
    data = b"".join(known.get(row.pixels) or made.get(row.pixels) or _noise(row.pixels) for row in dataset.rows)
    return np.frombuffer(data, np.uint8).reshape(-1, THUMB_PX, THUMB_PX, 3)


def _noise(pixels: str) -> bytes:
    """A print that looks like no other."""
    return hashlib.shake_256(pixels.encode()).digest(_PRINT_BYTES)


def _path(workspace: Workspace, folder: str) -> Path:
    return workspace.cache / "prints" / folder


def _read(path: Path) -> dict[str, bytes]:
    """The whole records of `path`; none where it is missing."""
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    starts = range(0, len(data) - _RECORD_BYTES + 1, _RECORD_BYTES)
    return {data[i : i + _HASH_BYTES].hex(): data[i + _HASH_BYTES : i + _RECORD_BYTES] for i in starts}
