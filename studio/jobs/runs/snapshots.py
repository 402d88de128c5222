"""The adapters of a run: the chosen one, and one for each snapshot, with what it did on held-out pictures. No torch here."""

import contextlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.runs.folders import Run, list_runs
from studio.store import Workspace

SCORE_MARK = b'"kind": "score"'
LARGEST_RATIO = 100.0  # logarithm of two losses; beyond, and where it is no number, a base is broken and nothing is compared


def snapshot_steps(run: Run) -> list[int]:
    """The steps at which the run has kept its adapter, oldest first; told by the marker that is written last."""
    with contextlib.suppress(OSError):
        names = sorted(n for n in os.listdir(run.snapshots) if re.fullmatch(r"[0-9]{6,9}", n))
        return [int(n) for n in names if (run.snapshots / n / "done").is_file()]
    return []


def runs_with_adapter(workspace: Workspace) -> list[Run]:
    """The runs that have an adapter, chosen or of a snapshot, newest first."""
    return [run for run in list_runs(workspace)[::-1] if run.adapter.is_file() or snapshot_steps(run)]


def check_adapter(run: Run, snapshot: int | None) -> None:
    """StudioError where the run has no adapter of this step; of any where it is None."""
    steps = snapshot_steps(run)
    if snapshot is not None and snapshot not in steps:
        raise StudioError(f"run {run.id}: no snapshot of step {snapshot}; there are: {', '.join(map(str, steps)) or 'none yet'}")
    if not steps and not run.adapter.is_file():
        raise StudioError(f"run {run.id}: no adapter yet ({run.status()['state']}): wait for its first snapshot, or resume it")


def adapter_step(run: Run, snapshot: int | None) -> int:
    """The step of the adapter that is meant, where None is the chosen one, else the newest; StudioError where the run has none."""
    check_adapter(run, snapshot)
    if snapshot is not None:
        return snapshot
    return run.read("scores.json", "chosen", "step") if run.adapter.is_file() else snapshot_steps(run)[-1]


def chosen(run: Run) -> dict[str, Any]:
    """{"step", "held_out", …} of the adapter that the run has chosen; empty where it has not yet, or that cannot be read."""
    with contextlib.suppress(StudioError):
        value = run.read("scores.json", "chosen") if run.adapter.is_file() else {}
        return value if isinstance(value, dict) else {}
    return {}


def scored_snapshots(run: Run) -> list[dict[str, Any]]:
    """[{"step", "change_percent"}] of a run's snapshots: held-out loss against the base's, where it was measured."""
    scores = {score.get("step"): score.get("held_out") for score in _scores(run.events)}
    return [{"step": step, "change_percent": change_percent(scores.get(step))} for step in snapshot_steps(run)]


def change_percent(held_out: Any) -> float | None:
    """How much held-out loss has changed against the base's, by a score's `log_ratio`; None where it was not measured."""
    ratio = held_out.get("log_ratio") if isinstance(held_out, dict) else None
    return round(100 * math.expm1(ratio), 1) if isinstance(ratio, int | float) and abs(ratio) < LARGEST_RATIO else None


def _scores(events: Path) -> list[dict[str, Any]]:
    """The held-out scores of a run, found without reading the many steps between them."""
    try:
        with open(events, "rb") as file:
            lines = [line for line in file if SCORE_MARK in line]
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [score for score in found if isinstance(score, dict)]
