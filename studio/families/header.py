"""What a .safetensors file says before its data: names, shapes and precision of its tensors, and its metadata. No weights are read."""

import math
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from studio.errors import StudioError


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
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, size: int, time_ns: int) -> Header:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            slices = {key: file.get_slice(key) for key in sorted(file.keys())}
            shapes = {key: tuple(one.get_shape()) for key, one in slices.items()}
            return Header(path, shapes, file.metadata() or {}, {key: one.get_dtype() for key, one in slices.items()})
    except SafetensorError as error:
        raise StudioError(f"{path}: not a whole .safetensors file ({error}): fetch it again") from None
