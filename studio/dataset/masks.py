"""Masks: `NAME.mask.png` beside a picture, grey and as large as it; white is trained, black is left out. Read, kept and undone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.dataset.edit import HISTORY, editing, find_row
from studio.dataset.removal import add_record, forget_record, read_record
from studio.dataset.rows import Dataset, Row
from studio.dataset.worker import Worker
from studio.errors import StudioError, printable
from studio.store import Workspace, inside, sha256, write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

Reader = Callable[[Path, Path, tuple[int, int]], dict[str, Any]]  # (source, target, size): the answer of `Worker.read_mask`
NO_MASK = "none"
_KEPT = ".masks"  # every mask that undoing may need, by its hash


def mask_bytes(dataset: Dataset, row: Row) -> bytes | None:
    """The mask of a picture as it is stored; None where there is none."""
    try:
        return dataset.mask_path(row).read_bytes()
    except FileNotFoundError:
        return None


def open_mask(dataset: Dataset, row: Row, data: bytes) -> "Image":
    """The stored mask `data` of a picture, decoded: mode L, as large as it. StudioError where it does not belong to it."""
    import io

    from PIL import Image

    where = printable(str(dataset.mask_path(row)))
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mask = image.convert("L")
    except (OSError, SyntaxError, ValueError) as error:
        raise StudioError(f"{where} cannot be read ({error}): paint this mask again, or remove it") from None
    if mask.size != (row.width, row.height):
        size = f"{mask.width}x{mask.height} px, its picture {row.width}x{row.height}"
        raise StudioError(f"{where} is {size}: paint this mask again, or remove it")
    return mask


def set_mask(
    workspace: Workspace, name: str, file: str, source: Path | None, read: Reader | None = None, seen: str | None = None
) -> dict[str, Any]:
    """Keep the picture file `source` (None: none) as the mask of `file`, grey and as large: {"undo", "text", "count", "mask": its hash}.

    `read` is a decoding process that runs already, `seen` the hash of the mask that this one replaces, NO_MASK for none.
    StudioError where it cannot be read, has another shape, or replaces another mask than that.
    """
    with editing(workspace, name) as dataset:
        row = find_row(dataset, file)
        after, note = (b"", "") if source is None else _fitted(workspace, source, row, read or _read_once)
        before = mask_bytes(dataset, row) or b""
        if seen and after != before and seen != (sha256(before) if before else NO_MASK):
            raise StudioError(f"{file}: its mask was changed in another window meanwhile: it is shown now, undo brings yours back")
        if after == before:
            return {"count": 0, "undo": None, "text": "Nothing was changed", "mask": sha256(after) if after else None}
        change = [_keep(dataset.root, data) for data in (before, after)]
        text = f"{file}: mask removed" if source is None else f"{file}: mask {'changed' if before else 'added'}" + (note and f"; {note}")
        undo = add_record(dataset.root, {"kind": "mask", "text": text, "num": 1, "masks": {file: change}})
        _put(dataset, row, after)
        _sweep(dataset.root)
    return {"count": 1, "undo": undo, "text": text, "mask": sha256(after) if after else None}


def undo_mask(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Put back the masks that `set_mask` changed, but for those changed since."""
    with editing(workspace, name) as dataset:
        record, rows, num = read_record(dataset.root, undo), {row.file: row for row in dataset.rows}, 0
        for file, (before, after) in record.get("masks", {}).items():
            data = mask_bytes(dataset, rows[file]) if file in rows else None
            if file not in rows or (sha256(data) if data else "") != after:
                continue
            _put(dataset, rows[file], inside(dataset.root / _KEPT, f"{before}.png").read_bytes() if before else b"")
            num += 1
        forget_record(dataset.root, undo)
    return {"text": "Put back the mask" if num else "The mask was changed since, it stays as it is", "restored": num}


def _read_once(source: Path, target: Path, size: tuple[int, int]) -> dict[str, Any]:
    with Worker() as worker:
        return worker.read_mask(source, target, size, lambda: None)


def _fitted(workspace: Workspace, source: Path, row: Row, read: Reader) -> tuple[bytes, str]:
    """`source` as a mask of `row`, read by the decoding process, and a note about it, which may be empty."""
    workspace.cache.mkdir(parents=True, exist_ok=True)
    target = workspace.cache / f".tmp-mask-{sha256(row.file.encode())[:16]}.png"
    try:
        answer = read(source, target, (row.width, row.height))
        if "reason" in answer:
            raise StudioError(f"{printable(source.name)}: {answer['reason']}")
        if "errno" in answer:
            raise OSError(answer["errno"], None, str(workspace.cache))
        return target.read_bytes(), str(answer.get("note", ""))
    finally:
        target.unlink(missing_ok=True)


def _keep(root: Path, data: bytes) -> str:
    """Keep a mask for undoing; its hash, empty for none."""
    if not data:
        return ""
    digest = sha256(data)
    path = root / _KEPT / f"{digest}.png"
    if not path.exists():
        write_bytes(path, data)
    return digest


def _sweep(root: Path) -> None:
    """Forget the masks that no change which can be undone needs any more."""
    records = [read_record(root, path.stem) for path in (root / HISTORY).glob("[0-9]*.json")]
    needed = {digest for record in records for change in record.get("masks", {}).values() for digest in change}
    for path in (root / _KEPT).glob("*.png"):
        if path.stem not in needed:
            path.unlink(missing_ok=True)


def _put(dataset: Dataset, row: Row, data: bytes) -> None:
    if data:
        write_bytes(dataset.mask_path(row), data)
    else:
        dataset.mask_path(row).unlink(missing_ok=True)
