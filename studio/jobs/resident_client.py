"""The page's side of the process that draws, exports, captions and checks: starts it, feeds it, outlives its crashes. No torch here."""

import contextlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil

from studio.dataset.rows import open_dataset
from studio.errors import StudioError, one_line
from studio.jobs.datasets import captionings, checkups
from studio.jobs.draw import drawings, judgements
from studio.jobs.export import exports
from studio.jobs.plan.estimate import estimate
from studio.jobs.processes import room
from studio.jobs.processes.asked import OVER
from studio.jobs.processes.supervisor import spawn
from studio.jobs.runs.folders import BUSY, Run, list_runs
from studio.models.bases import find_base
from studio.store import Workspace, read_json

MAX_WAITING = 20
START_AFTER_S = 3.0  # so that the first page does not wait for a process that nobody needs yet
RENEW_AFTER_S = 20.0  # so that a run's first steps do not wait for the imports of the next spare
END_WAIT_S = 1.0
HEED_WITHIN_S = 1.0  # how long a request that was cancelled may go on loading
MAX_LOG_BYTES = 1 << 20
CRASHED = "the picture process ended unexpectedly: try again"
READ = {
    "draw": drawings.read_drawing,
    "export": exports.read_export,
    "caption": captionings.read_captioning,
    "check": checkups.read_checkup,
    "look": checkups.read_checkup,
    "judge": judgements.read_judgement,
}


