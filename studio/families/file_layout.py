"""How a family's models are kept as files: what the denoiser's shapes say, and which pieces it needs beside itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.families.bundled import CONFIGS, read
from studio.families.folder import check_values
from studio.families.header import Header

COUNT = -1  # in place of an axis: how many numbered blocks there are
WRAPPERS = ("", "module.", "state_dict.", "ema_model.", "ema.", "_orig_mod.")  # what training programs leave before all names
PREFIXES = (  # of a denoiser in a file, the plainest last
    *(wrapper + p for p in ("model.diffusion_model.", "diffusion_model.", "transformer.", "model.") for wrapper in WRAPPERS),
    *WRAPPERS[1:],
    "",
)


@dataclass(frozen=True)
class Size:
    """A setting of the denoiser's configuration that its tensors' shapes tell."""

    key: str
    axis: int
    names: tuple[str, ...]  # of the tensor, or of the blocks that are counted, by every spelling
    per: int | str = 1  # what the number is divided by, or the setting that says it


@dataclass(frozen=True)
class Need:
    """A piece beside the denoiser."""

    component: str
    kind: str  # of pieces.KINDS
    reads: str  # the setting of the denoiser that says how wide the piece is
    usual: str  # what its file is usually called
    config: str = ""  # of assets/configs; an autoencoder's is in its family's own folder
    share: Fraction = Fraction(1)  # of that setting
    tokenizer: tuple[str, str] | None = None  # (its name in the pipeline, of bundled.TOKENIZERS)
    optional: bool = False
    hint: str = ""  # a pattern of names, where headers leave a choice


@dataclass(frozen=True)
class FileLayout:
    """A family's models as files."""

    configs: Callable[[Header], str]  # which folder of assets/configs completes this file
    sizes: tuple[Size, ...]
    needs: tuple[Need, ...]
    more: Callable[[Header, dict[str, Any]], dict[str, Any]] = lambda header, config: {}  # what else a header says of the configuration

    def folder(self, header: Header) -> Path:
        """The bundled configurations."""
        return CONFIGS / self.configs(header)

    def config(self, header: Header) -> dict[str, Any]:
        """The denoiser's configuration: the published one with the file's own sizes; StudioError where a tensor is missing."""
        config = read(self.folder(header), "transformer/config.json")
        for size in self.sizes:
            divisor = config[size.per] if isinstance(size.per, str) else size.per
            config[size.key] = _measure(header, size) // max(1, divisor)
        config |= self.more(header, config)
        check_values(header.path, config)
        return config

    def widths(self, header: Header) -> dict[str, int]:
        """How wide each piece must be, by its component."""
        config = self.config(header)
        return {need.component: math.floor(config[need.reads] * need.share) for need in self.needs}


def prefix_of(header: Header) -> str:
    """What stands before the names of the denoiser's tensors."""
    return next(p for p in PREFIXES if not p or header.has(p))


def find_tensor(header: Header, *names: str) -> tuple[int, ...] | None:
    """The shape of the denoiser's tensor of one of these names; None where there is none."""
    prefix = prefix_of(header)
    return next((header.shapes[prefix + name] for name in names if prefix + name in header.shapes), None)


def _measure(header: Header, size: Size) -> int:
    if size.axis == COUNT:
        prefix = prefix_of(header)
        return max(header.count(prefix + name) for name in size.names)
    shape = find_tensor(header, *size.names)
    if shape is None or len(shape) <= size.axis:
        name = size.names[-1 if header.has(prefix_of(header) + "transformer_blocks.") else 0]  # in the names that the file has
        raise StudioError(f"{header.path}: tensor {name} is missing: fetch the model again")
    return shape[size.axis]
