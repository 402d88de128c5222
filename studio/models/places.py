"""Folders and files with base models that a person has added: remembered in the workspace; nothing is copied."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from studio.errors import StudioError, printable
from studio.families.folder import refuse_pickle
from studio.store import Workspace, read_json, write_json

MAX_PLACES = 50
LOCK_WAIT_S = 10


def model_places(workspace: Workspace, kind: str = "models") -> list[Path]:
    """The places a person has added for this kind of model; none where the list is missing or damaged."""
    with contextlib.suppress(StudioError, OSError, TypeError, KeyError):
        return [Path(p) for p in read_json(_file(workspace, kind))["places"] if isinstance(p, str) and p and "\0" not in p]
    return []


def _file(workspace: Workspace, kind: str) -> Path:
    return workspace.root / f"{kind}.json"


def add_model_place(workspace: Workspace, text: str) -> Path:
    """Remember a folder with models, or one .safetensors file; StudioError where it can hold none. Nothing is copied."""
    path = typed_path(text)
    refuse_pickle(path)
    try:
        if not path.exists():
            raise StudioError(f"{path}: nothing is there; check the spelling, and that its drive is connected")
        if path.is_dir():
            os.listdir(path)
        elif not (path.is_file() and path.suffix.lower() == ".safetensors"):
            raise StudioError(f"{path}: neither a folder nor a .safetensors file: add the folder your models lie in")
        path = path.resolve()
    except RuntimeError:
        raise StudioError(f"{path}: this link leads in a circle: choose another place") from None
    remember(workspace, path)
    return path


def remember(workspace: Workspace, path: Path, kind: str = "models") -> None:
    """Put a place on the list; StudioError where it is on it already, or the list is full."""
    with _changing(workspace, kind) as places:
        if path in places:
            raise StudioError(f"{path} has been added already")
        if len(places) >= MAX_PLACES:
            raise StudioError(f"{len(places)} places are as many as are looked through: remove one first, or add the folder above them")
        places.append(path)


def remove_model_place(workspace: Workspace, text: str, kind: str = "models") -> None:
    """Forget a place; what lies there stays as it is. StudioError where it was none."""
    with _changing(workspace, kind) as places:
        kept = [p for p in places if str(p) != text]
        if len(kept) == len(places):
            raise StudioError(f"{printable(text)[:200]}: not among the added places (any more)")
        places[:] = kept


def typed_path(text: str) -> Path:
    """A path as pasted: quotes and blanks around it do not count; StudioError where it is none."""
    text = text.strip().strip("\"'").strip()
    if not text:
        raise StudioError("path: give the folder your models lie in, or one .safetensors file")
    if "\0" in text or printable(text) != text or len(text) > 4096:
        raise StudioError("path: this is no path: copy it from the file manager")
    path = Path(os.path.expanduser(text))
    if not path.is_absolute():
        raise StudioError(f"{text}: give the whole path, from the drive or / on")
    return path


@contextlib.contextmanager
def _changing(workspace: Workspace, kind: str) -> Iterator[list[Path]]:
    """The list of places, written back at the end; of two who change it at once, one waits."""
    try:
        with FileLock(workspace.root / f".{kind}.lock", timeout=LOCK_WAIT_S):
            places = model_places(workspace, kind)
            yield places
            write_json(_file(workspace, kind), {"places": [str(p) for p in places]})
    except Timeout:
        raise StudioError("the list of places is being changed by another window: try again") from None
