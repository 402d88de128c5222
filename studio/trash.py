"""The workspace's trash: what is deleted is moved there whole, by one rename, and can be brought back."""

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.store import Workspace, inside, read_json, write_json

LABEL = "trash.json"
CONTENT = "content"


def trash_folder(workspace: Workspace) -> Path:
    """The workspace's trash."""
    return workspace.root / ".trash"


def to_trash(workspace: Workspace, path: Path, kind: str, title: str = "") -> str:
    """Move the file or folder `path` of the workspace to the trash; the token that brings it back. StudioError where it is gone."""
    token = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    folder = trash_folder(workspace) / token
    home = path.relative_to(workspace.root).as_posix()
    write_json(folder / LABEL, {"kind": kind, "title": title or path.name, "home": home, "time": round(time.time(), 3)})
    try:
        os.rename(path, folder / CONTENT)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FileNotFoundError):
            raise StudioError(f"{kind} {path.name!r} is not here any more: somebody else has deleted or moved it") from None
        raise
    return token


def from_trash(workspace: Workspace, token: str) -> Path:
    """Move what was deleted under `token` back to where it was; its path. StudioError where it is gone or its place is taken."""
    folder = inside(trash_folder(workspace), token)
    row = _read(folder)
    if row is None:
        raise StudioError(f"{token[:60]!r} is not in the trash (any more): it was brought back already, or the trash was emptied")
    home = workspace.root / row["home"]
    if home.exists():
        raise StudioError(f"{row['kind']} {row['title']!r} cannot come back: {row['home']} is taken by a new one; move that away first")
    home.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder / CONTENT, home)
    except FileNotFoundError:
        raise StudioError(f"{row['kind']} {row['title']!r} is not in the trash any more: it was brought back already") from None
    shutil.rmtree(folder, ignore_errors=True)
    return home


def list_trash(workspace: Workspace) -> list[dict[str, Any]]:
    """What can be brought back, newest first: {"token", "kind", "title", "home", "time"}."""
    with contextlib.suppress(FileNotFoundError):
        rows = (_read(p) for p in trash_folder(workspace).iterdir())
        return sorted((r for r in rows if r), key=lambda r: (r["time"], r["token"]), reverse=True)
    return []


def trash_size(workspace: Workspace) -> int:
    """Bytes that emptying the trash would free."""
    total = 0
    for file in trash_folder(workspace).rglob("*"):
        with contextlib.suppress(OSError):
            total += 0 if file.is_dir() else file.lstat().st_size
    return total


def empty_trash(workspace: Workspace) -> int:
    """Delete for good all that is in the trash; the bytes freed. There is no way back."""
    freed = trash_size(workspace)
    with contextlib.suppress(FileNotFoundError):
        for path in trash_folder(workspace).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return freed


def _read(folder: Path) -> dict[str, Any] | None:
    """The label of a folder in the trash; None where it is none, damaged, or would lead out of the workspace."""
    if not (folder / CONTENT).exists():
        return None
    try:
        label = read_json(folder / LABEL)
        row = {key: str(label[key]) for key in ("kind", "title", "home")}
        row |= {"token": folder.name, "time": float(label["time"])}
    except (StudioError, OSError, KeyError, TypeError, ValueError):
        return None
    home = Path(row["home"])
    return None if home.is_absolute() or ".." in home.parts or not home.parts else row
