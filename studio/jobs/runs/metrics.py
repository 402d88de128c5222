"""Runs as they are shown while they go on and afterwards: one reading of each run's events for all pages that look. No torch here."""

import bisect
import contextlib
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import psutil

from studio.errors import StudioError
from studio.jobs.runs.folders import ALIVE, Run
from studio.jobs.runs.history import History, read_score
from studio.jobs.runs.queue import first_ahead, place_of
from studio.jobs.runs.words import verdict
from studio.spec import RunSpec
from studio.store import Workspace, inside, read_json
from studio.train.checkpoint import MARKER

FRESH_S = 0.3  # pages that ask within this time share one reading
MAX_POINTS = 1000
MAX_TOLD = 200  # sentences of a full answer
MAX_KEPT = 16  # runs kept in memory, and
MAX_KEPT_STEPS = 1_000_000  # their steps
FURTHER_CANDIDATES = 3  # adapters measured once more when a run ends
RAM = psutil.virtual_memory().total


def open_run(workspace: Workspace, run_id: str) -> Run:
    """The run with exactly this id; StudioError where there is none."""
    folder = inside(workspace.runs, run_id)
    if not os.path.isfile(folder / "spec.json"):  # also false for a name that no file system takes
        raise StudioError(f"run {run_id[:80]} is gone: it was deleted or its folder was moved away")
    return Run(folder)


@dataclass
class _Kept:
    """What is kept of one run between two questions."""

    run: Run
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: float = -1e9
    spec: RunSpec | None = None
    spec_error: str | None = None
    spec_time: int = 0
    history: History | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class LiveRuns:
    """The runs of a workspace, read at most every `FRESH_S` seconds however many pages ask; thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def live(self, run_id: str, after: str = "0") -> dict[str, Any]:
        """All about a run; with the `cursor` of an earlier answer as `after`, only the points, scores, previews and events since."""
        kept = self._open(run_id)
        with kept.lock:
            self._refresh(kept)
            history = kept.history
            token, start = _read_cursor(after)
            whole = not token or token != history.token or not history.replaced <= start <= history.cursor
            start = 0 if whole else start
            answer = {**kept.facts, "cursor": f"{history.token}-{history.cursor}", "full": whole}
            answer["points"] = history.points(start, MAX_POINTS)
            answer["scores"] = _since(history.scores, start, 500)
            answer["previews"] = [_with_address(run_id, p) for p in _since(history.previews, start, 100)]
            answer["events"] = _since(history.told, start, MAX_TOLD)
            return answer | (_settings(kept) if whole else {})

    def brief(self, run_id: str) -> dict[str, Any]:
        """{"step", "speed", "seconds_left"} of a run, for the status strip."""
        kept = self._open(run_id)
        with kept.lock:
            self._refresh(kept)
            return {name: kept.facts[name] for name in ("step", "speed", "seconds_left")}

    def _open(self, run_id: str) -> _Kept:
        try:
            run = open_run(self._workspace, run_id)
        except StudioError:
            with self._lock:
                self._kept.pop(run_id, None)
            raise
        with self._lock:
            kept = self._kept.setdefault(run_id, _Kept(run))
            self._kept.move_to_end(run_id)
            while len(self._kept) > MAX_KEPT or len(self._kept) > 1 and self._num_steps() > MAX_KEPT_STEPS:
                self._kept.popitem(last=False)
            return kept

    def _num_steps(self) -> int:
        return sum(len(k.history.steps) for k in self._kept.values() if k.history)

    def _refresh(self, kept: _Kept) -> None:
        if time.monotonic() - kept.read_at < FRESH_S:
            return
        _read_spec(kept)
        if kept.history is None:
            steps = kept.spec.train.steps if kept.spec else 0
            kept.history = History(kept.run.events, window=min(200, max(10, steps // 25)))
        status = kept.run.status()  # before the events: an end that comes between is told next time, never too early
        kept.history.refresh()
        kept.facts = self._state(kept, status)
        kept.read_at = time.monotonic()

    def _state(self, kept: _Kept, status: dict[str, Any]) -> dict[str, Any]:
        """What holds for the run as a whole now."""
        history, spec, state = kept.history, kept.spec, status["state"]
        is_alive, steps = state in ALIVE, spec.train.steps if spec else None
        step = history.steps[-1] if history.steps else 0
        error = status.get("error") or kept.spec_error
        chosen = (history.ended or {}).get("chosen") or {}
        score = read_score(chosen.get("held_out"))
        has_adapter = kept.run.adapter.is_file()
        ended = {"step": step, "steps": steps, "score": score, "error": error, "has_adapter": has_adapter}
        ended["resume_step"] = _resume_step(kept.run) if state == "interrupted" else 0
        pace = history.pace()
        last = history.steps and {"loss": _number(history.smooth[-1]), "lr": _number(history.lr[-1])}
        return {
            "run": kept.run.id,
            "state": state,
            "stopping": is_alive and kept.run.stop_file.exists(),
            "behind": self._behind(kept.run) if state == "queued" else None,
            "error": error,
            "step": step,
            "steps": steps,
            "speed": round(1 / max(pace, 1e-6), 3) if pace else None,
            "seconds_left": _seconds_left(history, spec, step) if is_alive else None,
            "seconds": _seconds(history, is_alive),
            "now": last or None,
            "caching": history.caching if state in {"starting", "preparing"} else None,
            "memory": self._memory(status if is_alive else {}, history.peak_gib),
            "best": _best(history.scores),
            "chosen": {"step": chosen.get("step"), "average": chosen.get("average")} if chosen else None,
            "score": score,
            "has_adapter": has_adapter,
            "verdict": verdict(state, ended),
        }

    def _behind(self, run: Run) -> str | None:
        """The run that this one waits for."""
        ahead = first_ahead(self._workspace, run, place_of(run))
        return ahead.id if ahead else None

    def _memory(self, status: dict[str, Any], peak_gib: float | None) -> dict[str, Any]:
        """{"used_gib", "peak_gib", "total_gib", "kind"}: of the GPU where there is one, else of the run's process."""
        machine = read_machine(self._workspace)
        if machine.get("device") == "cuda" and isinstance(machine.get("memory_gib"), int | float):
            return {"used_gib": peak_gib, "peak_gib": peak_gib, "total_gib": machine["memory_gib"], "kind": "GPU memory"}
        used = None
        if status.get("pid"):
            with contextlib.suppress(psutil.Error, TypeError, ValueError, OverflowError):
                used = round(psutil.Process(status["pid"]).memory_info().rss / 2**30, 3)
        return {"used_gib": used, "peak_gib": peak_gib, "total_gib": round(RAM / 2**30, 1), "kind": "memory"}


