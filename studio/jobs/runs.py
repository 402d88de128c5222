"""Runs as folders: made, found, and their state derived from what is true now, never believed."""

import contextlib
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from studio.errors import StudioError
from studio.jobs.events import read_events
from studio.spec import RunSpec, validate
from studio.store import Workspace, read_json, slug, write_bytes, write_json

ENDED = {"finished", "stopped", "failed"}
ALIVE = {"starting", "preparing", "running", "finishing"}
LOCK_WAIT_S = 30


@dataclass(frozen=True)
class Run:
    """A run's folder and the names of what is in it."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter.safetensors"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    @property
    def stop_file(self) -> Path:
        return self.folder / "stop"

    def spec(self) -> RunSpec:
        return validate(read_json(self.folder / "spec.json"))

    def write_status(self, state: str, **values: Any) -> None:
        """Say what this process is doing with the run."""
        me = psutil.Process()
        status = {"state": state, "pid": me.pid, "started": me.create_time(), "boot": boot_id(), "heartbeat": time.time(), **values}
        write_json(self.folder / "status.json", status)

    def status(self) -> dict[str, Any]:
        """The last written status with the state as it truly is: a run whose process is gone is "interrupted"."""
        try:
            status = read_json(self.folder / "status.json")
        except StudioError:
            status = {"state": "interrupted", "pid": None}
        if not isinstance(status, dict):
            status = {"state": "interrupted", "pid": None}
        if status.get("state") not in ENDED and not process_lives(status):
            status["state"] = "interrupted"
        return status

    def lives(self) -> bool:
        return self.status()["state"] in ALIVE

    def last_step(self) -> int:
        """The newest step in the events."""
        return max((e["step"] for e in self._tail() if isinstance(e.get("step"), int)), default=0)

    def _tail(self) -> list[dict[str, Any]]:
        with contextlib.suppress(OSError):
            return read_events(self.events, max(0, self.events.stat().st_size - 65536))[0]
        return []

    def summary(self) -> dict[str, Any]:
        """{"run", "state", "pid", "step", "steps"} and the error where there is one."""
        status = self.status()
        live = status["state"] in ALIVE
        row = {"run": self.id, "state": status["state"], "pid": status.get("pid") if live else None, "step": self.last_step()}
        row["steps"] = self.spec().train.steps
        return row | ({"error": status["error"]} if status.get("error") else {})


@cache
def boot_id() -> str:
    """Something that differs after a restart of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(round(psutil.boot_time() / 60))


def process_lives(status: dict[str, Any]) -> bool:
    """Whether the very process that wrote this status still runs: same pid, same start time, same boot, no zombie."""
    if status.get("boot") != boot_id() or not isinstance(status.get("pid"), int):
        return False
    try:
        process = psutil.Process(status["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - status["started"]) < 1
    except (psutil.Error, KeyError, TypeError):
        return False


def make_run(workspace: Workspace, spec: RunSpec) -> Run:
    """A new run folder with its spec; ids are numbered and unique, also when two are made at once."""
    workspace.runs.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace.runs / ".lock", timeout=LOCK_WAIT_S):
        numbers = [int(p.name[:4]) for p in workspace.runs.iterdir() if p.name[:4].isdigit()]
        folder = workspace.runs / f"{max(numbers, default=0) + 1:04d}-{slug(spec.name) or 'run'}"
        write_bytes(folder / "spec.json", (spec.model_dump_json(indent=1) + "\n").encode())
    return Run(folder)


def list_runs(workspace: Workspace) -> list[Run]:
    """All runs, oldest first."""
    if not workspace.runs.is_dir():
        return []
    return [Run(p) for p in sorted(workspace.runs.iterdir()) if (p / "spec.json").is_file()]


def find_run(workspace: Workspace, name: str) -> Run:
    """The run with this id, or this number, or this unique beginning; StudioError naming the newest ones."""
    runs = list_runs(workspace)
    exact = [r for r in runs if r.id == name]
    matches = exact or [
        r for r in runs if name and (r.id.startswith(name) or (name.isdigit() and r.id[:4].isdigit() and int(r.id[:4]) == int(name)))
    ]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(r.id for r in (matches or runs)[-5:]) or "none yet: start one with train"
    raise StudioError(f"run {name!r}: {'several match' if matches else 'no such run in this workspace'}; there are: {known}")
