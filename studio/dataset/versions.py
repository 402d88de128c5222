"""Every caption that a picture has had or was offered, kept beside the dataset by who wrote it: appended, never rewritten."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from studio.dataset.captioners.base import Suggestion
from studio.dataset.intake import digest
from studio.dataset.rows import Dataset, Row
from studio.errors import StudioError, printable
from studio.registry import CAPTIONERS
from studio.store import append_lines, read_lines

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


def read_versions(dataset: Dataset) -> dict[str, list[Version]]:
    """By file, oldest first: each caption of each source once; what is damaged, or of pictures that are gone, is left out."""
    found: dict[str, dict[tuple[str, str, str], Version]] = {row.file: {} for row in dataset.rows}
    with suppress(OSError):
        for value in read_lines(dataset.root / VERSIONS):
            file = value.pop("file", None)
            if not isinstance(file, str) or file not in found:
                continue
            with suppress(ValidationError):
                _add(found[file], Version.model_validate(value))
    return {file: list(kept.values()) for file, kept in found.items() if kept}


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
