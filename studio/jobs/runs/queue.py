"""Whose turn it is: queued runs of a workspace go one after another, oldest first. No torch here."""

from studio.jobs.runs.folders import BUSY, Run, list_runs
from studio.store import Workspace

POLL_S = 0.5


def place_of(run: Run) -> float:
    """When the run joined the queue; 0 where its status does not say."""
    joined = run.status().get("queued")
    return float(joined) if isinstance(joined, int | float) else 0.0


def is_ahead(other: Run, run: Run, joined: float) -> bool:
    """Whether `other` goes before `run`, which joined the queue at `joined`: it is at work, or has waited for longer."""
    if other.id == run.id:
        return False
    state = other.status()["state"]
    return state in BUSY or (state == "queued" and (place_of(other), other.id) < (joined, run.id))


def first_ahead(workspace: Workspace, run: Run, joined: float, known: Run | None = None) -> Run | None:
    """A run that goes before this one, `known` if it still does; None when it is this one's turn."""
    if known and is_ahead(known, run, joined):
        return known
    return next((r for r in list_runs(workspace) if is_ahead(r, run, joined)), None)