class Resident:
    """One workspace's process for pictures, exports and captions; may be called from any thread."""

    def __init__(self, workspace: Workspace, keep_spare: bool = False) -> None:
        self._workspace, self._keep_spare = workspace, keep_spare
        self._lock = threading.RLock()
        self._process: subprocess.Popen | None = None
        self._spare: subprocess.Popen | None = None
        self._timer: threading.Timer | None = None
        self._told: dict[str, Any] = {}
        self._waiting: list[tuple[str, str]] = []  # (kind, id), the one at work among them
        self._is_closed = self._is_for_looks = False

    def draw(self, drawing_id: str) -> None:
        """Have a drawing drawn; StudioError when too many wait already."""
        self._enqueue("draw", drawing_id)

    def export(self, export_id: str) -> None:
        """Have an export carried out; StudioError when too many wait already."""
        self._enqueue("export", export_id)

    def caption(self, captioning_id: str) -> None:
        """Have a captioning carried out; StudioError when too many wait already."""
        self._enqueue("caption", captioning_id)

    def check(self, checkup_id: str) -> None:
        """Have a check of a dataset carried out; StudioError when too many wait already."""
        self._enqueue("check", checkup_id)

    def look(self, checkup_id: str) -> None:
        """Have a check carried out that nobody waits for: it steps aside for all else, and for runs."""
        self._enqueue("look", checkup_id)

    def judge(self, judgement_id: str) -> None:
        """Have a judgement carried out; StudioError when too many wait already."""
        self._enqueue("judge", judgement_id)

    def _enqueue(self, kind: str, job_id: str) -> None:
        with self._lock:
            if self._is_closed:
                raise StudioError("the studio is ending: start it again")
            if (kind, job_id) in self._waiting:
                return
            self._is_for_looks &= kind == "look"
            waiting = self._num_waiting()
            if kind != "look" and waiting >= MAX_WAITING:
                raise StudioError(f"{waiting} requests are waiting already: let some finish, or cancel them")
            self._waiting = [*(w for w in self._waiting if w != ("look", job_id)), (kind, job_id)]
            if self._process:
                self._send({kind: job_id})
                return
            try:
                self._start()
            except OSError as error:
                self._waiting.remove((kind, job_id))
                raise StudioError(one_line(error)) from None

    def _num_waiting(self) -> int:
        return sum(kind != "look" and job_id != self._told.get("job") for kind, job_id in self._waiting)

    def cancel(self, job_id: str) -> None:
        """Have a request left, at work or waiting; one that loads weights, and so asks nobody, is ended with its process."""
        for read in READ.values():
            with contextlib.suppress(StudioError, OSError):
                read(self._workspace, job_id).cancel()
        self._look_after(job_id)

    def _look_after(self, job_id: str) -> None:
        timer = threading.Timer(HEED_WITHIN_S, self._end_loading, (job_id,))
        timer.daemon = True
        timer.start()

    def _end_loading(self, job_id: str) -> None:
        """End the process where it is loading for this request, which nobody wants; look again while it is at something else."""
        with self._lock, contextlib.suppress(StudioError, OSError):
            kind = next((kind for kind, each in self._waiting if each == job_id), None)
            state = READ[kind](self._workspace, job_id).status()["state"] if kind and self._process else "cancelled"
            if state == "loading" and self._told.get("job") == job_id:
                self._process.kill()
            elif state not in OVER:
                self._look_after(job_id)

    def state(self) -> dict[str, Any]:
        """{"state", "doing", "note", "queue", "device"}; state: off, starting, idle, busy or waiting (for a run)."""
        with self._lock:
            here = "off" if self._process is None else self._told.get("state", "starting")
            told = {"state": here, "doing": self._told.get("doing", ""), "note": self._told.get("note", "")}
            return told | {"queue": self._num_waiting(), "device": self._told.get("device") or self._machine()}

    def _machine(self) -> dict[str, Any] | None:
        with contextlib.suppress(StudioError, OSError):
            return read_json(self._workspace.cache / "machine.json")
        return None

    def warm(self, keep_spare: bool = True) -> None:
        """Soon have a process at hand that has done the slow imports; the first time ever, learn what machine this is."""
        with self._lock:
            self._keep_spare = keep_spare
            self._later(START_AFTER_S)

    def _later(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._prepare)
        self._timer.daemon = True
        self._timer.start()

    def _prepare(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._is_closed:
                return
            if self._process is None and self._machine() is None:
                self._start()
            if self._keep_spare and not _lives(self._spare):
                self._spare = spawn("studio.jobs.spare", log=self._log(), talking=True)

    def spare_for_run(self, run: Run | None = None) -> subprocess.Popen | None:
        """The process that may become a run right now, None where there is none; makes room for the run where it is short."""
        with self._lock:
            if any(r.status()["state"] in BUSY for r in list_runs(self._workspace) if run is None or r.id != run.id):
                return None  # it is not this run's turn yet: nothing need be in memory meanwhile
            if run:
                self._make_room(run)
            return self._take_spare()

    def _take_spare(self) -> subprocess.Popen | None:
        spare, self._spare = self._spare, None
        if self._keep_spare:
            self._later(RENEW_AFTER_S)
        return spare if _lives(spare) else None

    def _make_room(self, run: Run) -> None:
        """End the process when it holds memory that the run needs, and is doing nothing."""
        if self._process is None or any(kind != "look" for kind, _ in self._waiting):
            return
        device = self._told.get("device") or {}
        free = psutil.virtual_memory().available if device.get("device", "cpu") == "cpu" else self._told.get("free_bytes")
        with contextlib.suppress(StudioError, OSError):
            spec = run.spec()
            dataset, base = open_dataset(self._workspace, spec.dataset), find_base(spec.base.source, self._workspace)
            needed = estimate(self._workspace, spec, dataset, base)["memory_gib"]
            if free is not None and needed and not room.fits(round(needed * 2**30), free):
                self._end(self._process)

    def _log(self) -> Path:
        """Where the processes' libraries write; begun anew when it has grown long."""
        path = self._workspace.cache / "resident.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > MAX_LOG_BYTES:
                path.unlink()
        return path

    def _start(self) -> None:
        """A new process, out of the spare if there is one, and all that waits handed to it."""
        root = str(self._workspace.root)
        self._is_for_looks = all(kind == "look" for kind, _ in self._waiting)
        process = self._take_spare() if self._spare and not self._is_for_looks else None  # the spare is for who waits
        if process is None or not _write(process, {"resident": root}):
            process = spawn("studio.jobs.resident", root, log=self._log(), talking=True)
        self._process, self._told = process, {}
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        for kind, job_id in self._waiting:
            self._send({kind: job_id})

    def _send(self, line: dict[str, Any]) -> None:
        _write(self._process, line)  # where it has died just now, its end is noticed below and this is sent again

    def _listen(self, process: subprocess.Popen) -> None:
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                with self._lock:
                    if "over" in told:
                        self._waiting = [w for w in self._waiting if w[1] != told["over"]]
                        if self._is_for_looks and not self._waiting and self._process is process:
                            self._end(process)  # nobody asked for it: it holds no memory either
                    elif self._process is process:
                        self._told = told
        process.wait()
        with self._lock:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()
            if self._process is process:
                self._process = None
                if not self._is_closed:
                    self._bury()

    def _bury(self) -> None:
        """The process is gone: what it was at has failed, what waits gets a new one; one that never came up gets none."""
        at_work, came_up = self._told.get("job"), bool(self._told)
        self._told = {}
        lost = [w for w in self._waiting if not came_up or w[1] == at_work]
        for kind, job_id in lost:
            self._fail(kind, job_id, CRASHED if came_up else f"the picture process could not start: see {self._log()}")
        self._waiting = [w for w in self._waiting if w not in lost]
        if self._waiting:
            self._start()

    def _fail(self, kind: str, job_id: str, line: str) -> None:
        with contextlib.suppress(StudioError, OSError):
            job = READ[kind](self._workspace, job_id)
            was = job.status()
            if was["state"] not in OVER - {"interrupted"}:
                job.write_status("failed", error=line, **{k: was[k] for k in ("done", "total", "created") if k in was})

    def _end(self, process: subprocess.Popen | None) -> None:
        """End a process that is no run."""
        if process is None:
            return
        if process is self._process:
            self._process, self._told = None, {}
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End what is no run."""
        with self._lock:
            self._is_closed = True
            if self._timer:
                self._timer.cancel()
            for process in (self._process, self._spare):
                self._end(process)
            self._spare = None


def _lives(process: subprocess.Popen | None) -> bool:
    return process is not None and process.poll() is None


def _write(process: subprocess.Popen, line: dict[str, Any]) -> bool:
    """Whether the process could be told; a dead one cannot."""
    try:
        process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.flush()
        return True
    except (OSError, ValueError):
        return False
