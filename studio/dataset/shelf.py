"""Datasets in memory for those who read them again and again: as their files are now, read anew only where one has changed."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.dataset.badges import badges
from studio.dataset.doctor.chart import CHART, Chart, read_chart
from studio.dataset.doctor.diagnosis import Reads, diagnose, problems
from studio.dataset.report import numbers
from studio.dataset.rows import INDEX, MASK_SUFFIX, Dataset, Row, files_of, find_root
from studio.dataset.templates import known_fields
from studio.dataset.versions import VERSIONS, Version, Versions, shown
from studio.dataset.words import Kind, cloud
from studio.errors import StudioError
from studio.store import Workspace

Mark = tuple[int, int, int]  # of a file: changes whenever it is written


@dataclass
class Kept:
    """One dataset in memory, as its files were when last looked at."""

    dataset: Dataset
    mark: Mark
    marks: dict[str, Mark] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    version: str = ""
    seen: dict[str, Any] = field(default_factory=dict)  # what those checks have found that look at pictures alone
    _captions: list[str] | None = None
    _facts: dict[str, Any] | None = None
    _badges: dict[str, tuple[list[str], str]] | None = None
    _pictures: dict[str, str] | None = None
    _versions: Versions | None = None
    _has_read: bool = False
    _clouds: dict[str, dict[str, Any]] = field(default_factory=dict)
    _chart: Chart | None = None
    _diagnosis: dict[str, Any] | None = None
    _flagged: dict[str, set[str]] | None = None
    _fields: list[str] | None = None
    _reads: Reads | None = None

    @property
    def fields(self) -> list[str]:
        """What a template may name."""
        if self._fields is None:
            self._fields = known_fields(self.dataset.rows)
        return self._fields

    @property
    def captions(self) -> list[str]:
        """The captions of all rows as last read, in their order."""
        if self._captions is None:
            self._captions = [self.caption(row) for row in self.dataset.rows]
        return self._captions

    def caption(self, row: Row) -> str:
        """The caption of `row` as last read."""
        return self.texts.get(row.caption_file, "")

    def cloud(self, kind: Kind | None) -> dict[str, Any]:
        """The words or tags of its captions, counted; None = whichever they are."""
        if (kind or "") not in self._clouds:
            self._clouds[kind or ""] = cloud(self.captions, self.dataset.about, kind)
        return self._clouds[kind or ""]

    def versions(self, row: Row) -> list[Version]:
        """Every caption that `row` has had or was offered, oldest first."""
        if self._versions is None:
            self._versions = Versions(self.dataset.root)
        if not self._has_read:
            self._versions.update()
            self._has_read = True
        return self._versions.of(row.file)

    def has_mask(self, row: Row) -> bool:
        """Whether a mask lies beside the picture of `row`."""
        return files_of(row.file)[2] in self.marks

    def said(self, row: Row) -> dict[str, Any] | None:
        """What a captioner said of `row`, where its caption is still that captioner's."""
        return shown(self.versions(row), self.caption(row))

    @property
    def facts(self) -> dict[str, Any]:
        """The dataset in numbers."""
        if self._facts is None:
            self._facts = numbers(self.dataset, self.captions)
        return self._facts

    @property
    def badges(self) -> dict[str, tuple[list[str], str]]:
        """By file: the badges of its row, and what they mean in a sentence."""
        if self._badges is None:
            suggested = {r.file for r in self.dataset.rows if self.said(r)}
            masked = {r.file for r in self.dataset.rows if self.has_mask(r)}
            self._badges = badges(self.dataset, self.captions, problems(self.diagnosis), suggested, masked)
        return self._badges

    @property
    def chart(self) -> Chart:
        """What the doctor knows."""
        if self._chart is None:
            self._chart = read_chart(self.dataset.root)
        return self._chart

    @property
    def diagnosis(self) -> dict[str, Any]:
        """What the doctor says."""
        if self._diagnosis is None:
            self._diagnosis = diagnose(self.dataset, self.captions, self.chart, reads=self._reads, known=self.seen)
        return self._diagnosis

    def read_by(self, reads: Reads | None) -> None:
        """Have captions judged as this base reads them, in a version of its own; None = the embedded model."""
        if reads != self._reads:
            self._reads, self._diagnosis, self._flagged, self._badges = reads, None, None, None
            self.version = _version(self.version, reads and (reads[0], *reads[1].items()))

    def flagged(self, check: str) -> set[str]:
        """The files that a check of the doctor has found."""
        if self._flagged is None:
            self._flagged = {each["key"]: set(each["files"]) for each in self.diagnosis["findings"]}
        return self._flagged.get(check, set())

    @property
    def pictures(self) -> dict[str, str]:
        """Files by pixel hash."""
        if self._pictures is None:
            self._pictures = {row.pixels: row.file for row in self.dataset.rows}
        return self._pictures


