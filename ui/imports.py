"""Imports from the page: files arrive one by one, are read by the decoding process, and become a dataset or a part of one."""

import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from studio.dataset.archives import MAX_ARCHIVE_BYTES, SUFFIXES
from studio.dataset.building import clean, staging
from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.kinds import MAX_FILE_BYTES, SCAN_SUFFIXES, suffix_of
from studio.dataset.looking import Look
from studio.dataset.readers.base import parse_choices
from studio.dataset.rows import MAX_NAME, open_dataset
from studio.errors import StudioError, one_line, printable
from studio.store import Workspace, inside, require_free, slug
from ui.import_job import (
    CANCELLED,
    CHOOSING,
    ENDED,
    FAILED,
    FINISHED,
    LOOKING,
    OPEN,
    READING,
    RECEIVING,
    Cancelled,
    Import,
    check_receiving,
    parts_of,
    reserve,
    sources_of,
    tell,
)  # fmt: skip

MAX_FILES = 10_000
MAX_TOTAL_BYTES = 20 * 2**30
MAX_RECEIVING = 256  # imports at once, most of them given up by their pages
ABANDONED_S = 45.0  # without a byte, after which an import that still receives is given up
UNDECIDED_S = 3600.0  # after which an import is given up whose choices nobody makes
KEPT = 100  # finished imports that can still be asked about
SPARE_BYTES = 256 * 2**20
DEFAULT_NAME = "pictures"
SCANS = "scans"  # folders of scans are often called after a person


