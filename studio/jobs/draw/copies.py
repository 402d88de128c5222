"""Copies of trained pictures in what a run's adapter draws: drawn with the captions that were trained on, each compared with every one."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.dataset.alike import ALIKE
from studio.dataset.framing import render
from studio.dataset.rows import Dataset, Row
from studio.dataset.stored import open_image
from studio.dataset.views import sample_name
from studio.encode.plan import Planned, plan
from studio.evaluate.memorisation import Looks, Nearest, judge, look
from studio.jobs.draw.adapted import Adapted, load_adapted
from studio.jobs.draw.copy_checks import FOUND, CopyCheckRequest, trained_on
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run
from studio.recipes import worded
from studio.sample.pair import SHOTS_PER_PASS, Sampling, Shot, draw
from studio.sample.pictures import write_png
from studio.store import Workspace, write_json
from studio.tower import Tower

if TYPE_CHECKING:
    from PIL.Image import Image

Tick = Callable[[str, float], None]  # (state, how many of `num_pictures`); raises to end the work
BLOCK = 64  # training pictures open at a time
MAX_REAL = 100  # trained pictures that are compared with the others, to know how near real ones lie


def num_pictures(workspace: Workspace, run: Run, request: CopyCheckRequest) -> int:
    """How many pictures are looked at: those drawn, and those of the dataset."""
    _, seen, unseen, _ = trained_on(workspace, run)
    return request.count + len(seen) + len(unseen)


def look_for_copies(workspace: Workspace, run: Run, request: CopyCheckRequest, out: Path, warm: Warm, tick: Tick) -> dict[str, Any]:
    """Draw into `out`, compare, and judge; what came of it is kept with the run, too.

    {"level", "text", "signs", "step", "count", "suspects": how many, "trained", "gone", "pictures": [{"file", "seed", "trained": a row's
    file, "source": its name when it was read, "sample": what `Views.sample` finds it by, "shown", "pixels": likenesses, "is_suspect"}]}
    """
    tick("loading", 0)
    adapted = load_adapted(workspace, run, request.snapshot, warm=warm)
    dataset, seen, unseen, gone = trained_on(workspace, run)
    facts = adapted.parts.facts
    planned = {p.row.file: p for p in plan(dataset.rows, facts.size_px, facts.pixel_multiple, adapted.spec.data) if not p.is_lying}
    samplings = _samplings(adapted, dataset, [planned[row.file] for row in _spread(seen, request.count)], request)
    pictures = _draw(adapted, samplings, tick)
    drawn, real = _compare(dataset, planned, seen, unseen, pictures, tick)
    verdict = judge(drawn, real, len(unseen), _losses(run, adapted.step))
    told = asdict(verdict) | {"suspects": len(verdict.suspects), "step": adapted.step, "count": len(pictures)}
    told |= {"trained": len(seen), "gone": gone}
    rows = []
    for i, (picture, sampling) in enumerate(zip(pictures, samplings, strict=True)):
        likeness = {"shown": round(float(drawn.shown[i]), 4), "pixels": round(float(drawn.pixels[i]), 4)}
        rows.append(_told(i, sampling, planned[seen[drawn.index[i]].file]) | likeness | {"is_suspect": i in verdict.suspects})
        write_png(out / rows[-1]["file"], picture, {**sampling.model_dump(), "run": run.id, "step": adapted.step, "strength": 1.0})
    write_json(run.folder / FOUND, told)
    return told | {"pictures": sorted(rows, key=lambda row: (not row["is_suspect"], -row["pixels"] - row["shown"]))}


def _told(number: int, sampling: Sampling, nearest: Planned) -> dict[str, Any]:
    """A drawn picture and the trained one that lies nearest."""
    name = sample_name(nearest.row.pixels, nearest.frames[0])
    return {"file": f"{number:03d}.png", "seed": sampling.seed, "trained": nearest.row.file, "source": nearest.row.source, "sample": name}


def _samplings(adapted: Adapted, dataset: Dataset, planned: list[Planned], request: CopyCheckRequest) -> list[Sampling]:
    """A picture for each, with its caption as it was trained and in its shape, drawn as previews of the run are."""
    spec, reads_text = adapted.spec.preview, adapted.family.card.text
    how = {"negative": spec.negative, "steps": spec.steps, "guidance": spec.guidance, "sampler": spec.sampler}
    rounds = -(-request.count // len(planned))
    return [
        Sampling(
            prompt=worded(adapted.spec, dataset.caption(each.row)) if reads_text else "",
            seed=request.seed + i,
            width=each.bucket[0],
            height=each.bucket[1],
            **how,
        )
        for i, each in enumerate((planned * rounds)[: request.count])
    ]


def _draw(adapted: Adapted, samplings: list[Sampling], tick: Tick) -> "list[Image]":
    expected, ticks = -(-len(samplings) // SHOTS_PER_PASS) * samplings[0].steps, 0

    def step() -> None:
        nonlocal ticks
        ticks += 1
        tick("drawing", len(samplings) * min(ticks / expected, 1.0))

    tick("drawing", 0)
    shots = [Shot(sampling=sampling, strength=1.0) for sampling in samplings]
    return draw(adapted.family, adapted.parts, adapted.adapter, shots, adapted.is_batchable, step)


def _compare(
    dataset: Dataset, planned: dict[str, Planned], seen: list[Row], unseen: list[Row], pictures: "list[Image]", tick: Tick
) -> tuple[Nearest, Nearest]:
    """(what was drawn, unseen pictures and some of the trained ones), each with the nearest trained picture that is no copy of itself."""
    tower = Tower()

    def looks(rows: Sequence[Row]) -> Looks:
        return _look(tower, [render(open_image(dataset.path(row)), planned[row.file].frames[0]) for row in rows])

    tick("comparing", len(pictures))
    others = [*unseen, *_spread(seen, min(len(seen), MAX_REAL))]
    drawn, real = Nearest(_look(tower, pictures)), Nearest(looks(others))
    for start in range(0, len(seen), BLOCK):
        tick("comparing", len(pictures) + len(unseen) + start)
        block = seen[start : start + BLOCK]
        passing = looks(block)
        drawn.compare(passing, start)
        real.compare(passing, start, _apart(others, block))
    return drawn, real


def _look(tower: Tower, pictures: "list[Image]") -> Looks:
    return look(pictures, tower.image_features(pictures).numpy())


def _apart(first: list[Row], second: list[Row]) -> np.ndarray:
    """Which pairs [N, M] are one picture, or copies of one, as the split takes them."""
    keys = [{row.pixels, row.group or row.pixels} if row.group.startswith(ALIKE) else {row.pixels} for row in second]
    return np.array([[not {row.pixels, row.group}.isdisjoint(key) for key in keys] for row in first], bool).reshape(len(first), len(second))


def _losses(run: Run, step: int) -> dict[str, Any] | None:
    """The scores of the adapter of that step on trained and on unseen pictures; None where there are none."""
    scores = [event for event in read_events(run.events)[0] if event["kind"] == "score" and event.get("step") == step]
    return scores[-1] if scores else None


def _spread(rows: list[Row], count: int) -> list[Row]:
    """At most `count` of the rows, evenly over all of them."""
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]
