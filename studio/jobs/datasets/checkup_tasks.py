"""A check of a dataset carried out: files, measures, copies, and what the pictures show by the embedded image tower."""

from collections.abc import Callable

from studio.dataset.doctor.examine import examine, tower_looker
from studio.dataset.removal import count
from studio.dataset.rows import open_dataset
from studio.jobs.datasets.checkups import Checkup
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Warm
from studio.store import Workspace

Tick = Callable[[str, float], None]  # (state, how far); raises to end the work between two pictures


def describe(workspace: Workspace, checkup: Checkup) -> tuple[Wanted, int]:
    """What the check needs room for, which is no base model, and how many looks it takes: two at every picture."""
    dataset = open_dataset(workspace, checkup.dataset())
    return Wanted("", None, None, len(dataset.rows), f"checking {count(len(dataset.rows))} of {dataset.name}"), max(
        1, 2 * len(dataset.rows)
    )


def carry_out(workspace: Workspace, checkup: Checkup, warm: Warm, tick: Tick) -> None:
    """Check, and again where pictures have come meanwhile; what was found is kept beside the dataset."""
    looker, name = tower_looker(), checkup.dataset()
    seen: set[str] = set()
    while not (now := {row.pixels for row in open_dataset(workspace, name).rows}) <= seen:
        seen |= now
        examine(workspace, name, lambda done, total: tick("checking", done), looker)
