"""Where things are kept, and the only ways they are written: atomic, append-only or content-addressed."""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import struct
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError, place

ASSETS = Path(__file__).resolve().parent.parent / "assets"
NUM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1}
NUM_BYTES |= {"BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # of a number, by what the format calls its precision
DEFAULT_WORKSPACE = Path("~/DomainStudio")


@dataclass(frozen=True)
class Workspace:
    """The one folder a person works in; every path below it is made here."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> "Workspace":
        """The workspace at `path`, created if missing; OSError where that cannot be done."""
        root = Path(path).expanduser().resolve()
        root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @property
    def datasets(self) -> Path:
        """The folder of datasets."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """The folder of models."""
        return self.root / "models"

    @property
    def cache(self) -> Path:
        """The folder of what can be made again."""
        return self.root / "cache"


def slug(label: str) -> str:
    """A folder name for `label`: letters and digits of any script, joined by dashes, at most 60 bytes; may be empty."""
    text = unicodedata.normalize("NFC", label.encode("utf-8", "replace").decode("utf-8")).casefold()
    text = re.sub(r"[^\w]+|_+", "-", text).strip("-")
    return text.encode("utf-8")[:60].decode("utf-8", "ignore").strip("-")


def inside(root: Path, name: str) -> Path:
    """`root/name` for a name that came from outside; StudioError unless it is one plain component below `root`."""
    _check_plain(root, name)
    path = (root / name).resolve()
    if path.parent != root.resolve():
        raise StudioError(f"{name!r} leads outside {root}")
    return path


def check_inside(root: Path, names: Iterable[str]) -> None:
    """StudioError unless `inside` takes every one of `names`; only links are followed, so that thousands take no time."""
    with os.scandir(root) as entries:
        links = {entry.name for entry in entries if entry.is_symlink()}
    for name in names:
        _check_plain(root, name)
        if name in links:
            inside(root, name)


def _check_plain(root: Path, name: str) -> None:
    if not name or name in {".", ".."} or any(c in name for c in "/\\\0") or not name.isprintable():
        raise StudioError(f"{name!r} is not a name in {root}: use the name as it is listed")


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable (a no-op where folders cannot be opened, as on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the rename itself stays atomic
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, sees the old or the new file, never a third; mode 0644."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk alone does not say which
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n").encode("utf-8", "replace"))


def overwrite_json(path: Path, value: Any) -> None:
    """Write `value` over the small file that is there: for a full disk, where nothing else has room. A crash may tear it."""
    with open(path, "r+b") as file:
        file.write(json.dumps(value).encode("utf-8", "replace"))
        file.truncate()


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append each value as a line of JSON, durably; what a killed writer has torn is ended first."""
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    if not text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        os.fsync(file.fileno())


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in `data`, a line each; damaged lines are left out."""
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def read_json(path: Path) -> Any:
    """The JSON value in `path`; StudioError naming the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StudioError(f"{path} is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StudioError(f"{path} is damaged ({error}): restore it from a copy, or delete it") from None


def tensors_to_bytes(tensors: dict, metadata: dict[str, str] | None = None) -> bytes:
    """`tensors` as safetensors bytes with a sorted header: equal tensors and metadata give equal bytes.

    safetensors 0.8 writes several metadata keys in random order, so the metadata is placed here.
    """
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())})
    if not metadata:
        return data
    (length,) = struct.unpack("<Q", data[:8])
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def write_tensors(path: Path, tensors: dict, metadata: dict[str, str] | None = None) -> None:
    """Write `tensors` to `path` as safetensors, atomically, mode 0644."""
    write_bytes(path, tensors_to_bytes(tensors, metadata))


def stream_tensors(path: Path, told: dict[str, tuple[str, tuple[int, ...]]], read: Callable[[str], Any], metadata: dict[str, str]) -> None:
    """Write a safetensors file of the tensors `told` (name -> precision as the format names it, shape), each asked of `read` in its turn.

    As `write_tensors`, atomically, for files that are larger than memory: one tensor is held at a time.
    """
    import torch

    order = sorted(told, key=lambda name: (-NUM_BYTES[told[name][0]], name))  # wide numbers first, so that all lie where they may be mapped
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        dtype, shape = told[name]
        begin, end = end, end + NUM_BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    require_free(path.parent, end + 2**20, path.name)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in order:
                file.write(memoryview(read(name).detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
            assert file.tell() == 8 + len(text) + end, f"{path}: what was read is not of the precision and shape that was told"
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_tensors(path: Path) -> dict:
    """The tensors of a safetensors file, on the CPU; StudioError where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise StudioError(f"{path} is missing") from None
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): fetch or export it again") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; StudioError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): fetch or export it again") from None


def sha256(data: bytes) -> str:
    """The SHA-256 of `data`, as hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_free(folder: Path, needed: int, what: str) -> None:
    """StudioError unless the disk of `folder` has `needed` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StudioError(
            f"{place(folder)}: the disk is full: {what} needs {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free; "
            "free some space, or choose another place with --workspace"
        )
