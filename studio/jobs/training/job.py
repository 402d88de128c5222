"""A run being worked on, as its process sees it: the folder, what is told in it, and the wish to stop."""

import signal
import time
from typing import Any

from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import Run
from studio.store import Workspace

STATUS_EVERY_S = 5.0


class Stopped(Exception):
    """A stop request that came before the first step."""


class Job:
    """A run being worked on: its folder, its log, its status."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.workspace = Workspace(run.folder.parent.parent)
        self.log = EventLog(run.events)
        self.spec = run.spec()
        self._signalled = False
        self._state, self._values, self._written = "preparing", {}, 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self, *_: Any) -> None:
        self._signalled = True

    def stopping(self) -> bool:
        """Whether someone asked this run to end; also keeps the heartbeat."""
        if time.monotonic() - self._written > STATUS_EVERY_S:
            self.status(self._state, **self._values)
        return self._signalled or self.run.stop_file.exists()

    def status(self, state: str, **values: Any) -> None:
        """Say in the run's folder how it is."""
        self._state, self._values, self._written = state, values, time.monotonic()
        self.run.write_status(state, **values)

    def emit(self, kind: str, **values: Any) -> None:
        """Append an event."""
        self.log.emit(kind, **values)