class Imports:
    """All imports of this process; whatever a former one left behind is removed at the start."""

    def __init__(self, workspace: Workspace, taken: Callable[[str], None] = lambda dataset: None) -> None:
        """`taken` is told the dataset's folder once pictures have come into it."""
        self._workspace, self._imports, self._taken = workspace, {}, taken
        self._lock, self._reading = threading.RLock(), threading.Semaphore(1)
        self._ended, self._reaper = threading.Event(), None
        clean(self._incoming)

    @property
    def _incoming(self) -> Path:
        return self._workspace.root / "incoming"

    def create(self, dataset: str | None, name: str | None) -> Import:
        """A new import into `dataset`, or into a new dataset called `name` (or nearly); StudioError where that is not there."""
        root = open_dataset(self._workspace, dataset).root if dataset else None
        with self._lock:
            self._give_up_abandoned()
            if sum(job.state == RECEIVING for job in self._imports.values()) >= MAX_RECEIVING:
                raise StudioError(f"{MAX_RECEIVING} imports are under way already: wait a minute, or cancel one")
            stack = ExitStack()
            folder = stack.enter_context(staging(self._incoming))
            label = " ".join(printable(name or "").split())[:MAX_NAME]
            label = label if slug(label) else DEFAULT_NAME
            job = Import(secrets.token_hex(8), root.name if root else None, label, folder, stack.close)
            self._imports[job.id] = job
            self._forget_old()
            self._watch()
        return job

    def create_from(self, dataset: str | None, given: str) -> Import:
        """A new import of a file or folder of this machine, which stays where it is; StudioError where there is none."""
        path = Path(given.strip()).expanduser()
        if not given.strip() or not path.is_absolute() or not path.exists():
            raise StudioError(f"{printable(given)[:200] or 'import'}: give the whole path of a folder or file here, as ~/pictures")
        job = self.create(dataset, path.name)
        job.given = path
        job.names.add(path.name)
        return job

    def find(self, id: str) -> Import:
        """The import `id`; StudioError where it is not known."""
        with self._lock:
            self._give_up_abandoned()
            if id not in self._imports:
                raise StudioError("this import is not known any more: the studio was started anew; drop the files again")
            return self._imports[id]

    def place(self, job: Import, name: str, size: int | None) -> Path:
        """Where a file that the page calls `name` (a path with /) is to be written; StudioError where it is refused."""
        label = printable(name)[-200:] or "a file"
        with self._lock:
            check_receiving(job)
            if len(job.names) >= MAX_FILES:
                raise StudioError(f"{label}: more than {MAX_FILES:,} files in one import: drop the rest afterwards")
            check_size(label, size or 0)
            if job.num_bytes + (size or 0) > MAX_TOTAL_BYTES:
                raise StudioError(f"{label}: more than {MAX_TOTAL_BYTES >> 30} GiB in one import: drop the rest afterwards")
            if shutil.disk_usage(job.folder).free < SPARE_BYTES:
                raise OSError(errno.ENOSPC, "", str(job.folder))  # no file would fit
            require_free(job.folder, (size or 0) + SPARE_BYTES, label)
            parts = reserve(job, parts_of(name))
            job.touched = time.monotonic()
        folder = job.folder
        for part in parts[:-1]:
            folder = inside(folder, part)
            folder.mkdir(exist_ok=True)
        return inside(folder, parts[-1])

    def grow(self, job: Import, num_bytes: int) -> None:
        """So many bytes more have arrived; StudioError where that is too much, or the import has ended meanwhile."""
        with self._lock:
            check_receiving(job)
            job.touched = time.monotonic()
            job.num_bytes += num_bytes
            if job.num_bytes > MAX_TOTAL_BYTES:
                raise StudioError(f"more than {MAX_TOTAL_BYTES >> 30} GiB in one import: drop the rest afterwards")

    def release(self, job: Import, path: Path, num_bytes: int) -> None:
        """Free what a file has taken that did not arrive whole."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
        with self._lock:
            job.names.discard(path.relative_to(job.folder).as_posix().casefold())
            job.num_bytes -= num_bytes

    def left(self, job: Import) -> None:
        """A sender is done; where the import has ended meanwhile, what it wrote since goes too."""
        with self._lock:
            if job.state in ENDED:
                shutil.rmtree(job.folder, ignore_errors=True)

    def took(self, job: Import) -> None:
        """One file has arrived whole."""
        with self._lock:
            job.received += 1
            job.touched = time.monotonic()

    def look(self, id: str) -> Import:
        """All files are here: look into the scans and scenes among them, so that choices can be made; without any, receive on."""
        job = self.find(id)
        with self._lock:
            if job.state == RECEIVING:
                job.state = LOOKING
                threading.Thread(target=self._look, args=(job,), daemon=True, name=f"look-{job.id}").start()
        return job

    def _look(self, job: Import) -> None:
        look, error = None, None
        try:
            look = Look(sources_of(job), self._incoming, lambda *step: tell(job, *step))
        except Exception as problem:
            error = None if isinstance(problem, Cancelled) else one_line(problem)
        with self._lock:
            job.look, job.touched = look, time.monotonic()
            job.done = job.total = 0
            job.name = SCANS if look and look.is_of_people and not job.dataset else job.name
            job.state, job.error = CHOOSING if look and look.sets else RECEIVING, error
            if job.is_cancelled or error:
                self._end(job, FAILED if error else CANCELLED)

    def preview(self, id: str, choices: dict[str, Any], number: int, share: float) -> dict[str, Any]:
        """How one picture of a set would look with these choices; StudioError where there is none."""
        job = self.find(id)
        job.touched, look = time.monotonic(), job.look
        if job.state != CHOOSING or look is None:
            raise StudioError(job.error or "nothing can be chosen in this import any more: drop the files again")
        return look.preview(parse_choices(choices), number, share)

    def finish(self, id: str, choices: dict[str, Any] | None = None) -> Import:
        """All files are here: begin to read them, as chosen. Asked a second time, it changes nothing."""
        job, chosen = self.find(id), parse_choices(choices or {})
        with self._lock:
            if job.state in OPEN:
                job.choices = chosen
                self._forget_look(job)
                job.state, job.began = READING, time.monotonic()
                threading.Thread(target=self._read, args=(job,), daemon=True, name=f"import-{job.id}").start()
        return job

    def cancel(self, id: str) -> Import:
        """Stop an import; what it has read so far is let go, what was there before stays."""
        job = self.find(id)
        with self._lock:
            job.is_cancelled = True
            if job.state in OPEN:
                self._end(job, CANCELLED)
        return job

    def active(self) -> list[dict[str, Any]]:
        """Imports under way, for the status strip."""
        with self._lock:
            self._give_up_abandoned()
            going = [job for job in self._imports.values() if job.state in {READING, LOOKING} or (job.state in OPEN and job.names)]
            return [
                {"id": job.id, "done": job.done, "total": job.total or len(job.names), "name": job.name, "state": job.state}
                for job in going
            ]

    def close(self) -> None:
        """Cancel what is under way and free its space."""
        self._ended.set()
        with self._lock:
            for job in self._imports.values():
                job.is_cancelled = True
                if job.state in OPEN:
                    self._end(job, CANCELLED)

    def _read(self, job: Import) -> None:
        """Read what has arrived, in a thread of its own; decoding happens in the decoding process."""
        try:
            with self._reading:
                job.began = time.monotonic()
                self._take(job, sources_of(job), lambda *step: tell(job, *step))
            state = FINISHED
        except Cancelled:
            state = CANCELLED
        except Exception as error:
            job.error, state = one_line(error), FAILED
        with self._lock:
            self._end(job, state)
        if state == FINISHED and job.added and job.dataset:
            self._taken(job.dataset)

    def _take(self, job: Import, sources: list[Path], progress: Callable[[int, int, str], None]) -> None:
        if job.dataset:
            done = add_pictures(self._workspace, job.dataset, sources, choices=job.choices, progress=progress, alpha_masks=job.alpha_masks)
            job.name, job.added = done.dataset.name, len(done.files)
            job.skipped = [skipped.model_dump() for skipped in done.skipped]
            return
        dataset = create_dataset(
            self._workspace, self._free_name(job), sources, choices=job.choices, progress=progress, alpha_masks=job.alpha_masks
        )
        job.dataset, job.name, job.added = dataset.root.name, dataset.name, len(dataset.rows)
        job.skipped = [skipped.model_dump() for skipped in dataset.skipped]

    def _free_name(self, job: Import) -> str:
        """The name asked for, or the first of "name-2", "name-3" … that no dataset has."""
        name, number = job.name, 1
        while os.path.lexists(self._workspace.datasets / slug(name)):
            number += 1
            name = f"{job.name[: MAX_NAME - 8]}-{number}"
        return name

    def _forget_look(self, job: Import) -> None:
        if job.look is not None:
            job.look.close()
            job.look = None

    def _end(self, job: Import, state: str) -> None:
        self._forget_look(job)
        job.close()
        job.state = state

    def _watch(self) -> None:
        """See to it that abandoned imports are given up although nobody asks."""
        if self._reaper is None or not self._reaper.is_alive():
            self._reaper = threading.Thread(target=self._reap, daemon=True, name="imports")
            self._reaper.start()

    def _reap(self) -> None:
        while not self._ended.wait(min(5.0, ABANDONED_S)):
            with self._lock:
                self._give_up_abandoned()
                if not any(job.state in OPEN for job in self._imports.values()):
                    self._reaper = None
                    return

    def _give_up_abandoned(self) -> None:
        for job in self._imports.values():
            limit_s = UNDECIDED_S if job.state == CHOOSING else ABANDONED_S
            if job.state in OPEN and time.monotonic() - job.touched > limit_s:
                job.error = f"given up: nothing arrived for {limit_s:.0f} seconds; drop the files again"
                self._end(job, CANCELLED)

    def _forget_old(self) -> None:
        ended = [job.id for job in self._imports.values() if job.state in ENDED]
        for id in ended[:-KEPT]:
            del self._imports[id]


def check_size(label: str, num_bytes: int) -> None:
    """StudioError naming the file where it is larger than any picture, or archive of them, may be."""
    limit = MAX_ARCHIVE_BYTES if suffix_of(label) in {*SUFFIXES, *SCAN_SUFFIXES} else MAX_FILE_BYTES
    if num_bytes > limit:
        raise StudioError(f"{label}: is larger than {limit >> 20} MiB: export it smaller")
