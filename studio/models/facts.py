"""What a base model weighs, what training on it needs, and whether this machine has that; told by headers, no weights are read."""

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from studio.errors import StudioError
from studio.families.base import Card
from studio.families.configured import USUAL_SCALE, component_headers, configuration, vae_scale
from studio.families.folder import component
from studio.families.header import read_header
from studio.families.timesteps import Timesteps, histogram, shift_of
from studio.store import Workspace, read_json

MAX_FILES = 20_000  # counted in one folder
MAX_CARD_CHARS = 100_000
UNUSED = {"safety_checker", "feature_extractor", "image_encoder", "scheduler"}
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """The memory that training would use."""

    free_gib: float
    total_gib: float
    where: str
    bytes_per_number: int  # of the precision that is chosen by itself


def size_mib(path: Path) -> float:
    """Size of a file or folder in MiB; of a folder with very many files, of the first ones."""
    files = [path] if path.is_file() else itertools.islice(path.rglob("*"), MAX_FILES)
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total / 2**20


def memory(workspace: Workspace) -> Memory:
    """The GPU's memory where a process with torch has found one, else this machine's."""
    machine: Any = {}
    with contextlib.suppress(StudioError, OSError):
        machine = read_json(workspace.cache / "machine.json")
    if isinstance(machine, dict) and machine.get("device") == "cuda" and isinstance(machine.get("memory_gib"), int | float):
        free = machine.get("free_gib")
        total = float(machine["memory_gib"])
        return Memory(float(free) if isinstance(free, int | float) else total, total, str(machine.get("name") or "the GPU"), 2)
    ram = psutil.virtual_memory()
    return Memory(ram.available / GIB, ram.total / GIB, "this machine", 4)


def num_parameters(path: Path) -> int:
    """Numbers in all components that training loads; 0 where headers cannot be read."""
    if path.is_file():
        return _count(path)
    names = [name for name, value in configuration(path / "model_index.json").items() if isinstance(value, list) and any(value)]
    headers = (h for name in names if name not in UNUSED and "/" not in name for h in component_headers(path / name))
    return sum(h.num_values for h in headers)


def _count(file: Path) -> int:
    with contextlib.suppress(StudioError, OSError):
        return read_header(file).num_values
    return 0


def noise_levels(path: Path, card: Card, size: int, how: Timesteps) -> dict[str, Any]:
    """{"kind", "shift", "own_shift", "shares"}: which noise levels training draws for square pictures of this size, from clean to noise."""
    scheduler = configuration(component(path, "scheduler") / "scheduler_config.json") if path.is_dir() else {}
    own = shift_of(scheduler, (size // ((vae_scale(path) or USUAL_SCALE) * card.patch)) ** 2)
    kind, shift = card.timesteps if how.kind == "auto" else how.kind, own if how.shift is None else how.shift
    return {"kind": kind, "shift": round(shift, 3), "own_shift": round(own, 3), "shares": [round(s, 4) for s in histogram(kind, shift)]}


def say_fit(needed: float | None, here: Memory) -> tuple[bool | None, str]:
    """(fits, the figures in words); None where the need is not known."""
    if needed is None:
        return None, "how much memory it needs cannot be told from its files"
    figures = (
        f"needs about {needed:.1f} GiB with one picture at a time, {here.free_gib:.1f} of {here.total_gib:.1f} GiB are free on {here.where}"
    )
    if needed <= here.free_gib:
        return True, figures
    return (None, figures + ": close other programs first") if needed <= here.total_gib else (False, figures + ": too large for it")


def card_text(path: Path) -> str:
    """The model card beside a model, as plain text; StudioError where there is none."""
    try:
        with open(path / "README.md", encoding="utf-8", errors="replace") as file:
            return file.read(MAX_CARD_CHARS)
    except (FileNotFoundError, NotADirectoryError):
        raise StudioError(f"{path.name}: no model card (README.md) lies beside it") from None
