"""A run's adapter judged: base and adapted drawn with the captions that were trained on, each compared with every trained picture."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.dataset.alike import ALIKE
from studio.dataset.framing import render
from studio.dataset.rows import Row
from studio.dataset.stored import open_image
from studio.dataset.views import sample_name
from studio.encode.plan import Planned, plan
from studio.evaluate.memorisation import Looks, Nearest, judge_copies, look
from studio.evaluate.verdict import Seen, findings, headline
from studio.jobs.draw.adapted import Adapted, draw_pairs, load_adapted
from studio.jobs.draw.judgements import FOUND, JudgementRequest, trained_on
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run
from studio.recipes import worded
from studio.sample.pair import SHOTS_PER_PASS, Sampling
from studio.sample.pictures import write_png
from studio.store import Workspace, write_json
from studio.tower import Tower

if TYPE_CHECKING:
    from PIL.Image import Image

Tick = Callable[[str, float], None]  # (state, how many of `num_pictures`); raises to end the work
BLOCK = 64  # training pictures open at a time
MAX_REAL = 100  # trained pictures that are compared with the others, to know how near real ones lie


def num_pictures(workspace: Workspace, run: Run, request: JudgementRequest) -> int:
    """How many pictures are looked at: those drawn, and those of the dataset."""
    _, seen, unseen, _ = trained_on(workspace, run)
    return 2 * request.count + len(seen) + len(unseen)


def judge_run(workspace: Workspace, run: Run, request: JudgementRequest, out: Path, warm: Warm, tick: Tick) -> dict[str, Any]:
    """Draw into `out`, compare, and judge; what came of it is kept with the run, too.

    {"state", "text", "findings", "signs", "step", "count", "trained", "unseen", "gone", "pictures": [{"file", "base": files, "seed",
    "trained": a row's file, "source": its name when it was read, "sample": what `Views.sample` finds it by, "shown", "pixels": likenesses,
    "is_suspect"}]}
    """
    tick("loading", 0)
    adapted = load_adapted(workspace, run, request.snapshot, warm=warm)
    data = _Data(workspace, run, adapted)
    members = (_spread(data.seen, request.count) * -(-request.count // len(data.seen)))[: request.count]
    samplings = [_sampling(adapted, data, row, request.seed + i) for i, row in enumerate(members)]
    pairs = _draw(workspace, adapted, samplings, tick)
    drawn, real, features = _compare(data, pairs, members, tick)
    copying = judge_copies(drawn, real, len(data.unseen), _losses(run, adapted.step))
    found = findings(features, copying, [data.caption(row) for row in members], [data.caption(row) for row in data.seen])
    state, text = headline(found)
    told = {"state": state, "text": text, "findings": [asdict(each) for each in found], "signs": [asdict(each) for each in copying.signs]}
    told |= {"step": adapted.step, "count": len(pairs), "trained": len(data.seen), "unseen": len(data.unseen), "gone": data.num_gone}
    rows = []
    for i, (pictures, sampling) in enumerate(zip(pairs, samplings, strict=True)):
        likeness = {"shown": round(float(drawn.shown[i]), 4), "pixels": round(float(drawn.pixels[i]), 4)}
        rows.append(_told(i, sampling, data.planned[data.seen[drawn.index[i]].file]) | likeness | {"is_suspect": i in copying.suspects})
        for name, picture, strength in zip(("base", "file"), pictures, (0.0, 1.0), strict=True):
            write_png(out / rows[-1][name], picture, {**sampling.model_dump(), "run": run.id, "step": adapted.step, "strength": strength})
    write_json(run.folder / FOUND, told)
    return told | {"pictures": sorted(rows, key=lambda row: (not row["is_suspect"], -row["pixels"] - row["shown"]))}


class _Data:
    """The pictures of a run: those it was trained on, those it has never seen, each as it is encoded."""

    def __init__(self, workspace: Workspace, run: Run, adapted: Adapted) -> None:
        self._spec = adapted.spec
        self._dataset, self.seen, self.unseen, self.num_gone = trained_on(workspace, run)
        facts = adapted.parts.facts
        planned = plan(self._dataset.rows, facts.size_px, facts.pixel_multiple, adapted.spec.data)
        self.planned = {each.row.file: each for each in planned if not each.is_lying}

    def caption(self, row: Row) -> str:
        """The caption of a picture as it is trained."""
        return worded(self._spec, self._dataset.caption(row))

    def pictures(self, rows: Sequence[Row]) -> "list[Image]":
        """Their pixels, in the first frame of each."""
        return [render(open_image(self._dataset.path(row)), self.planned[row.file].frames[0]) for row in rows]


def _told(number: int, sampling: Sampling, nearest: Planned) -> dict[str, Any]:
    """A drawn picture, the base's beside it, and the trained one that lies nearest."""
    told = {"file": f"{number:03d}.png", "base": f"{number:03d}-base.png", "seed": sampling.seed, "trained": nearest.row.file}
    return told | {"source": nearest.row.source, "sample": sample_name(nearest.row.pixels, nearest.frames[0])}


def _sampling(adapted: Adapted, data: _Data, row: Row, seed: int) -> Sampling:
    """A picture with the caption of a trained one, in its shape, drawn as previews of the run are."""
    spec, (width, height) = adapted.spec.preview, data.planned[row.file].bucket
    how = {"negative": spec.negative, "steps": spec.steps, "guidance": spec.guidance, "sampler": spec.sampler}
    prompt = data.caption(row) if adapted.family.card.text else ""
    return Sampling(prompt=prompt, seed=seed, width=width, height=height, **how)


def _draw(workspace: Workspace, adapted: Adapted, samplings: list[Sampling], tick: Tick) -> "list[list[Image]]":
    """[base, adapted] of each, from the same noise."""
    expected, ticks = -(-2 * len(samplings) // SHOTS_PER_PASS) * samplings[0].steps, 0

    def step() -> None:
        nonlocal ticks
        ticks += 1
        tick("drawing", 2 * len(samplings) * min(ticks / expected, 1.0))

    tick("drawing", 0)
    return draw_pairs(workspace, adapted, samplings, [1.0], step)


def _compare(data: _Data, pairs: "list[list[Image]]", members: list[Row], tick: Tick) -> tuple[Nearest, Nearest, Seen]:
    """(what was drawn, unseen and some trained pictures: each with the nearest trained one that is no copy of it, features of all)."""
    tower, done = Tower(), 2 * len(pairs)
    tick("comparing", done)
    base = tower.image_features([pair[0] for pair in pairs]).numpy()
    others = [*data.unseen, *_spread(data.seen, min(len(data.seen), MAX_REAL))]
    looks, known = _look(tower, [pair[1] for pair in pairs]), _look(tower, data.pictures(others))
    drawn, real, trained = Nearest(looks), Nearest(known), []
    for start in range(0, len(data.seen), BLOCK):
        tick("comparing", done + len(data.unseen) + start)
        block = data.seen[start : start + BLOCK]
        passing = _look(tower, data.pictures(block))
        drawn.compare(passing, start)
        real.compare(passing, start, _apart(others, block))
        trained.append(passing.features)
    features, number = np.concatenate(trained), {row.file: i for i, row in enumerate(data.seen)}
    alike = features[[number[row.file] for row in members]]
    return drawn, real, Seen(base, looks.features, alike, features, known.features[: len(data.unseen)])


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
