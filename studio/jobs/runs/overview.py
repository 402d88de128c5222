"""Every run in one row, for lists: what it is, how it is now, how it turned out; kept in memory until its files change. No torch here."""

import contextlib
import datetime
import threading
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import ALIVE, Run, list_runs
from studio.jobs.runs.history import read_score
from studio.jobs.runs.metrics import picture_address
from studio.recipes import list_recipes, load_recipe
from studio.spec import RunSpec
from studio.store import Workspace, read_json

TAIL = 65536  # bytes of the events' end that tell how a run ended


class RunRows:
    """Rows of a workspace's runs; thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def read(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        runs = list_runs(self._workspace)
        with self._lock:
            names = {r.id for r in runs}
            self._kept = {name: kept for name, kept in self._kept.items() if name in names}
            return [self._row(run) for run in reversed(runs)]

    def _row(self, run: Run) -> dict[str, Any]:
        status = run.status()
        key = (status["state"], _stamp(run.folder))
        kept = self._kept.get(run.id)
        if kept is None or kept[0] != key:
            kept = self._kept[run.id] = (key, _read_row(run, status))
        return kept[1]


def _stamp(folder: Path) -> tuple:
    """What changes whenever something of the row has changed."""
    stamps = []
    for name in ("spec.json", "status.json", "scores.json", "events.jsonl", "adapter.safetensors"):
        try:
            found = (folder / name).stat()
            stamps.append((found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


def _read_row(run: Run, status: dict[str, Any]) -> dict[str, Any]:
    summary = run.summary()
    events = _tail(run)
    ended = next((e for e in reversed(events) if e["kind"] in {"finished", "stopped"}), {})
    row = {name: summary.get(name) for name in ("run", "state", "step", "steps", "error")}
    row |= _settings(run)
    row["seconds"] = ended.get("seconds")
    row["peak_memory_gib"] = status.get("peak_memory_gib") or ended.get("peak_memory_gib")
    row["held_out"] = _held_out(run, events, summary["state"])
    row["has_adapter"] = run.adapter.is_file()
    row["previews"] = _previews(run)
    with contextlib.suppress(OSError):
        made = (run.folder / "spec.json").stat().st_mtime
        row["created"] = datetime.datetime.fromtimestamp(made, datetime.UTC).isoformat(timespec="seconds")
    return row


def _settings(run: Run) -> dict[str, Any]:
    with contextlib.suppress(StudioError):
        spec = run.spec()
        return {"name": spec.name, "method": _method(spec), "base": spec.base.source, "dataset": spec.dataset, "preset": spec.preset}
    return {"name": run.id, "method": None, "base": None, "dataset": None, "preset": None}


def _method(spec: RunSpec) -> str:
    """The title of the recipe; of one that is not here any more, its methods."""
    if spec.recipe in list_recipes():
        return load_recipe(spec.recipe)["title"]
    return " + ".join(m.kind for m in spec.methods)


def _tail(run: Run) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError):
        return read_events(run.events, max(0, run.events.stat().st_size - TAIL))[0]
    return []


def _held_out(run: Run, events: list[dict[str, Any]], state: str) -> dict[str, Any] | None:
    """The chosen adapter's score; while a run goes on, its newest one."""
    if state not in ALIVE and (run.folder / "scores.json").is_file():
        with contextlib.suppress(StudioError, OSError, KeyError, TypeError):
            return read_score(read_json(run.folder / "scores.json")["chosen"]["held_out"])
    newest = next((e for e in reversed(events) if e["kind"] == "score"), {})
    return read_score(newest.get("held_out"))


def _previews(run: Run) -> list[str]:
    """Addresses of the newest previews, one per prompt; those of the base while there are no others."""
    folder = run.folder / "previews"
    with contextlib.suppress(OSError):
        names = sorted(p.name for p in folder.iterdir() if p.is_dir() and (p.name.isdigit() or p.name == "base"))
        newest = next((n for n in reversed(names) if n.isdigit()), names[0] if names else None)
        if newest:
            files = sorted((folder / newest).glob("[0-9][0-9].png"))
            return [picture_address(run.id, f"previews/{newest}/{f.name}", f.stat().st_mtime) for f in files]
    return []
