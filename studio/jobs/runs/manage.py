"""What a person does with runs as things: rename, delete. A run's id never changes; its name is only a label."""

import contextlib
import os

from filelock import FileLock, Timeout

from studio.errors import StudioError, printable
from studio.jobs.runs.folders import ALIVE, LOCK_WAIT_S, Run
from studio.spec import RunSpec
from studio.store import Workspace, inside, read_json, write_json
from studio.trash import to_trash

LATER_NS = 1_000_000
MAX_NAME = next(m.max_length for m in RunSpec.model_fields["name"].metadata if hasattr(m, "max_length"))


def run_by_id(workspace: Workspace, run_id: str) -> Run:
    """The run whose folder has exactly this name, also where it is damaged; StudioError where there is none."""
    here = False
    with contextlib.suppress(OSError):  # a name too long for the file system is no run either
        run = Run(inside(workspace.runs, run_id))
        here = run.folder.is_dir()
    if not here:
        raise StudioError(f"run {run_id[:80]!r} is not here (any more): it may have been deleted in another window")
    return run


def clean_name(name: str) -> str:
    """A run's name on one line; StudioError where it is empty or too long."""
    text = " ".join(printable(name).split())
    if not text:
        raise StudioError("name: give the run at least one letter")
    if len(text) > MAX_NAME:
        raise StudioError(f"name: {len(text)} characters, at most {MAX_NAME} fit: shorten it")
    return text


def rename_run(workspace: Workspace, run_id: str, name: str) -> str:
    """Change the name in the run's spec, and nothing else; the name as it is now. Also while it runs: it reads its spec once."""
    run, text = run_by_id(workspace, run_id), clean_name(name)
    run.spec()  # a damaged one is named, not written over
    path = run.folder / "spec.json"
    made_ns = path.stat().st_mtime_ns
    write_json(path, read_json(path) | {"name": text})
    with contextlib.suppress(OSError):  # the file's time tells when the run was made; just enough later for readers to notice
        os.utime(path, ns=(made_ns, made_ns + LATER_NS))
    return text


def delete_run(workspace: Workspace, run_id: str) -> str:
    """Move a run that does not live to the trash; the token that brings it back. StudioError while it lives."""
    run_by_id(workspace, run_id)
    try:
        with FileLock(workspace.runs / ".lock", timeout=LOCK_WAIT_S):  # of two who delete it, the second finds it gone
            token = _delete(workspace, run_by_id(workspace, run_id))
            _keep_number(workspace, run_id)
    except Timeout:
        raise StudioError("the runs are being changed by another window: try again") from None
    return token


def _delete(workspace: Workspace, run: Run) -> str:
    state = run.status()["state"]
    try:
        with FileLock(run.folder / ".lock", timeout=0) as lock:  # the run's own: nobody starts it meanwhile
            if state not in ALIVE:
                if os.name == "nt":
                    lock.release()  # there, a folder with an open file cannot be moved
                return to_trash(workspace, run.folder, "run", _title(run))
    except Timeout:
        state = f"{state}, but its process has not quite ended"
    raise StudioError(f"run {run.id} is still going ({state}): stop it first, then delete it")


def _title(run: Run) -> str:
    with contextlib.suppress(StudioError, OSError):
        return run.spec().name
    return run.id


def _keep_number(workspace: Workspace, run_id: str) -> None:
    """Leave an empty file with the run's number, so that no new run gets an id that pictures and links still mean this one by."""
    number = run_id.partition("-")[0]
    if not (number.isascii() and number.isdigit()):
        return
    with contextlib.suppress(OSError):
        marks = [p for p in workspace.runs.glob("*-deleted") if p.is_file()]
        (workspace.runs / f"{number}-deleted").touch()
        for mark in marks:
            with contextlib.suppress(ValueError):
                if int(mark.name.partition("-")[0]) < int(number):
                    mark.unlink()
