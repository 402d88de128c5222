"""A captioning carried out: pictures looked at batch by batch, then all captions written as one change."""

from collections.abc import Callable

from studio.dataset.captioners.folder import facts_of
from studio.dataset.captioning import caption_dataset, select
from studio.dataset.removal import count
from studio.jobs.datasets.captionings import Captioning
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Warm
from studio.store import Workspace

Tick = Callable[[str, float], None]  # (state, pictures done so far); raises to end the work between two batches


def describe(workspace: Workspace, captioning: Captioning) -> tuple[Wanted, int]:
    """What the captioning needs room for, which is no base model, and how many pictures it looks at."""
    found = select(workspace, captioning.request())
    num, folder = len(found.wanted), found.chosen.folder
    size = facts_of(folder, found.chosen.key)["bytes"] if folder else 0
    return Wanted("", None, None, num, f"captioning {count(num)} of {found.dataset.name}", size), max(1, num)


def carry_out(workspace: Workspace, captioning: Captioning, warm: Warm, tick: Tick) -> None:
    """Caption; `result.json` comes last."""
    captioning.write_result(caption_dataset(workspace, captioning.request(), lambda done, total: tick("captioning", done)))
