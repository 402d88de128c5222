"""How well the embedded model adapts: a quick run on each demo, graded by held-out loss and by what the adapter draws.

The run is the product's own: dataset, recipe and preset as a person chooses them, trained in a process of its own.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.starter.measures import Features, Worlds

if TYPE_CHECKING:
    import torch

    from studio.dataset.rows import Dataset
    from studio.jobs.draw.adapted import Adapted
    from studio.jobs.runs.folders import Run
    from studio.store import Workspace

DEMOS = ("icons", "brain-mri", "satellite")
RECIPE, PRESET = "lora", "quick"
# every held-out picture is measured, not only the first eight; the seed is named so that another default changes nothing here
SETTINGS = ("train.seed=0", "evaluate.max_images=1000")
FIRST_SEED = 100


@dataclass(frozen=True)
class Plan:
    """What is run and drawn; tests take less of it."""

    demos: tuple[str, ...] = DEMOS
    num_pairs: int = 24
    num_steps: int = 25
    guidance: float = 3.0
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """What the base draws by itself: pictures [N, 3, S, S] in [0, 1] for its centroid, and others, of other concepts, to test it."""

    centroid: "torch.Tensor"
    test: "torch.Tensor"
    features: dict[str, tuple[Features, ...]]  # ways to describe a picture, the preferred one first


@dataclass(frozen=True)
class Pairs:
    """Pictures [N, 3, S, S] in [0, 1] of base and adapted for the same prompts and seeds."""

    prompts: list[str]
    base: "torch.Tensor"
    adapted: "torch.Tensor"


def grade_demo(model: Path, demo: str, world: World, plan: Plan, progress: Callable[[str], None]) -> tuple[dict[str, Any], Pairs]:
    """Adapt the base in `model` to a demo in a workspace that is thrown away; figures, and the pictures they were measured on."""
    from studio.dataset.intake import create_demo
    from studio.jobs.draw.adapted import load_adapted
    from studio.store import Workspace

    with tempfile.TemporaryDirectory(prefix="starter-report-") as place:
        workspace = Workspace.at(place)
        dataset = create_demo(workspace, demo, demo)
        run = adapt(model, dataset, workspace, plan, progress)
        figures = learned(run)
        progress(f"{demo}: drawing {plan.num_pairs} pairs")
        adapted = load_adapted(workspace, run, None)
        pairs = draw_pairs(workspace, adapted, dataset, plan)
        real = [as_drawn(adapted, dataset, rows) for rows in (dataset.train_rows, dataset.held_out_rows)]
    return figures | {"pairs": plan.num_pairs, "in_domain": classify(*real, world, pairs)}, pairs


def adapt(model: Path, dataset: "Dataset", workspace: "Workspace", plan: Plan, progress: Callable[[str], None]) -> "Run":
    """Train an adapter as the command line does and wait for it; StudioError where the run does not finish."""
    from studio.jobs.processes import supervisor
    from studio.jobs.runs.folders import make_run
    from studio.jobs.runs.words import describe
    from studio.models.bases import STARTER, find_base
    from studio.recipes import Choice, resolve

    base = find_base(str(model), workspace)
    presets_of = replace(base, path=STARTER)  # a copy of the embedded model in another place is trained as the embedded one is
    run = make_run(workspace, resolve(Choice(dataset, presets_of, RECIPE, PRESET, settings=[*SETTINGS, *plan.settings])))
    process = supervisor.start(run)
    try:
        for event in supervisor.follow(run, process):
            if line := describe(event):
                progress(f"{dataset.name}: {line}")
    finally:
        if process.poll() is None:  # someone interrupts this report: nobody would look at the run any more
            supervisor.request_stop(run)
            process.wait()
    summary = run.summary()
    if summary["state"] != "finished":
        raise StudioError(f"adapting to {dataset.name}: the run is {summary['state']}: {summary.get('error', 'no reason was given')}")
    return run


def learned(run: "Run") -> dict[str, Any]:
    """Held-out loss of the chosen adapter beside the base's, at fixed noise, and the minutes from loading to choosing."""
    from studio.jobs.runs.events import read_events

    chosen = run.read("scores.json", "chosen")
    score = chosen["held_out"]
    seconds = sum(e["seconds"] for e in read_events(run.events)[0] if e["kind"] == "finished")
    return {
        "held_out_base": round(score["base"], 4),
        "held_out_adapted": round(score["loss"], 4),
        "held_out_change": round(math.exp(score["log_ratio"]) - 1, 3),  # geometric mean over pictures
        "improved": [score["num_better"], score["num_images"]],
        "chosen_step": chosen["step"],
        "minutes": round(seconds / 60, 1),
    }


