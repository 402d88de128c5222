"""Seconds of base and adapted pictures side by side, against the diffusers pipeline called once per picture.

Compared, on a LoRA of rank 8 on attention, 256 px, DDIM, guidance 7.5: a pair in one pass and two calls (adapter disabled, then
enabled; beside it, adapter loaded and unloaded); the pair again at another strength, its base picture cached, and two calls; five
strengths in one pass and five calls. `max_pixel_difference` says how far the studio's pictures are from the pipeline's (of 255).

    python tests/bench/sampling.py [--rounds N] [--steps N]      as many denoising steps as a preview has, unless given
"""

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from common import interleaved, load, num_threads, parser, picture_dataset, report, small_sd, spec_with

from studio.families import sd
from studio.jobs.draw.adapted import Adapted, draw_pairs
from studio.jobs.runs.folders import Run
from studio.methods import lora
from studio.sample.pair import Sampling
from studio.spec import PreviewSpec
from studio.store import Workspace
from studio.train.randomness import generator

TARGET_PAIR, TARGET_AGAIN = 1.15, 1.8
PROMPT, SIZE_PX, GUIDANCE = "a red disc", 256, 7.5
STRENGTHS = [0.25, 0.5, 0.75, 1.0]  # beside the base


def make_adapted(workspace: Workspace, base: Path, root: Path) -> Adapted:
    """The base with an adapter that changes it, as if a run had trained it."""
    import torch

    data, _ = picture_dataset(workspace, root / "pictures")
    spec = spec_with(data, base, "method.rank=8", "method.targets=attention")
    parts = load(base)
    adapter = lora.attach(parts, spec.methods[0], sd.card, seed=0)
    for number, (name, weight) in enumerate(adapter.state().items()):
        if ".lora_B." in name:
            weight.data = torch.randn(weight.shape, generator=generator(number, "weights")) * 0.1
    return Adapted(Run(root / "run"), spec, sd, parts, adapter, "small", 1, adapter.state())


class Studio:
    """Draws as the studio does."""

    def __init__(self, workspace: Workspace, adapted: Adapted, steps: int) -> None:
        self.workspace, self.adapted, self.steps = workspace, adapted, steps

    def draw(self, seed: int, strengths: list[float]) -> list[Any]:
        """The base picture, from the cache where this seed was drawn before, then one per strength."""
        size = {"width": SIZE_PX, "height": SIZE_PX}
        sampling = Sampling(prompt=PROMPT, seed=seed, steps=self.steps, guidance=GUIDANCE, sampler="ddim", **size)
        return draw_pairs(self.workspace, self.adapted, [sampling], strengths, lambda: None)[0]


class Pipeline:
    """Draws as one does with diffusers: a call per picture."""

    def __init__(self, base: Path, adapted: Adapted, steps: int) -> None:
        self.pipe, self.steps = sd.pipeline(load(base)), steps
        self.pipe.set_progress_bar_config(disable=True)
        self.weights = lora.export(adapted.state, adapted.spec.methods[0], "diffusers", adapted.family.card)

    def load_adapter(self) -> None:
        """Put the adapter on the pipeline."""
        self.pipe.load_lora_weights(dict(self.weights), adapter_name="run")

    def _call(self, seed: int) -> Any:
        import torch

        noise = torch.randn(1, 4, SIZE_PX // 8, SIZE_PX // 8, generator=generator(seed, "noise"))  # as the studio's
        size = {"width": SIZE_PX, "height": SIZE_PX}
        return self.pipe(PROMPT, latents=noise, num_inference_steps=self.steps, guidance_scale=GUIDANCE, **size).images[0]

    def pair(self, seed: int) -> list[Any]:
        """Base and adapted at strength 1."""
        self.pipe.disable_lora()
        base = self._call(seed)
        self.pipe.enable_lora()
        return [base, self._call(seed)]

    def pair_loading(self, seed: int) -> list[Any]:
        """The same, with the adapter taken off for the base."""
        self.pipe.unload_lora_weights()
        base = self._call(seed)
        self.load_adapter()
        return [base, self._call(seed)]

    def sweep(self, seed: int) -> list[Any]:
        """Base and adapted at all strengths."""
        made = []
        for strength in (0.0, *STRENGTHS):
            self.pipe.set_adapters("run", strength)
            made.append(self._call(seed))
        self.pipe.set_adapters("run", 1.0)
        return made


def difference(ours: list[Any], theirs: list[Any]) -> int:
    """The largest difference between two lists of pictures, of 255."""
    import numpy

    return max(int(abs(numpy.asarray(a, int) - numpy.asarray(b, int)).max()) for a, b in zip(ours, theirs, strict=True))


def measure(root: Path, rounds: int, steps: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    base, workspace = small_sd(root / "base"), Workspace.at(root / "workspace")
    adapted = make_adapted(workspace, base, root)
    studio, pipeline = Studio(workspace, adapted, steps), Pipeline(base, adapted, steps)
    pipeline.load_adapter()
    first = studio.draw(0, STRENGTHS)
    seeds = count(1)  # a new one wherever the base must not be in the cache yet
    timing = interleaved(
        {
            "two_calls": lambda: pipeline.pair(0),
            "two_calls_loading": lambda: pipeline.pair_loading(0),
            "pair": lambda: studio.draw(next(seeds), [1.0]),
            "again": lambda: studio.draw(0, [0.6]),
            "five_calls": lambda: pipeline.sweep(0),
            "sweep": lambda: studio.draw(next(seeds), STRENGTHS),
        },
        rounds,
    )
    return {
        "two_calls_s": timing.seconds("two_calls"),
        "pair_s": timing.seconds("pair"),
        "pair_ratio": timing.ratio("two_calls", "pair"),
        "pair_cpu_ratio": timing.cpu_ratio("two_calls", "pair"),
        "target_pair_ratio": TARGET_PAIR,
        "pair_loading_ratio": timing.ratio("two_calls_loading", "pair"),
        "again_s": timing.seconds("again"),
        "again_ratio": timing.ratio("two_calls", "again"),
        "again_cpu_ratio": timing.cpu_ratio("two_calls", "again"),
        "target_again_ratio": TARGET_AGAIN,
        "again_over_one_pass_ratio": timing.ratio("pair", "again"),
        "five_calls_s": timing.seconds("five_calls"),
        "sweep_s": timing.seconds("sweep"),
        "sweep_ratio": timing.ratio("five_calls", "sweep"),
        "sweep_cpu_ratio": timing.cpu_ratio("five_calls", "sweep"),
        "max_pixel_difference": difference(first, pipeline.sweep(0)),
        "base_to_adapted_difference": difference(first[:1], first[-1:]),
    }


def main() -> None:
    line = parser(__doc__, 6)
    line.add_argument("--steps", type=int, default=PreviewSpec().steps, metavar="N", help="denoising steps of a picture")
    asked = line.parse_args()
    with tempfile.TemporaryDirectory() as place:
        figures = measure(Path(place), asked.rounds, asked.steps)
    report(what="sampling", rounds=asked.rounds, threads=num_threads(), steps=asked.steps, **figures)


if __name__ == "__main__":
    main()
