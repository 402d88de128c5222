"""What a .safetensors file says before its data: names, shapes and precision of its tensors, and its metadata. No weights are read."""

import json
import math
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

from studio.errors import StudioError, printable

MOST_TENSORS = 50_000  # of any model, and then some; more would only keep the machine busy


@dataclass(frozen=True)
class Header:
    """Tensor shapes, their precision as the format names it (F32, BF16, F8_E4M3 …), and metadata."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    dtypes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """All names, one a line, for searching."""
        return "\n".join(self.shapes)

    @property
    def declared_px(self) -> int | None:
        """The picture size that the metadata names (ModelSpec), the shorter side; None where it does not."""
        found = re.fullmatch(r"([1-9]\d{1,3})x([1-9]\d{1,3})", self.metadata.get("modelspec.resolution", ""))
        return min(int(found[1]), int(found[2])) if found else None

    def told_px(self, by_tensor: dict[str, int]) -> int | None:
        """The picture size that the file tells: by its metadata; else, where a family has several, by its name or its tensors.

        `by_tensor`: prefix of tensors -> size of files that have them. Version 2 of Stable Diffusion is shared as `…_512-…` and `…_768-…`.
        """
        by_tensors = next((px for prefix, px in by_tensor.items() if self.has(prefix)), None)
        if self.declared_px or not by_tensors or "eps" in self.metadata.get("modelspec.prediction_type", "").lower():
            return self.declared_px
        found = re.search(r"(?<!\d)(512|768)(?!\d)", self.path.stem)
        return int(found[1]) if found else by_tensors

    @property
    def num_values(self) -> int:
        """Numbers in the file."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def has(self, prefix: str) -> bool:
        """Whether any tensor's name starts so."""
        return any(key.startswith(prefix) for key in self.shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor; StudioError if the file lacks it."""
        if key not in self.shapes:
            raise StudioError(f"{self.path}: tensor {key} is missing: fetch the model again")
        return self.shapes[key]

    def count(self, prefix: str) -> int:
        """One more than the largest number after `prefix` in the tensors' names, so that a gap shows up as missing tensors."""
        found = (re.match(r"(\d{1,3})\.", key[len(prefix) :]) for key in self.shapes if key.startswith(prefix))
        return 1 + max((int(number[1]) for number in found if number), default=-1)


def read_header(path: Path) -> Header:
    """The header of a .safetensors file, read without its data and without torch; StudioError if damaged or cut short.

    Read again only when the file has changed.
    """
    stat = path.stat()
    if not S_ISREG(stat.st_mode):
        raise StudioError(f"{path}: this is no file, but a folder, a pipe or a device: give a .safetensors file or a model folder")
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, size: int, time_ns: int) -> Header:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            if len(file.keys()) > MOST_TENSORS:
                raise StudioError(f"{path}: it holds {len(file.keys()):,} tensors, which no model does: fetch it again")
            slices = {key: file.get_slice(key) for key in sorted(file.keys())}
            _check_once(path)
            shapes = {key: tuple(one.get_shape()) for key, one in slices.items()}
            if empty := next((key for key, shape in shapes.items() if len(shape) > 1 and 0 in shape), None):
                raise StudioError(f"{path}: its tensor {printable(empty)[:120]} is empty: fetch it again")
            return Header(path, shapes, file.metadata() or {}, {key: one.get_dtype() for key, one in slices.items()})
    except SafetensorError as error:
        raise StudioError(f"{path}: {_instead(path) or f'not a whole .safetensors file ({error}): fetch it again'}") from None


INSTEAD = tuple(  # how a file begins that is something else under this name -> what it is, and the way out
    (re.compile(how), what)
    for how, what in (
        (rb"$", "this file is empty, not a whole .safetensors file: fetch it again"),
        (rb"PK\x03\x04", "this is a zip archive, as .ckpt and .pt files are, which can run code: fetch the model as .safetensors"),
        (rb"\x80[\x02-\x05][^\x00]", "this is a pickle, which can run code when opened: fetch the model as .safetensors"),
        (rb"GGUF", "this is a GGUF file, quantised for drawing: fetch the model as .safetensors"),
        (rb"version https://git-lfs", "this is a pointer of Git LFS, not the model itself: fetch it with git lfs pull"),
        (rb"\s*<[!?hH]", "this is a web page, not a model, as comes where a download asks for a login: log in, then fetch it again"),
        (rb"\x1f\x8b|7z\xbc\xaf|Rar!", "this is a compressed archive, not a whole .safetensors file: unpack it first"),
    )
)


def _instead(path: Path) -> str:
    """What a file that is no .safetensors file is, by its first bytes; empty where they do not say."""
    with open(path, "rb") as file:
        begin = file.read(64)
    return next((what for how, what in INSTEAD if how.match(begin)), "")


def _check_once(path: Path) -> None:
    """StudioError where a header names a tensor twice: readers would not agree on which counts."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise StudioError(f"{path}: its header names {printable(twice)[:80]} twice: fetch it again, from somebody else")

    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        json.loads(file.read(length), object_pairs_hook=once)
