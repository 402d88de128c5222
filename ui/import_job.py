"""One import from the page: its files, its state, and the names of what arrives as plain paths below its folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.dataset.looking import Look
from studio.dataset.readers.base import Choices
from studio.dataset.sources import natural_key
from studio.errors import StudioError, printable

MAX_DEPTH = 16  # folders
_PUBLIC = ("id", "state", "received", "done", "total", "file", "dataset", "name", "added", "error", "skipped")
RECEIVING, READING, FINISHED, FAILED, CANCELLED = "receiving", "reading", "finished", "failed", "cancelled"
LOOKING, CHOOSING = "looking", "choosing"  # into scans and scenes, between receiving and reading
OPEN = {RECEIVING, CHOOSING}  # waiting for what comes from the page
ENDED = {FINISHED, FAILED, CANCELLED}


class Cancelled(Exception):
    """Somebody has pressed Cancel."""


@dataclass
class Import:
    """One import, from the first file to what has become of it."""

    id: str
    dataset: str | None  # folder of the dataset that is added to; None makes a new one
    name: str
    folder: Path
    close: Callable[[], None]  # frees the folder
    state: str = RECEIVING
    received: int = 0
    num_bytes: int = 0
    names: set[str] = field(default_factory=set)
    done: int = 0
    total: int = 0
    file: str = ""
    added: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    error: str | None = None
    touched: float = field(default_factory=time.monotonic)
    began: float = 0.0
    is_cancelled: bool = False
    given: Path | None = None  # a file or folder of this machine, read where it is
    look: Look | None = None
    choices: Choices = field(default_factory=Choices)
    alpha_masks: bool = False  # transparent parts become masks

    def public(self) -> dict[str, Any]:
        """What pages are told."""
        known = {key: getattr(self, key) for key in _PUBLIC}
        left = None
        if self.state == READING and self.done >= 3:
            left = round((time.monotonic() - self.began) / self.done * (self.total - self.done), 1)
        return {**known, "seconds_left": left, "look": self.look.told() if self.state == CHOOSING and self.look else None}


def sources_of(job: Import) -> list[Path]:
    """What has arrived, in natural order, or what was given by its path."""
    if job.given is not None:
        return [job.given]
    return sorted(job.folder.iterdir(), key=lambda path: natural_key(path.name))


def tell(job: Import, done: int, total: int, file: str) -> None:
    """Keep how far the reading is; Cancelled where somebody has asked for that."""
    if job.is_cancelled:
        raise Cancelled
    job.done, job.total, job.file = done, total, file


def check_receiving(job: Import) -> None:
    """StudioError unless files may still arrive."""
    if job.state != RECEIVING:
        raise StudioError(job.error or "this import has ended already: drop the files again")


def parts_of(name: str) -> list[str]:
    """A path from outside as plain names: no way up, no separators, no control characters."""
    parts = [" ".join(printable(part).split(" ")).replace("\\", "_") for part in name.split("/")]
    parts = [part for part in parts if part.strip() and part not in {".", ".."}]
    return parts[-MAX_DEPTH:] or ["unnamed"]


def reserve(job: Import, parts: list[str]) -> list[str]:
    """`parts`, below a numbered folder where that path is taken already; so nothing that arrives replaces anything."""
    number, wanted = 1, parts
    while "/".join(wanted).casefold() in job.names:
        number += 1
        wanted = [f"again-{number}", *parts]
    job.names.add("/".join(wanted).casefold())
    return wanted
