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
from studio.jobs.runs.events import read_events
from studio.spec import RunSpec, validate
from studio.store import Workspace, overwrite_json, read_json, slug, write_bytes, write_json

ENDED = {"finished", "stopped", "failed"}
BUSY = {"starting", "preparing", "running", "finishing", "parked"}  # at work; parked = holding at a step boundary while pictures are drawn
ALIVE = BUSY | {"queued"}  # queued = waiting its turn behind another run
LOCK_WAIT_S = 30


@dataclass(frozen=True)
class Run:
    """A run's folder and the names of what is in it."""

    folder: Path

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def events(self) -> Path:
        """The file of what has happened, appended to."""
        return self.folder / "events.jsonl"

    @property
    def adapter(self) -> Path:
        """The chosen adapter."""
        return self.folder / "adapter.safetensors"

    @property
    def snapshots(self) -> Path:
        """The folder of its snapshots."""
        return self.folder / "snapshots"

    @property
    def _status_file(self) -> Path:
        return self.folder / "status.json"

    @property
    def stop_file(self) -> Path:
        """The file whose presence is the wish that it stop."""
        return self.folder / "stop"

    @property
    def park_file(self) -> Path:
        """The file whose presence is the wish that it hold for a while."""
        return self.folder / "park"

    def spec(self) -> RunSpec:
        """The run's settings; StudioError naming the file where it is damaged."""
        path = self.folder / "spec.json"
        values = read_json(path)
        try:
            return validate(values)
        except StudioError as error:
            raise StudioError(f"{path} is damaged ({error}): restore it from a copy, or delete the run's folder") from None

    def read(self, name: str, *keys: str) -> Any:
        """The value under `keys` in a JSON file of the run; StudioError naming the file where there is none."""
        value = read_json(self.folder / name)
        try:
            for key in keys:
                value = value[key]
        except (KeyError, TypeError, IndexError):
            raise StudioError(f"{self.folder / name} is damaged (no {'.'.join(keys)}): restore it from a copy") from None
        return value

    def write_status(self, state: str, process: psutil.Process | None = None, **values: Any) -> None:
        """Say what `process`, by default this one, is doing with the run."""
        write_json(self._status_file, _status(state, process or psutil.Process()) | values)

    def overwrite_status(self, state: str, **values: Any) -> None:
        """As `write_status`, in place: for a full disk, where the small file there is still has room."""
        overwrite_json(self._status_file, _status(state, psutil.Process()) | values)

    def status(self) -> dict[str, Any]:
        """The last written status with the state as it truly is: a run whose process is gone is "interrupted"; as written: "told"."""
        try:
            status = read_json(self._status_file)
        except StudioError:
            status = {}
        if not isinstance(status, dict) or not isinstance(status.get("state"), str):
            status = {"state": "interrupted", "pid": None}
        status["told"] = status["state"]
        if status["state"] not in ENDED and not process_lives(status):
            status["state"] = "interrupted"
        return status

    def lives(self) -> bool:
        """Whether its process is at work, waiting or parked."""
        return self.status()["state"] in ALIVE

    def last_step(self) -> int:
        """The step of the newest event that has one; a resumed run goes on from an earlier step than it had reached."""
        return next((e["step"] for e in reversed(self._tail()) if _is_count(e.get("step"))), 0)

    def _tail(self) -> list[dict[str, Any]]:
        with contextlib.suppress(OSError):
            return read_events(self.events, max(0, self.events.stat().st_size - 65536))[0]
        return []

    def summary(self) -> dict[str, Any]:
        """{"run", "state", "pid", "step", "steps"} and the error where there is one; state "damaged" where the spec cannot be read."""
        status = self.status()
        live, step = status["state"] in ALIVE, status.get("step")
        row = {"run": self.id, "state": status["state"], "pid": status.get("pid") if live else None}
        row["step"] = step if _is_count(step) and not live else self.last_step()
        try:
            row["steps"] = self.spec().train.steps
        except StudioError as error:
            return row | {"state": row["state"] if live else "damaged", "steps": None, "error": str(error)}
        return row | ({"error": str(status["error"])} if status.get("error") else {})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _status(state: str, who: psutil.Process) -> dict[str, Any]:
    return {"state": state, **identify(who), "heartbeat": time.time()}


def identify(who: psutil.Process) -> dict[str, Any]:
    """What tells this process from any other, before and after it: {"pid", "started", "boot"}; see `process_lives`."""
    return {"pid": who.pid, "started": who.create_time(), "boot": boot_id()}


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
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def make_run(workspace: Workspace, spec: RunSpec) -> Run:
    """A new run folder with its spec; ids are numbered and unique, also when two are made at once."""
    workspace.runs.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace.runs / ".lock", timeout=LOCK_WAIT_S):
        number = 1 + max((_number(p.name.partition("-")[0]) or 0 for p in workspace.runs.iterdir()), default=0)
        folder = workspace.runs / f"{number:04d}-{slug(spec.name) or 'run'}"
        try:
            write_bytes(folder / "spec.json", (spec.model_dump_json(indent=1) + "\n").encode())
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
    return Run(folder)


def _number(text: str) -> int | None:
    """`text` as the number of a run; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def list_runs(workspace: Workspace) -> list[Run]:
    """All runs, oldest first."""
    if not workspace.runs.is_dir():
        return []
    folders = sorted(workspace.runs.iterdir(), key=lambda p: (_number(p.name.partition("-")[0]) or 0, p.name))
    return [Run(p) for p in folders if (p / "spec.json").is_file()]


def last_base(workspace: Workspace, dataset: str) -> str:
    """The base of the newest run on a dataset; the embedded model's where there is none."""
    for run in list_runs(workspace)[::-1]:
        with contextlib.suppress(StudioError, OSError):  # a damaged run says nothing
            if run.read("spec.json", "dataset") == dataset:
                return str(run.read("spec.json", "base", "source") or "starter")
    return "starter"


def find_run(workspace: Workspace, name: str) -> Run:
    """The run with this id, or this number, or this unique beginning; StudioError naming the newest ones."""
    runs = list_runs(workspace)
    exact = [r for r in runs if r.id == name]
    number = _number(name)
    same_number = [r for r in runs if number is not None and _number(r.id.partition("-")[0]) == number]
    matches = exact or same_number or [r for r in runs if name and r.id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(r.id for r in (matches or runs)[-5:]) or "none yet: start one with train"
    raise StudioError(f"run {name[:80]!r}: {'several match' if matches else 'no such run in this workspace'}; there are: {known}")