def read_machine(workspace: Workspace) -> dict[str, Any]:
    """What a process with torch has found out about this machine ({"device", "name", "memory_gib", …}); empty before that."""
    try:
        machine = read_json(workspace.cache / "machine.json")
    except (StudioError, OSError):
        return {}
    return machine if isinstance(machine, dict) else {}


def picture_address(run_id: str, file: str, version: float | None) -> str:
    """Where the studio serves a picture of a run; `version` tells a picture drawn anew from the one before."""
    from urllib.parse import quote

    return f"/studio/runs/{quote(run_id)}/pictures/{quote(file)}?v={int(1000 * (version or 0))}"


def _with_address(run_id: str, preview: dict[str, Any]) -> dict[str, Any]:
    files = [picture_address(run_id, f, preview["time"]) for f in preview["files"]]
    return {"step": preview["step"], "base": preview["base"], "files": files}


def _read_spec(kept: _Kept) -> None:
    with contextlib.suppress(OSError):
        changed = (kept.run.folder / "spec.json").stat().st_mtime_ns
        if changed == kept.spec_time:
            return
        kept.spec_time = changed
        try:
            kept.spec, kept.spec_error = kept.run.spec(), None
        except StudioError as error:
            kept.spec, kept.spec_error = None, str(error)


def _settings(kept: _Kept) -> dict[str, Any]:
    """What does not change while a run goes on."""
    spec = kept.spec
    if spec is None:
        return {"name": kept.run.id, "prompts": []}
    return {
        "name": spec.name,
        "dataset": spec.dataset,
        "base": spec.base.source,
        "recipe": spec.recipe,
        "preset": spec.preset,
        "prompts": spec.preview.labels() if spec.preview.at_steps else [],
        "preview_steps": spec.preview.at_steps[:100],
    }


def _read_cursor(after: str) -> tuple[str, int]:
    token, _, number = str(after).rpartition("-")
    return (token, int(number)) if number.isascii() and number.isdigit() and len(number) < 16 else ("", -1)


def _since(items: list[dict[str, Any]], start: int, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` of the items that came after byte `start`, without their place in the file."""
    places = [i["at"] for i in items]
    fresh = items[bisect.bisect_right(places, start) :] if places == sorted(places) else [i for i in items if i["at"] > start]
    return [{k: v for k, v in item.items() if k != "at"} for item in fresh[-limit:]]


def _number(value: float) -> float | None:
    return None if value != value else float(f"{value:.5g}")


def _best(scores: list[dict[str, Any]]) -> int | None:
    measured = [s for s in scores if s["change_percent"] is not None]
    return min(measured, key=lambda s: s["change_percent"])["step"] if measured else None


def _seconds(history: History, is_alive: bool) -> float | None:
    """How long the run has worked, without what it did before an interruption."""
    if history.ended and isinstance(history.ended.get("seconds"), int | float):
        return history.ended["seconds"]
    if history.began is None or history.began != history.began:
        return None
    end = time.time() if is_alive else float(history.last_time or history.began)
    return round(max(0.0, end - history.began), 1)


def _seconds_left(history: History, spec: RunSpec | None, step: int) -> float | None:
    """Steps still to come at the recent pace, and the scores and previews among them."""
    pace = history.pace()
    if spec is None or pace is None:
        return None
    num_scores = sum(s > step for s in spec.train.snapshot_steps)
    num_previews = sum(s > step for s in spec.preview.at_steps)
    steps = (spec.train.steps - step) * pace
    scores = (num_scores + FURTHER_CANDIDATES / 2) * history.median_spent("score")
    return round(steps + scores + num_previews * history.median_spent("preview"), 1)


def _resume_step(run: Run) -> int:
    """The step of the newest resume point."""
    with contextlib.suppress(OSError):
        return max((int(p.name) for p in (run.folder / "resume").iterdir() if p.name.isdigit() and (p / MARKER).is_file()), default=0)
    return 0
