"""Errands of the Models and Dataset screens, each in a process of its own: looking through places, fetching, merging. No torch here."""

import contextlib
import json
import subprocess
import threading
from typing import Any

from studio.errors import StudioError
from studio.jobs.processes.supervisor import spawn
from studio.store import Workspace

MODULES = {
    "scan": "studio.jobs.models.scan",
    "fetch": "studio.jobs.models.hub",
    "captioner": "studio.jobs.models.hub",
    "merge": "studio.jobs.merge.merging",
}
GRACE_S = 10.0
LOST = "its process ended before it was done: try again; the reason may be in cache/errands.log"


class Errands:
    """At most one process of each kind; a request goes in as one line, so that a secret in it is in no file and no list of processes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._processes: dict[str, subprocess.Popen] = {}
        self._told: dict[str, dict[str, Any]] = {}

    def start(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        """Begin; StudioError where one of this kind is at work. A second look through the places joins the first, or begins it `again`."""
        with self._lock:
            if self.state(kind)["state"] == "running":
                if kind != "scan":
                    raise StudioError(f"a {kind} is at work already: wait for it, or stop it")
                if not request.get("again"):
                    return self.state(kind)
                self.stop(kind)  # it may have passed by what has changed since
            log = self._workspace.cache / "errands.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            process = spawn(MODULES[kind], str(self._workspace.root), log=log, talking=True)
            self._processes[kind] = process
            self._told[kind] = {"state": "running", "done": 0, "total": 0, "note": ""}
            with contextlib.suppress(OSError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            threading.Thread(target=self._listen, args=(kind, process), daemon=True).start()
            return self.state(kind)

    def state(self, kind: str) -> dict[str, Any]:
        """{"state", "done", "total", "note", …}: idle, running, told, finished, failed or stopped."""
        with self._lock:
            return dict(self._told.get(kind, {"state": "idle", "done": 0, "total": 0, "note": ""}))

    def stop(self, kind: str) -> None:
        """End it; what it had fetched is kept for the next try, everything else is as before."""
        with self._lock:
            process = self._processes.get(kind)
            if process and self._told[kind]["state"] == "running":
                self._told[kind] |= {"state": "stopped"}
                process.terminate()  # it takes away what it has begun to write
                end = threading.Timer(GRACE_S, process.kill)
                end.daemon = True
                end.start()

    def _listen(self, kind: str, process: subprocess.Popen) -> None:
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                with self._lock:
                    if self._processes.get(kind) is process and self._told[kind]["state"] == "running":
                        self._told[kind] |= told
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        with self._lock:
            if self._processes.get(kind) is process and self._told[kind]["state"] == "running":
                self._told[kind] |= {"state": "failed", "error": LOST}

    def close(self) -> None:
        """End all that is at work."""
        for kind in list(self._processes):
            self.stop(kind)
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
