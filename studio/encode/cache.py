"""Latents and text embeddings on disk, addressed by everything they depend on, so that nothing is encoded twice."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.store import read_tensors, sha256, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
KEPT_IN_MEMORY = 1024  # entries; 130 MB of latents at 512 px


class Cache:
    """A folder of safetensors files named by the hash of what made them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.read = lru_cache(KEPT_IN_MEMORY)(self._read)

    def path(self, key: str) -> Path:
        """Where what has this key lies, or would lie."""
        return self.root / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> "dict[str, Tensor]":
        return read_tensors(self.path(key))

    def ensure(self, key: str, make: "Callable[[], dict[str, Tensor]]") -> bool:
        """Have the entry `key`, made by `make` unless a whole one is there; returns whether it was made."""
        if self.path(key).is_file():
            try:
                self.read(key)
                return False
            except StudioError:
                pass  # damaged by a crash or a disk: made again below
        write_tensors(self.path(key), make())
        return True


def key_of(**parts: Any) -> str:
    """The address of an entry: a hash of everything it depends on."""
    return sha256(json.dumps({"version": VERSION, **parts}, sort_keys=True).encode("utf-8", "replace"))
