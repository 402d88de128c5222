"""Starts, stops and follows runs; each run is a detached process that outlives whoever watches it. No torch here."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from studio import quiet
from studio.errors import StudioError
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run

POLL_S = 0.25
STOP_WAIT_S = 120
LOCK_WAIT_S = 2


def start(run: Run, spare: subprocess.Popen | None = None, queued: bool = False) -> subprocess.Popen:
    """Start the run's process, detached from this terminal and session; StudioError when it already runs.

    `spare` is a process of `studio.jobs.spare` that becomes the run, if it still lives. `queued`: it waits its turn
    while another run of the workspace lives.
    """
    told: dict[str, Any] = {"state": "queued", "queued": time.time()} if queued else {"state": "starting"}
    try:
        with FileLock(run.folder / ".lock", timeout=LOCK_WAIT_S):  # the run's own: of two starters at once, one starts it
            if run.lives():
                raise StudioError(f"run {run.id} is already running: follow it with resume, or stop it first")
            for left in (run.stop_file, run.park_file):
                left.unlink(missing_ok=True)
            run.write_status(**told)
    except Timeout:
        raise StudioError(f"run {run.id} is already being worked on: follow it with resume, or stop it first") from None
    if spare and _become(run, spare, told):
        return spare
    log = run.folder / "log.txt"
    process = spawn("studio.jobs.worker", str(run.folder), *(["--queued"] if queued else []), log=log)
    _hand_over(run, process, told)
    return process


def spawn(module: str, *words: str, log: Path, talking: bool = False) -> subprocess.Popen:
    """`python -m module words…`, detached from this terminal and session, its output in `log`; `talking`: lines go in and out."""
    detached = {"creationflags": 0x00000208} if os.name == "nt" else {"start_new_session": True}  # DETACHED_PROCESS | NEW_PROCESS_GROUP
    source = str(Path(__file__).resolve().parents[3])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *words],
            stdin=subprocess.PIPE if talking else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talking else file,
            stderr=file,
            env={**quiet.ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            **detached,
        )


def _become(run: Run, spare: subprocess.Popen, told: dict[str, Any]) -> bool:
    """Let the spare process become the run; False when it is gone."""
    line = json.dumps({"run": str(run.folder), "log": str(run.folder / "log.txt"), "queued": told["state"] == "queued"})
    try:
        if spare.poll() is not None:
            return False
        run.write_status(**told, process=psutil.Process(spare.pid))
        spare.stdin.write(line.encode() + b"\n")
        spare.stdin.flush()
    except (OSError, ValueError, psutil.Error):  # it died just now
        run.write_status(**told)
        return False
    for stream in (spare.stdin, spare.stdout):
        stream.close()
    return True


def _hand_over(run: Run, process: subprocess.Popen, told: dict[str, Any]) -> None:
    """Let the status name the new process, so that the run is seen to live also when this one is killed now."""
    with contextlib.suppress(psutil.Error):
        status = run.status()
        if status["told"] == told["state"] and status["pid"] == os.getpid():
            run.write_status(**told, process=psutil.Process(process.pid))


def request_stop(run: Run) -> None:
    """Ask the run to end after its current step, keeping a resume point."""
    run.stop_file.touch()


def stop(run: Run) -> dict[str, Any]:
    """Ask the run to end and wait for it; its summary. StudioError when it does not run, or does not end in time."""
    if not run.lives():
        raise StudioError(f"run {run.id} is not running (it is {run.status()['state']}): nothing to stop")
    request_stop(run)
    deadline = time.monotonic() + STOP_WAIT_S
    while run.lives():
        if time.monotonic() > deadline:
            raise StudioError(f"run {run.id} is still finishing its step: it will stop after it; look again with runs {run.id}")
        time.sleep(POLL_S)
    return run.summary()


def follow(run: Run, process: subprocess.Popen | None = None, cursor: int = 0) -> Iterator[dict[str, Any]]:
    """The run's events from byte `cursor` on, as they come, until its process has ended."""
    while True:
        ended = (process is None or process.poll() is not None) and not run.lives()
        events, cursor = read_events(run.events, cursor)
        yield from events
        if ended:
            break
        if not events:
            time.sleep(POLL_S)
    if process and (process.returncode or 0) > 0 and run.status()["told"] in {"starting", "queued"}:  # below 0: killed by a signal
        run.write_status("failed", error=f"the run's process could not start: see {run.folder / 'log.txt'}")
