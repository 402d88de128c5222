"""Starting and resuming runs, for the Train screen and for programs: one click is one run, also when it comes twice."""

import contextlib
import threading
import time
from dataclasses import astuple
from typing import Any

from studio.errors import StudioError
from studio.jobs.processes import supervisor
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import ALIVE, Run
from studio.jobs.runs.metrics import open_run
from ui.desk import Desk

TWICE_S = 3.0  # the same request of the same page within this time is the same click

_lock = threading.Lock()
_recent: dict[tuple, tuple[float, str]] = {}  # what was asked, by whom and where: when it was answered, with which run


def start_training(desk: Desk, request: Request, page: str = "") -> Run:
    """Make a run and start it, or queue it behind one that goes on; asked again by the same `page` at once, the same run."""
    key = (str(desk.workspace.root), page, repr(astuple(request)))
    with _lock:
        now = time.monotonic()
        for old in [k for k, (when, _) in _recent.items() if now - when > TWICE_S]:
            del _recent[old]
        if page and key in _recent:
            with contextlib.suppress(StudioError):  # deleted meanwhile: then it is a new wish
                return open_run(desk.workspace, _recent[key][1])
        run = create_run(desk.workspace, request)
        _start(desk, run)
        if page:
            _recent[key] = (time.monotonic(), run.id)
        return run


def start_all(desk: Desk, runs: list[Run]) -> list[Run]:
    """Start these new runs: they queue, and go one after the other."""
    with _lock:
        for run in runs:
            _start(desk, run)
    return runs


def resume_run(desk: Desk, run_id: str) -> Run:
    """Continue a run that has not finished; StudioError where there is nothing to continue."""
    run = open_run(desk.workspace, run_id)
    state = run.status()["state"]
    if state == "finished":
        raise StudioError(f"run {run.id} has finished: extend it to train on from its adapter")
    if state in ALIVE:
        raise StudioError(f"run {run.id} goes on already ({state})")
    run.spec()  # damaged settings are told here, not by a process that dies
    _start(desk, run)
    return run


def _start(desk: Desk, run: Run) -> None:
    process = supervisor.start(run, spare=desk.resident.spare_for_run(run), queued=True)
    threading.Thread(target=_see_off, args=(run, process), name=f"see off {run.id}", daemon=True).start()


def _see_off(run: Run, process: Any) -> None:
    """Wait for the run's process, so that none is left as a zombie; say so where it could not even start."""
    code = process.wait()
    with contextlib.suppress(StudioError, OSError):
        if (code or 0) > 0 and run.status()["told"] in {"starting", "queued"}:
            run.write_status("failed", error=f"the run's process could not start: see {run.folder / 'log.txt'}")
