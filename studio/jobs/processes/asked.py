"""What a page asks of the resident process: a folder each, with the request, how far it is, and the wish to leave it."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psutil
from filelock import FileLock

from studio.errors import StudioError
from studio.jobs.runs.folders import identify, process_lives
from studio.store import overwrite_json, read_json, write_json

OVER = {"finished", "failed", "cancelled", "interrupted"}
LOCK_WAIT_S = 30
ID = re.compile(r"[0-9]{8}-[0-9a-f]{6}")


@dataclass(frozen=True)
class Asked:
    """The folder of something that was asked for."""

    folder: Path
    title: ClassVar[str]  # what it is called
    lost: ClassVar[str]  # what is told where its process is gone
    gone: ClassVar[str]  # what is told where its folder is

    @property
    def id(self) -> str:
        """The name of its folder, by which pages ask for it."""
        return self.folder.name

    @property
    def cancel_file(self) -> Path:
        """The file whose presence is the wish that it be left."""
        return self.folder / "cancel"

    @property
    def cancelled(self) -> bool:
        """Whether someone asked to stop; whoever works on it looks here before it begins and after each step."""
        return self.cancel_file.exists()

    def cancel(self) -> None:
        """Ask whoever works on it, or is about to, to leave it."""
        if self.status()["state"] not in OVER:
            self.cancel_file.touch()

    def hand_over(self, take: Callable[[str], Any]) -> None:
        """Give it to the resident process by `take(id)`; where too many wait already, that is told, and it is not left as waiting."""
        try:
            take(self.id)
        except StudioError as error:
            self.write_status("failed", error=str(error))
            raise

    def progress(self) -> dict[str, Any]:
        """What pages show of its status: state, done, total, progress, note, error, created; None for what was not said."""
        status = self.status()
        return {key: status.get(key) for key in ("state", "done", "total", "progress", "note", "error", "created")}

    def write_status(self, state: str, process: psutil.Process | None = None, **values: Any) -> None:
        """Say what `process`, by default this one, does: "waiting", what it is at, or one of OVER; with progress, error, note …"""
        told = {"state": state, **identify(process or psutil.Process()), "heartbeat": time.time()}
        path = self.folder / "status.json"
        try:
            write_json(path, told | values)
        except OSError:  # a full disk: whoever waits must still be told
            if not path.is_file():
                raise
            overwrite_json(path, told | values)

    def status(self) -> dict[str, Any]:
        """What was last said, with the state as it truly is: its process gone, it is "interrupted", or "cancelled" as was wished."""
        try:
            status = read_json(self.folder / "status.json")
        except (StudioError, OSError):
            status = {}
        if not isinstance(status, dict) or not isinstance(status.get("state"), str):
            status = {"state": "interrupted"}
        if status["state"] == "waiting" and self.cancelled:
            status["state"] = "cancelled"
        if status["state"] not in OVER and not process_lives(status):
            status["state"] = "cancelled" if self.cancelled else "interrupted"
        if status["state"] == "interrupted":
            status["error"] = self.lost
        return status


Kind = TypeVar("Kind", bound=Asked)


def create(kind: type[Kind], root: Path, files: dict[str, Any], **status: Any) -> Kind:
    """A new folder below `root` with these JSON files, waiting; numbered, unique, and there whole or not at all."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=root))
    try:
        for name, value in files.items():
            write_json(temporary / name, value)
        kind(temporary).write_status("waiting", created=time.time(), **status)
        temporary.chmod(0o755)
        with FileLock(root / ".lock", timeout=LOCK_WAIT_S):
            number = 1 + max((int(name[:8]) for name in names(root)), default=0)
            folder = root / f"{number:08d}-{secrets.token_hex(3)}"
            os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return kind(folder)


def find(kind: type[Kind], root: Path, name: str) -> Kind:
    """The one with this id below `root`; StudioError where there is none."""
    found = kind(root / name)
    if not ID.fullmatch(name) or not (found.folder / "request.json").is_file():
        raise StudioError(f"{kind.title} {name[:40]!r}: it is not here (any more){kind.gone}")
    return found


def newest(kind: type[Kind], root: Path, limit: int | None = None) -> list[Kind]:
    """Those below `root`, newest first."""
    return [kind(root / name) for name in names(root)[::-1][:limit]]


def newest_of(kind: type[Kind], root: Path, fits: Callable[[Kind], bool]) -> Kind | None:
    """The newest one below `root` that fits, whatever is damaged; None where none does."""
    for one in newest(kind, root):
        with contextlib.suppress(StudioError, OSError):
            if fits(one):
                return one
    return None


def prune(kind: type[Kind], root: Path, most: int) -> None:
    """Remove the oldest of those that are over, until `most` of them are left."""
    over = [one for one in newest(kind, root) if one.status()["state"] in OVER]
    for one in over[most:]:
        shutil.rmtree(one.folder, ignore_errors=True)


def names(root: Path) -> list[str]:
    """The ids below `root`, oldest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(n for n in os.listdir(root) if ID.fullmatch(n))
    return []
