"""The process that keeps a base model in memory, draws, judges, exports, captions and checks: `python -m studio.jobs.resident WORKSPACE`.

Reads JSON lines from its standard input: {"draw": id}, {"export": id}, {"caption": id}, {"check": id}, {"look": id}, {"judge": id},
{"cancel": id}, {"probe": true}. A look is a check that nobody waits for: it steps aside for all else and for runs, and goes on afterwards.
Writes a JSON line per change to its standard output: its state, or {"over": id}. Ends, at once, with its input. What went wrong
with a request is a line in the request's own status; nothing a request does ends the process.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from studio import quiet, registry
from studio.device import is_out_of_memory, machine_facts, memory_gib, pick_device
from studio.errors import StudioError, log_traceback, one_line
from studio.families import configured
from studio.jobs.datasets import caption_tasks, captionings, checkup_tasks, checkups
from studio.jobs.draw import drawing_tasks, drawings, judgements, judging_tasks
from studio.jobs.export import export_tasks, exports
from studio.jobs.processes import park, room
from studio.jobs.processes.asked import OVER
from studio.jobs.processes.talking import own_output
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import BUSY, Run, list_runs
from studio.models import facts
from studio.models.bases import find_base
from studio.store import Workspace, write_json

TELL_EVERY_S = 0.2
POLL_S = 0.2
LOOK_AGAIN_S = 1.0
KINDS = {
    "draw": (drawings.read_drawing, drawing_tasks),
    "export": (exports.read_export, export_tasks),
    "caption": (captionings.read_captioning, caption_tasks),
    "check": (checkups.read_checkup, checkup_tasks),
    "look": (checkups.read_checkup, checkup_tasks),
    "judge": (judgements.read_judgement, judging_tasks),
}
WAITING = "waiting for the run"
ASIDE, AFTER_RUN = "after what was asked for", "after the run"  # why a look waits
NO_MEMORY = "out of memory: ask for fewer pictures at once, or for smaller ones"


class Cancelled(Exception):
    """Nobody wants this any more."""


class Later(Exception):
    """Something else comes first."""


class Progress:
    """Says in a request's status how far it is, not too often; raises Cancelled when it is not wanted any more, Later when it must wait."""

    def __init__(self, job: Any, must_wait: Callable[[], str] = lambda: "") -> None:
        self._job, self.total, self.note = job, 1, ""
        self._state, self._told, self._must_wait = "", 0.0, must_wait
        self._created = job.status().get("created")

    def __call__(self, state: str, done: float) -> None:
        if self._job.cancelled:
            raise Cancelled
        if why := self._must_wait():
            self.note = why
            raise Later
        if state != self._state or time.monotonic() - self._told > TELL_EVERY_S:
            self.tell(state, done)

    def tell(self, state: str, done: float = 0.0, **values: Any) -> None:
        """Write it now."""
        self._state, self._told = state, time.monotonic()
        told = {
            "done": int(done),
            "total": self.total,
            "progress": round(done / self.total, 3),
            "note": self.note,
            "created": self._created,
        }
        with contextlib.suppress(OSError):
            self._job.write_status(state, **told, **values)


