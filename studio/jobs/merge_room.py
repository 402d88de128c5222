"""Whether a merge has room in this machine's memory: now, once the run that trains has ended, or never. No torch here."""

import time
from collections.abc import Callable

import psutil

from studio import registry
from studio.errors import StudioError
from studio.jobs.runs import BUSY, list_runs
from studio.memory_plan import GIB, LIBRARIES_GIB, read_sizes
from studio.models import Base
from studio.store import Workspace

COPIES = 2.1  # of the base in fp32: the one that is merged into, and the one that is read back to compare
POLL_S = 2.0


def needed_gib(base: Base) -> float:
    """About how much memory merging on this base takes; 0 where its size cannot be told."""
    sizes = read_sizes(base.path, registry.family(base.family).card)
    return COPIES * sizes.total * 4 / GIB + LIBRARIES_GIB if sizes else 0.0


def wait_for_room(workspace: Workspace, base: Base, tell: Callable[[str], None]) -> None:
    """Return when a merge fits, waiting for a run that trains; StudioError with the figures where waiting would not help."""
    needed = needed_gib(base)
    while True:
        memory = psutil.virtual_memory()
        free, total = memory.available / GIB, memory.total / GIB
        if needed <= free:
            return
        figures = f"merge: it needs about {needed:.1f} GiB of memory for {base.path.name}, {free:.1f} of {total:.1f} GiB are free"
        if needed > total:
            raise StudioError(f"{figures}: use a machine with more, or take the adapter along as a file of its own")
        run = next((r for r in list_runs(workspace) if r.status()["state"] in BUSY), None)
        if run is None:
            raise StudioError(f"{figures}: close other programs first")
        tell(f"waiting for run {run.id}: {needed:.1f} GiB are needed, {free:.1f} are free")
        time.sleep(POLL_S)
