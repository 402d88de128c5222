"""A captioning carried out: pictures looked at batch by batch, then all captions written as one change."""

from collections.abc import Callable

from studio.dataset.captioners.places import find_captioner
from studio.dataset.captioning import caption_dataset, select
from studio.dataset.removal import count
from studio.jobs.captionings import Captioning
from studio.jobs.room import Wanted
from studio.jobs.warm import Warm
from studio.store import Workspace

Tick = Callable[[str, float], None]  # (state, pictures done so far); raises to end the work between two batches


def describe(workspace: Workspace, captioning: Captioning) -> tuple[Wanted, int]:
    """What the captioning needs room for, which is no base model, and how many pictures it looks at."""
    found = select(workspace, captioning.request())
    num = len(found.wanted)
    return Wanted("", None, None, num, f"captioning {count(num)} of {found.dataset.name}"), max(1, num)


def carry_out(workspace: Workspace, captioning: Captioning, warm: Warm, tick: Tick) -> None:
    """Caption; `result.json` comes last."""
    request = captioning.request()
    if find_captioner(workspace, request.captioner).folder:
        warm.clear()  # two large models at once are too many
    captioning.write_result(caption_dataset(workspace, request, lambda done, total: tick("captioning", done)))