class Server:
    """One workspace's requests, carried out in order."""

    def __init__(self, workspace: Workspace, out: TextIO) -> None:
        self._workspace, self._out, self._warm = workspace, out, Warm()
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._later: deque[str] = deque()  # looks that have stepped aside
        self._asked = 0.0  # when it was last asked whether a run is at work
        self._parked: Run | None = None
        self._told: dict[str, Any] = {"doing": "", "job": None}
        self._device: Any = None
        self._facts: dict[str, Any] | None = None

    def listen(self) -> None:
        """Take requests in; end this process when there will be no more."""
        for line in sys.stdin.buffer:
            with contextlib.suppress(ValueError, AttributeError):
                request = json.loads(line)
                if "cancel" in request:
                    self._cancel(str(request["cancel"]))
                else:
                    self._requests.put(request)
        os._exit(0)

    def _cancel(self, job_id: str) -> None:
        for read, _ in KINDS.values():
            with contextlib.suppress(StudioError, OSError):
                read(self._workspace, job_id).cancel_file.touch()

    def serve(self) -> None:
        """Work for ever."""
        self._probe()
        while True:
            if self._requests.empty():
                self._release()
                self._say("idle", doing="", job=None)
            request = self._next()
            for kind in KINDS:
                if kind in request and self._work(kind, str(request[kind])):
                    self._write({"over": request[kind]})
            if "probe" in request:
                self._probe()

    def _next(self) -> dict[str, Any]:
        """The next request; a look that has stepped aside once nothing else is asked for and no run is at work."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._requests.get(timeout=LOOK_AGAIN_S if self._later else None)
            if not self._busy_run():
                return {"look": self._later.popleft()}

    def _what_comes_first(self) -> str:
        """Why a look steps aside; "" where it need not. Runs are asked about now and then only."""
        if not self._requests.empty():
            return ASIDE
        if time.monotonic() - self._asked < LOOK_AGAIN_S:
            return ""
        self._asked = time.monotonic()
        return AFTER_RUN if self._busy_run() else ""

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()
        except OSError:
            os._exit(0)  # nobody listens

    def _say(self, state: str, note: str = "", **values: Any) -> None:
        self._told |= values
        free = self._free()[0] if self._device is not None else None
        self._write({"state": state, "note": note, **self._told, "device": self._facts, "free_bytes": free})

    def _probe(self) -> None:
        """Find out what this machine computes with, for the status strip and for estimates."""
        try:
            self._device = pick_device()
            self._facts = {**machine_facts(self._device), "time": time.time()}
            write_json(self._workspace.cache / "machine.json", self._facts)
        except (StudioError, OSError):
            log_traceback()  # told again, to whoever asks for a picture

    def _work(self, kind: str, job_id: str) -> bool:
        """Carry one request out; whatever happens is told in its status. False where it stepped aside and is to be gone on with."""
        read, tasks = KINDS[kind]
        try:
            job = read(self._workspace, job_id)
            if kind == "look" and job.status()["state"] in OVER:
                return True  # somebody asked for it outright meanwhile
            self._asked = 0.0
            progress = Progress(job, self._what_comes_first if kind == "look" else lambda: "")
        except Exception:
            log_traceback()  # deleted or damaged meanwhile: there is nobody to tell
            return True
        try:
            self._say("busy", doing="", job=job_id)
            progress("loading", 0)
            wanted, progress.total = tasks.describe(self._workspace, job)
            self._say("busy", doing=wanted.doing, job=job_id)
            if wanted.num_bytes:
                self._warm.clear()  # two large models at once are too many
            if wanted.source or wanted.num_bytes:  # what needs neither is small, and waits for no run
                self._find_room(kind, wanted, progress)
            tasks.carry_out(self._workspace, job, self._warm, progress)
            progress.tell("finished", progress.total)
        except Cancelled:
            progress.tell("cancelled")
        except Later:
            progress.tell("waiting")
            self._later.append(job_id)
            return False
        except Exception as error:
            progress.tell("failed", error=self._explain(error))
        return True

    def _explain(self, error: Exception) -> str:
        """The one line of a failure; what is in memory is let go of unless the request itself was wrong."""
        if isinstance(error, StudioError):
            return str(error)
        log_traceback()
        out_of_memory = is_out_of_memory(error)
        error.__traceback__ = None  # it holds on to tensors
        self._warm.clear()
        if out_of_memory:
            return NO_MEMORY + (", or wait until the run has ended" if self._busy_run() else "")
        log = self._workspace.cache / "resident.log"
        return one_line(error) if isinstance(error, OSError) else f"{one_line(error)} (details: {log})"

    def _busy_run(self) -> Run | None:
        return next((r for r in list_runs(self._workspace) if r.status()["state"] in BUSY), None)

    def _free(self) -> tuple[int, int]:
        used, total = memory_gib(self._device)
        return round((total - used) * 2**30), round(total * 2**30)

    def _find_room(self, kind: str, wanted: room.Wanted, progress: Progress) -> None:
        """Return when this request fits: beside the run, with the run parked, or after it."""
        if self._device is None:
            self._device = pick_device()
        while run := self._busy_run():
            state = run.status()["state"]
            answer = room.decide(self._needed(kind, wanted), self._room(kind), state)
            if answer == "beside" or (state == "parked" and self._parked == run):
                progress.note = "run parked" if self._parked == run else "beside the run"
                break
            if progress.note != WAITING:
                progress.note = WAITING
                self._say("waiting", WAITING)
            if answer == "park" and park.ask(run):  # asked again and again: a run just let go may have taken the file away
                self._parked = run
            progress("waiting", 0)
            time.sleep(POLL_S)
        else:
            progress.note = ""
        self._say("busy", progress.note)

    def _room(self, kind: str) -> room.Device:
        free, total = self._free()
        size = 4 if kind == "export" or self._facts is None or self._facts["precision"] == "fp32" else 2
        return room.Device(self._device.type, free, total, size)

    def _needed(self, kind: str, wanted: room.Wanted) -> int:
        """Bytes; another base in memory than the wanted one goes first."""
        if wanted.num_bytes:
            return wanted.num_bytes
        base = find_base(wanted.source, self._workspace)
        if self._warm.path != base.path:
            self._warm.clear()
        weights = 0 if self._warm.path and kind in ("draw", "judge") else facts.num_parameters(base.path)
        own = configured.size_px(base.path, registry.family(base.family).card.denoiser)
        size = self._room(kind).bytes_per_value
        return room.drawing(weights, wanted.width or own, wanted.height or own, wanted.count, size)

    def _release(self) -> None:
        """Let a parked run go on, with its memory free again."""
        if self._parked:
            self._warm.clear()  # the run wants it back
            park.release(self._parked)
            self._parked = None


def main(root: Path) -> int:
    """Serve the workspace at `root`; lines of libraries that are meant for people go to the log."""
    quiet.silence()
    out = own_output()
    server = Server(Workspace.at(root), out)
    threading.Thread(target=server.listen, daemon=True).start()
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