class Shelf:
    """The datasets of a workspace, read again only where a file has changed; any thread may ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._kept, self._lock = workspace, {}, threading.Lock()

    def open(self, name: str) -> Kept:
        """The dataset of this name as it is now; StudioError where there is none or it is damaged."""
        root = find_root(self._workspace, name)
        with self._lock:
            return self._refresh(root)

    def all(self) -> list[Kept]:
        """All datasets that can be opened, the newest first."""
        found = []
        for root in self._roots():
            with suppress(StudioError, OSError), self._lock:
                found.append(self._refresh(root))
        return sorted(found, key=lambda kept: (kept.dataset.created, kept.dataset.root.name), reverse=True)

    def damaged(self) -> list[str]:
        """Why datasets cannot be opened, one line each."""
        reasons = []
        for root in self._roots():
            try:
                with self._lock:
                    self._index(root)
            except (StudioError, OSError) as error:
                reasons.append(str(error))
        return reasons

    def picture(self, pixels: str) -> Path | None:
        """The file of a picture with this pixel hash in any dataset; None where there is none."""
        for root in self._roots():
            with suppress(StudioError, OSError), self._lock:
                kept = self._index(root)
                if pixels in kept.pictures:
                    return root / kept.pictures[pixels]
        return None

    def _roots(self) -> list[Path]:
        return [path.parent for path in sorted(self._workspace.datasets.glob(f"[!.]*/{INDEX}"))]

    def _index(self, root: Path) -> Kept:
        """The rows of the dataset in `root`; its captions as last read."""
        try:
            mark = _mark(os.stat(root / INDEX))
        except FileNotFoundError:
            self._kept.pop(root, None)
            raise StudioError(f"dataset {root.name!r} is not here any more: it was deleted in another window") from None
        kept = self._kept.get(root)
        if kept is None or kept.mark != mark:
            old = kept
            kept = self._kept[root] = Kept(Dataset.load(root), mark)
            if old is not None:
                kept.marks, kept.texts, kept._chart = old.marks, old.texts, old._chart  # its version is empty: rows are looked at anew
                kept._reads = old._reads
                kept._versions = old._versions if old.dataset.created == kept.dataset.created else None
        return kept

    def _refresh(self, root: Path) -> Kept:
        """The dataset in `root` with its captions as they are now."""
        kept = self._index(root)
        with os.scandir(root) as entries:
            watched = (entry for entry in entries if entry.name.endswith((".txt", MASK_SUFFIX)) or entry.name in (VERSIONS, CHART))
            marks = {entry.name: _mark(entry.stat()) for entry in watched}
        if kept.version and marks == kept.marks:
            return kept
        version = _version(kept.mark, frozenset(marks.items()))
        new = Kept(kept.dataset, kept.mark, marks, _texts(kept, marks), version, _versions=kept._versions, _reads=kept._reads)
        if marks.get(CHART) == kept.marks.get(CHART):
            new._chart = kept._chart
            if kept.version:  # only captions and masks have changed
                new.seen, new._fields = kept.seen, kept._fields
        self._kept[root] = new
        return new


def _texts(kept: Kept, marks: dict[str, Mark]) -> dict[str, str]:
    """The captions by file; only those whose files have changed since `kept` are read."""
    changed = {name for name, _ in marks.items() ^ kept.marks.items()}
    texts = {}
    for row in kept.dataset.rows:
        name = row.caption_file
        if name in marks:
            is_known = name in kept.texts and name not in changed
            texts[name] = kept.texts[name] if is_known else kept.dataset.caption(row)
    return texts


def _version(*of: Any) -> str:
    return f"{hash(of) % 2**64:016x}"


def _mark(status: os.stat_result) -> Mark:
    return status.st_mtime_ns, status.st_size, status.st_ino