def sample_prompts(dataset: "Dataset", given: list[str], count: int) -> list[str]:
    """`count` prompts of the domain: the demo's own, then captions of held-out pictures, from the start again when they run out."""
    captions = list(dict.fromkeys([*given, *(dataset.caption(row) for row in dataset.held_out_rows)]))
    return [captions[n % len(captions)] for n in range(count)]


def draw_pairs(workspace: "Workspace", adapted: "Adapted", dataset: "Dataset", plan: Plan) -> Pairs:
    """Draw base and adapted with the product's sampler from the same noise."""
    from studio.jobs.draw.adapted import draw_pairs as draw_rows
    from studio.sample.pair import Sampling

    size_px = adapted.parts.facts.size_px
    prompts = sample_prompts(dataset, adapted.spec.preview.prompts, plan.num_pairs)
    look = {"steps": plan.num_steps, "guidance": plan.guidance, "sampler": "ddim", "width": size_px, "height": size_px}
    samplings = [Sampling(prompt=p, seed=FIRST_SEED + n, **look) for n, p in enumerate(prompts)]
    rows = draw_rows(workspace, adapted, samplings, [1.0], lambda: None)
    return Pairs(prompts, *(to_pixels([row[k] for row in rows], size_px) for k in (0, 1)))


def as_drawn(adapted: "Adapted", dataset: "Dataset", rows: list) -> "torch.Tensor":
    """Real pictures through the base's autoencoder: as it would draw them at best, so that its softness tells nobody apart."""
    import torch

    from studio.dataset.stored import open_image

    parts, family = adapted.parts, adapted.family
    px = to_pixels([open_image(dataset.path(row)) for row in rows], parts.facts.size_px) * 2 - 1
    with torch.no_grad():
        z = family.encode_image(parts, px.to(parts.device, parts.dtype)).mean
        return (family.decode_image(parts, z).float().cpu().clamp(-1, 1) + 1) / 2


def to_pixels(pictures: list, size_px: int) -> "torch.Tensor":
    """PIL pictures as [N, 3, size_px, size_px] in [0, 1]."""
    import numpy as np
    import torch

    from studio.starter.pictures import shrink

    return torch.from_numpy(np.stack([shrink(np.asarray(p), size_px) for p in pictures])).permute(0, 3, 1, 2).float() / 255


def classify(train: "torch.Tensor", held_out: "torch.Tensor", world: World, pairs: Pairs) -> dict[str, dict[str, float]]:
    """Share of pictures nearer to the domain than to the base's world, for every way to describe pictures.

    The centroids are those of the domain's training pictures and of the base's drawings of its own concepts. Told apart
    are the domain's held-out pictures ("real"), the base's drawings of other concepts ("own"), and the pairs.
    """
    sets = {"real": held_out, "own": world.test, "base": pairs.base, "adapted": pairs.adapted}
    told = {}
    for name, kinds in world.features.items():
        worlds = Worlds(train, world.centroid, kinds)
        told[name] = {key: round(worlds.share_in_domain(px), 3) for key, px in sets.items()}
    return told


def choose_features(told: list[dict[str, dict[str, float]]]) -> str:
    """The way to describe pictures that tells real ones from the base's own best, over all demos; ties go to the first.

    The pairs play no part in the choice.
    """
    return max(told[0], key=lambda name: sum(each[name]["real"] - each[name]["own"] for each in told))
