"""Every caption that a picture has had or was offered, kept beside the dataset by who wrote it: appended, never rewritten."""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from studio.dataset.captioners.base import Suggestion
from studio.dataset.rows import Dataset, Row, digest
from studio.errors import StudioError, printable
from studio.registry import CAPTIONERS
from studio.store import append_lines, parse_lines

VERSIONS = ".versions.jsonl"
HAND, FILE = "hand", "file"  # who may have written a caption beside captioners and the tools for many captions
_DIGITS = 3


class Version(BaseModel):
    """A caption, and whose it is."""

    by: str
    caption: str  # "" where a captioner did not know
    note: str = ""  # which model, how it was asked
    time: float = 0.0
    confidence: float | None = None
    alternatives: list[tuple[str, float]] = []
    reason: str = ""
    found: bool = False  # it counts only where nobody else has these words: typed, or there before anyone was recorded

    @property
    def source(self) -> str:
        """What it is called: who wrote it, and with which model."""
        return f"{self.by} ({self.note})" if self.note else self.by


def suggested(by: str, note: str, said: Suggestion) -> Version:
    """What a captioner said, as a version."""
    alternatives = [(caption, round(chance, _DIGITS)) for caption, chance in said.alternatives]
    confidence = None if said.confidence is None else round(said.confidence, _DIGITS)
    return Version(by=by, note=note, caption=said.caption, confidence=confidence, alternatives=alternatives, reason=said.reason)


def found_version(row: Row, caption: str) -> Version:
    """A caption whose writer was not recorded: as it came with the picture, or edited since."""
    return Version(by=FILE if row.words == digest(caption) else HAND, caption=caption, found=True)


def add_versions(root: Path, versions: Iterable[tuple[str, Version]]) -> None:
    """Keep versions, by file. Call it while nobody else changes the dataset."""
    now = round(time.time(), _DIGITS)
    append_lines(root / VERSIONS, ({"file": file, **v.model_dump(exclude_defaults=True), "time": now} for file, v in versions))


class Versions:
    """What the versions of a dataset's folder are: read once, then only what was added; any thread may ask."""

    def __init__(self, root: Path) -> None:
        self._path, self._lock = root / VERSIONS, threading.Lock()
        self._kept: dict[str, dict[tuple[str, str, str], Version]] = {}
        self._mark: tuple[int, int] = (0, 0)  # inode, and how far it was read

    def of(self, file: str) -> list[Version]:
        """The versions of a picture as last read, oldest first: each caption of each source once."""
        with self._lock:
            return list(self._kept.get(file, {}).values())

    def update(self) -> "Versions":
        """Read what is new; what is damaged is left out, and a file that was replaced is read from its beginning."""
        with self._lock, suppress(OSError), open(self._path, "rb") as lines:
            status = os.fstat(lines.fileno())
            inode, at = self._mark
            if status.st_ino != inode or status.st_size < at:
                self._kept, at = {}, 0
            lines.seek(at)
            data = lines.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._mark = status.st_ino, at + len(whole)
            for value in parse_lines(whole):
                file = value.pop("file", None)
                with suppress(ValidationError):
                    _add(self._kept.setdefault(str(file), {}), Version.model_validate(value))
        return self


def read_versions(dataset: Dataset) -> dict[str, list[Version]]:
    """By file, oldest first: each caption of each source once; those of pictures that are gone are left out."""
    known = Versions(dataset.root).update()
    return {row.file: versions for row in dataset.rows if (versions := known.of(row.file))}


def _add(kept: dict[tuple[str, str, str], Version], version: Version) -> None:
    if version.found and any(version.caption == other.caption for other in kept.values()):
        return
    key = (version.by, version.note, version.caption)
    kept.pop(key, None)
    kept[key] = version


def writer(row: Row, versions: Sequence[Version], caption: str) -> str:
    """Who wrote the caption that `row` has now."""
    said = [v.by for v in versions if v.caption == caption]
    return HAND if HAND in said else said[-1] if said else found_version(row, caption).by


def shown(versions: Sequence[Version], caption: str) -> dict[str, Any] | None:
    """What is told beside `caption`: {"by", "chance", "reason", "choices"}; None where the caption is no captioner's."""
    for said in reversed(versions):
        chances = {text: chance for text, chance in reversed(said.alternatives)} | {said.caption: said.confidence if said.caption else None}
        if said.by in CAPTIONERS and caption in chances:
            return {"by": said.by, "chance": chances[caption], "reason": said.reason, "choices": said.alternatives}
    return None


def told_versions(row: Row, versions: Sequence[Version], caption: str) -> list[dict[str, Any]]:
    """What is compared: {"source", "by", "caption", "time", "is_used"}, newest first; the caption of now among them."""
    known = [v for v in versions if v.caption]
    if caption and all(v.caption != caption for v in known):
        known.insert(0, found_version(row, caption))
    used = next((v for v in reversed(known) if v.caption == caption), None)
    return [{"source": v.source, "by": v.by, "caption": v.caption, "time": v.time or None, "is_used": v is used} for v in reversed(known)]


def version_of(versions: Sequence[Version], source: str) -> Version | None:
    """The newest caption of a source: who wrote it ("blip"), or with which model too, as it is told."""
    return next((v for v in reversed(versions) if v.caption and source in (v.by, v.source)), None)


def require_source(versions: Mapping[str, Sequence[Version]], source: str) -> None:
    """StudioError unless some picture has a caption of this source."""
    if any(version_of(each, source) for each in versions.values()):
        return
    known = sorted({v.by for each in versions.values() for v in each if v.caption})
    there = f"there are {', '.join(map(printable, known))}" if known else "there are no versions yet"
    raise StudioError(f"{printable(source)[:80]!r} has written no caption here: {there}")
