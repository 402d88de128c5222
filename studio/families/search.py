"""Folders looked through for models: by names alone, no file is opened, and it ends in time. The hub's cache is one of them."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import printable
from studio.families.folder import PICKLES

MAX_ENTRIES = 1000  # models told of one place
MAX_LOOKED_AT = 20_000  # files and folders looked at in one place
SECONDS = 5.0  # for looking through all places; network drives may be slow
DEPTH = 4  # folders below an added one that are looked into: "models/checkpoints/sd15/mine/model.safetensors" is found
WEIGHTS = {".safetensors", ".sft", ".ckpt", ".gguf"}
OWN, HUB = "models folder", "hub cache"  # the places of what nobody added
FIRST_SHARD = re.compile(r"-\d{5}(-of-\d{5})")
LATER_SHARD = re.compile(r"-(?!00001)\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Found:
    """A file or folder that may be a base model, and the place it was found in."""

    name: str
    path: Path
    place: str


def own_models(folder: Path) -> list[Found]:
    """What lies in the workspace's own models folder: every entry, or what is found in it where it is a folder of models."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not entry.name.startswith("."):
            inside = look_through([entry])[0] if entry.is_dir() else []
            found += [Found(one.name, one.path, OWN) for one in inside] or [Found(entry.name, entry, OWN)]
    return found


def hub_models() -> list[Found]:
    """Whole diffusers folders in the hub's cache; what else lies there is no base model and would only be in the way."""
    cache = hub_cache()
    found = look_through([cache])[0] if cache.is_dir() else []
    return [Found(one.name, one.path, HUB) for one in found if (one.path / "model_index.json").is_file()]


def look_through(places: list[Path], seconds: float = SECONDS) -> tuple[list[Found], list[dict[str, Any]]]:
    """(all that may be a model, what is to be said of each place): no file is opened, and it ends within seconds."""
    until = time.monotonic() + seconds
    found: list[Found] = []
    told = []
    for place in places:
        seen, note = [], ""
        try:
            walk = _walk(place, until)
            for path in walk:
                if len(seen) == MAX_ENTRIES:
                    note = f"only the first {MAX_ENTRIES} models are shown: add the folders below it instead"
                    break
                seen.append(Found(place_name(path), path, str(place)))
        except _Enough as enough:
            note = str(enough)
        except OSError as error:
            note = "it is gone: bring it back, or remove it from this list"
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                note = f"it cannot be read ({error.strerror}): check its permissions"
        if not seen and not note:
            note = "no models were found in it, nor up to four folders below it"
        found += seen
        told.append({"path": str(place), "models": len(seen), "note": note})
    return found, told


class _Enough(Exception):
    """A place that is too large to be looked through."""


def _walk(place: Path, until: float) -> Iterator[Path]:
    """Model folders and files of weights in `place`, folder by folder, nearest first."""
    if not place.is_dir():
        os.stat(place)  # FileNotFoundError for one that is gone
        yield place
        return
    if _is_model(place):
        yield place
        return
    budget = _Budget(until)
    level, been = [place], set()
    for depth in range(DEPTH + 1):
        below: list[Path] = []
        for folder in _new(level, been):
            for entry in _entries(folder, is_place=folder == place):
                budget.spend()
                path = Path(entry.path)
                if _is_folder(entry):
                    inner = hub_snapshot(path) or path
                    if _is_model(inner):
                        yield inner
                    else:
                        below.append(path)
                elif path.suffix.lower() in WEIGHTS or (depth == 0 and path.suffix.lower() in PICKLES):
                    if not (LATER_SHARD.search(path.stem) and path.with_name(FIRST_SHARD.sub(r"-00001\1", path.name)).is_file()):
                        yield path
        level = below


def _new(folders: list[Path], been: set[str]) -> Iterator[Path]:
    """The folders among these that were not looked into before: links may lead back."""
    for folder in folders:
        real = os.path.realpath(folder)
        if real not in been:
            been.add(real)
            yield folder


def _is_model(folder: Path) -> bool:
    """Whether a folder is one model, or one component of a model with its configuration."""
    with contextlib.suppress(OSError):  # a folder that may not be looked into
        return (folder / "model_index.json").is_file() or ((folder / "config.json").is_file() and any(folder.glob("*.safetensors")))
    return False


class _Budget:
    """How much may be looked at, and how long."""

    def __init__(self, until: float) -> None:
        self._left, self._until = MAX_LOOKED_AT, until

    def spend(self) -> None:
        """One more was looked at; `_Enough` where that, or the time it took, is too much."""
        self._left -= 1
        if self._left < 0 or time.monotonic() > self._until:
            raise _Enough("it is too large to be looked through whole: add the folders your models lie in instead")


def _entries(folder: Path, is_place: bool) -> list[os.DirEntry]:
    """What is in a folder, in the order of names; nothing for one below the place that may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        if is_place:
            raise
        return []


def _is_folder(entry: os.DirEntry) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


def place_name(path: Path) -> str:
    """What a model is called: its file or folder, or author/name in a hub's cache."""
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return printable(path.parent.parent.name.removeprefix("models--").replace("--", "/"))
    return printable(path.name or str(path))


def hub_cache() -> Path:
    """Where the hub's tools keep what they have fetched."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")))


def hub_snapshot(folder: Path) -> Path | None:
    """The newest snapshot of a model in a hub's cache (models--author--name); None for other folders."""
    if not folder.name.startswith("models--"):
        return None
    with contextlib.suppress(OSError):
        return max((folder / "snapshots").iterdir(), key=lambda p: p.stat().st_mtime, default=None)
    return None
