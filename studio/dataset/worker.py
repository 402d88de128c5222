"""The parent's side of the decoding process: asks it for one picture at a time and outlives its crashes."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from studio.errors import StudioError

LIMIT_S = 20.0  # of computing for one picture, and of waiting for one that hardly computes
MOST_LIMITS = 5  # times that long at most, where a busy machine gives it little of its time
_HANGS_BELOW = 0.05  # of a core
START_LIMIT_S = 120.0
START_ATTEMPTS = 3
_TICK_S = 0.25
_ROOT = Path(__file__).resolve().parent.parent.parent
_ENVIRONMENT = {
    # One thread each: the pools of numerical libraries reserve more address space than the process may have.
    **{"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    # What one picture took is kept for the next (glibc alone reads these): getting it anew from the system took a tenth of the time.
    **{"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**27)},
}
_COMMAND = [sys.executable, "-m", "studio.dataset.decode"]


class Worker:
    """One decoding process, started when first asked and again after a crash; use it in a `with` block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def ask(self, request: dict[str, Any], tick: Callable[[], None]) -> dict[str, Any]:
        """The answer to `request`, or a `reason` where the process crashed on it or took longer than LIMIT_S.

        `tick` is called a few times a second meanwhile; what it raises ends the wait.
        """
        if self._process is None or self._process.poll() is not None:
            self._start(tick)
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has just died, as the end of its output will tell
        try:
            line = self._next_line(MOST_LIMITS * LIMIT_S, tick, _Clock(self._process.pid))
        except TimeoutError:
            self.stop()
            return {"reason": f"took too long to decode (over {LIMIT_S:g} s): export it again, or smaller"}
        if line is None or not line.endswith(b"\n"):
            self.stop()
            return {"reason": "crashed the image decoder: export it again as PNG or JPEG"}
        return json.loads(line)

    def read_mask(self, source: Path, target: Path, size: tuple[int, int], tick: Callable[[], None]) -> dict[str, Any]:
        """Have the picture file `source` written to `target` as a mask of this (width, height), px; the answer of `ask`."""
        return self.ask({"source": str(source), "mask": str(target), "width": size[0], "height": size[1]}, tick)

    def stop(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with suppress(OSError):  # what a dead process did not read is still in the pipe
            process.stdin.close()
        process.stdout.close()

    def _start(self, tick: Callable[[], None]) -> None:
        for _ in range(START_ATTEMPTS):
            self.stop()
            self._process = _spawn()
            self._lines = queue.SimpleQueue()
            threading.Thread(target=_pass_on, args=(self._process.stdout, self._lines), daemon=True).start()
            try:
                if self._next_line(START_LIMIT_S, tick) is not None:
                    return
            except TimeoutError:
                break
        self.stop()
        raise StudioError("the image decoder could not be started: check the installation with the doctor command")

    def _next_line(self, limit_s: float, tick: Callable[[], None], clock: "_Clock | None" = None) -> bytes | None:
        deadline = time.monotonic() + limit_s
        while (left_s := deadline - time.monotonic()) > 0 and not (clock and clock.is_over()):
            try:
                return self._lines.get(timeout=min(_TICK_S, left_s))
            except queue.Empty:
                tick()
        raise TimeoutError


class _Clock:
    """How long a process has computed since now, beside how long that took."""

    def __init__(self, pid: int) -> None:
        self._began, self._process, self._computed = time.monotonic(), None, 0.0
        with suppress(psutil.Error):
            self._process = psutil.Process(pid)
            self._computed = self._seconds()

    def _seconds(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def is_over(self) -> bool:
        """Whether it has computed for LIMIT_S, or hardly at all for as long; a slow machine is no fault of the picture."""
        waited_s = time.monotonic() - self._began
        if waited_s < LIMIT_S:
            return False
        try:
            computed_s = self._seconds() - self._computed
        except (psutil.Error, AttributeError):
            return True
        return computed_s >= LIMIT_S or computed_s < _HANGS_BELOW * waited_s


def _spawn() -> subprocess.Popen:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=_ROOT,  # never the folder of the pictures: a file there must not be imported as a module
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
    )


def _pass_on(stream, lines: "queue.SimpleQueue[bytes | None]") -> None:
    """Put each line of `stream` into `lines`, then None."""
    try:
        for line in stream:
            lines.put(line)
    except (OSError, ValueError):
        pass  # closed by `stop`
    lines.put(None)
