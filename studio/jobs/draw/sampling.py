"""Pictures of a run, as asked for on the command line."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio import registry
from studio.errors import StudioError
from studio.jobs.runs.folders import find_run
from studio.methods import several
from studio.models.bases import find_base
from studio.settings import explain
from studio.store import Workspace

MAX_STRENGTH = 10.0


@dataclass(frozen=True)
class Wanted:
    """A request for `count` pairs of pictures."""

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float | None  # None = as usual for the base
    sampler: str
    strength: float
    snapshot: int | None
    count: int


def sample(workspace: Workspace, name: str, wanted: Wanted, out: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Draw the pairs of a run into `out`; StudioError, before anything is loaded, when something asked for is wrong."""
    from studio.jobs.draw.adapted import load_adapted, sample_run
    from studio.sample.pair import Sampling, settle_text

    run, out = find_run(workspace, name), Path(os.path.expanduser(out)).resolve()
    if out.exists() and not out.is_dir():
        raise StudioError(f"--out {out}: this is a file: give a folder for the pictures")
    if not abs(wanted.strength) <= MAX_STRENGTH:
        raise StudioError(f"--strength {wanted.strength}: between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}")
    card = registry.family(find_base(run.spec().base.source, workspace).family).card
    try:
        several.check_strength(run.spec().methods, wanted.strength)
        guidance = settle_text(card, wanted.prompt, wanted.negative, wanted.guidance)
    except StudioError as error:
        raise StudioError(f"--{error}") from None
    values = {k: getattr(wanted, k) for k in ("prompt", "negative", "steps", "sampler")} | {"guidance": guidance}
    try:
        first = Sampling(**values, seed=wanted.seed, width=64, height=64)
    except ValidationError as error:
        raise StudioError(f"--{explain(error)}") from None
    adapted = load_adapted(workspace, run, wanted.snapshot)
    size_px = adapted.parts.facts.size_px
    samplings = [first.model_copy(update={"seed": wanted.seed + i, "width": size_px, "height": size_px}) for i in range(wanted.count)]
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(min(done, wanted.steps), wanted.steps)

    return sample_run(workspace, adapted, samplings, wanted.strength, out, tick)
