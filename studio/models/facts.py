"""What a base model weighs, what training on it needs, and whether this machine has that; told by headers, no weights are read."""

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from studio.errors import StudioError
from studio.families.base import Card
from studio.families.folder import component
from studio.families.header import Header, read_header
from studio.families.timesteps import Timesteps, histogram, shift_of
from studio.store import Workspace, read_json

MAX_FILES = 20_000  # counted in one folder
MAX_CARD_CHARS = 100_000
UNUSED = {"safety_checker", "feature_extractor", "image_encoder", "scheduler"}
REFERENCE_PX = 512
USUAL_SCALE, SINGLE_FILE_MULTIPLE = 8, 64  # of Stable Diffusion, where nothing else is said
USUAL_SIDE = 128  # positions of the autoencoder that a transformer was made for, where nothing else is said
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


def component_headers(folder: Path) -> list[Header]:
    """The headers of a component's weights; of several variants (plain, fp16) of one alone. None where they cannot be read."""
    with contextlib.suppress(OSError, StudioError):
        files = sorted(folder.glob("*.safetensors"))
        plain = [f for f in files if "." not in f.stem]
        return [read_header(f) for f in plain or files]
    return []


def _count(file: Path) -> int:
    with contextlib.suppress(StudioError, OSError):
        return read_header(file).num_values
    return 0


def size_px(path: Path, denoiser: str) -> int:
    """The picture size a model was made for; 512 where its configurations do not say."""
    return own_size_px(path, denoiser) or REFERENCE_PX


def sample_side(sample_size: Any) -> int:
    """The longer side that a configuration's `sample_size` names, a number or two; 0 where that is none of a model."""
    sides = sample_size if isinstance(sample_size, list | tuple) else [sample_size]
    return max((n for n in sides if type(n) is int and 0 < n <= 1024), default=0)


def own_size_px(path: Path, denoiser: str) -> int | None:
    """The picture size that a model's configurations name; None where they do not, or it is a single file."""
    if path.is_dir():
        side, scale = sample_side(configuration(component(path, denoiser) / "config.json").get("sample_size")), vae_scale(path)
        if side and scale:
            return side * scale
        if denoiser == "transformer" and scale:
            own = configuration(path / "vae" / "config.json").get("sample_size")
            return own if isinstance(own, int) and 0 < own <= 4096 else USUAL_SIDE * scale
    return None


def pixel_multiple(path: Path, denoiser: str, tokens: int = 1) -> int:
    """What the sides of a training picture divide by, told by a model's configurations as its family tells it once it is loaded.

    `tokens` = positions of the autoencoder per side of a transformer's token, where its configuration does not say.
    """
    config = configuration(component(path, denoiser) / "config.json") if path.is_dir() else {}
    scale, levels = vae_scale(path) or USUAL_SCALE, config.get("block_out_channels")
    if isinstance(levels, list) and levels:
        whole = scale * 2 ** (len(levels) - 1)  # every halving is exact
        return whole if scale == 1 else max(scale, min(whole, size_px(path, denoiser) // 4))
    patch = config.get("patch_size")
    if not isinstance(patch, int) and not config:
        return SINGLE_FILE_MULTIPLE
    return scale * max(patch if isinstance(patch, int) and 0 < patch < 64 else 1, tokens)


def vae_scale(path: Path) -> int | None:
    """Pixels per position of the denoiser, by a model's configurations; 1 where it has no autoencoder, None where they do not say."""
    if path.is_dir() and not (path / "vae").is_dir():
        return 1
    config = configuration(path / "vae" / "config.json")
    halvings = config.get("temperal_downsample")  # of films: one entry for each halving, not for each level
    levels = [*halvings, True] if isinstance(halvings, list) else config.get("block_out_channels", config.get("encoder_block_out_channels"))
    return 2 ** (len(levels) - 1) if isinstance(levels, list) and 0 < len(levels) < 8 else None


def noise_levels(path: Path, card: Card, size: int, how: Timesteps) -> dict[str, Any]:
    """{"kind", "shift", "own_shift", "shares"}: which noise levels training draws for square pictures of this size, from clean to noise."""
    scheduler = configuration(component(path, "scheduler") / "scheduler_config.json") if path.is_dir() else {}
    own = shift_of(scheduler, (size // ((vae_scale(path) or USUAL_SCALE) * card.patch)) ** 2)
    kind, shift = card.timesteps if how.kind == "auto" else how.kind, own if how.shift is None else how.shift
    return {"kind": kind, "shift": round(shift, 3), "own_shift": round(own, 3), "shares": [round(s, 4) for s in histogram(kind, shift)]}


def configuration(path: Path) -> dict[str, Any]:
    """A configuration file's values; empty where it is missing or damaged."""
    with contextlib.suppress(StudioError, OSError):
        value = read_json(path) if path.is_file() else {}
        return value if isinstance(value, dict) else {}
    return {}


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
