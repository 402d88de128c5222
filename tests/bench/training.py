"""Training steps per second against a loop that does what the diffusers LoRA example does.

Compared: the studio's loop (latents and text cached, only the denoiser in it) and the example's (decode, VAE and text encoder in
every step); batch 4, rank 8 on attention, fp32, averaging (EMA) and clipping off in both. Beside it the studio with everything
on as by default, and the share of a step that events, averaging, snapshots and resume points take: each timed by itself, what
is written at intervals spread over its interval. Held-out scores and previews, which a person may turn off, stand apart.

    python tests/bench/training.py [--rounds N]
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Timing, interleaved, load, num_parameters, num_threads, parser, picture_dataset, report, small_sd, spec_with
from example import Example

from studio.evaluate.heldout import HeldOut
from studio.jobs.runs.events import EventLog
from studio.sample.pair import Sampling, Shot, draw
from studio.spec import RunSpec
from studio.store import Workspace
from studio.train.loop import Training, train
from tests.fixtures.runs import NoHooks, training

TARGET_RATIO, TARGET_SHARE = 1.4, 0.03
STEPS = 4  # per round
REPEATS = 20  # of what takes about a millisecond
BATCH, RANK, LR = 4, 8, 1e-4
EQUAL = (f"train.batch_size={BATCH}", f"method.rank={RANK}", f"method.lr={LR}", "method.targets=attention")
UNWRITTEN = ("train.resume_every=1000000", "train.snapshot_every=1000000")  # what is written is timed by itself
BARE = ("train.max_grad_norm=0", "train.ema_decay=0", "train.min_snr_gamma=0", "data.caption_dropout=0")


class Paused(Exception):
    """A round of steps is done."""


class Round(NoHooks):
    """Hooks that leave the loop after STEPS steps; called again, it goes on from there."""

    def stop_requested(self) -> bool:
        self.calls += 1
        if self.calls == STEPS:
            raise Paused
        return False


def some_steps(run: Training, emit: Callable[..., None]) -> None:
    """STEPS steps of the studio's loop."""
    try:
        train(run, Round(), emit)
    except Paused:
        return
    raise AssertionError("the run has ended: fewer rounds, please")


def silent(kind: str, **values: Any) -> None:
    """Where events go that nobody keeps."""


def make_ways(example: Example, bare: Training, full: Training, log: EventLog) -> dict[str, Callable[[], object]]:
    """What is timed in turn; the full run is at another step each time it writes a snapshot or resume point."""
    import torch

    params = list(full.adapter.state().values())

    def emit() -> None:
        for _ in range(REPEATS):
            log.emit("step", step=full.step, loss=0.123456789, grad_norm=0.0123456789, lr=LR, seconds=0.1234)
            log.flush()  # as where steps are longer than the log waits

    return {
        "example": lambda: example.train(STEPS),
        "bare": lambda: some_steps(bare, silent),
        "full": lambda: some_steps(full, log.emit),
        "events": emit,
        "average": lambda: [full.average.update(full.step) for _ in range(REPEATS)],
        "clipping": lambda: [torch.nn.utils.clip_grad_norm_(params, 1.0) for _ in range(REPEATS)],
        "snapshot": full.save_snapshot,
        "resume_point": full.save_resume_point,
    }


def seconds_per_step(timing: Timing, defaults: RunSpec) -> dict[str, float]:
    """What each part adds to a step at its default interval."""
    spec = defaults.train
    return {
        "events": timing.seconds("events") / REPEATS,
        "average": timing.seconds("average") / REPEATS,
        "snapshots": timing.seconds("snapshot") * len(spec.snapshot_steps) / spec.steps,
        "resume_points": timing.seconds("resume_point") / spec.resume_every,
    }


def score_seconds(run: Training, defaults: RunSpec) -> float:
    """Seconds of one held-out score, from one picture of each set."""
    held_out = HeldOut(run.family, run.parts, run.encoded, defaults.evaluate.model_copy(update={"max_images": 1}))
    began = time.perf_counter()
    held_out.measure_base(run.adapter)
    return (time.perf_counter() - began) * min(defaults.evaluate.max_images, len(run.encoded.held_out))


def preview_seconds(run: Training, defaults: RunSpec) -> float:
    """Seconds of drawing one preview of every prompt."""
    spec, size_px = defaults.preview, run.parts.facts.size_px
    how = {"seed": spec.seed, "steps": spec.steps, "guidance": spec.guidance, "sampler": spec.sampler}
    shots = [Shot(sampling=Sampling(prompt=p, width=size_px, height=size_px, **how), strength=1.0) for p in spec.prompts]
    began = time.perf_counter()
    draw(run.family, run.parts, run.adapter, shots, batchable=False)
    return time.perf_counter() - began


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    base, workspace = small_sd(root / "base"), Workspace.at(root / "workspace")
    data, folder = picture_dataset(workspace, root / "pictures")
    defaults = spec_with(data, base, *EQUAL)
    example = Example(base, folder, BATCH, RANK, LR)
    bare = training(workspace, data, load(base), spec_with(data, base, *EQUAL, *UNWRITTEN, *BARE), root / "bare")
    full = training(workspace, data, load(base), spec_with(data, base, *EQUAL, *UNWRITTEN), root / "full")
    assert example.num_trained == sum(p.numel() for p in bare.adapter.state().values())
    timing = interleaved(make_ways(example, bare, full, EventLog(root / "events.jsonl")), rounds)
    step = timing.seconds("bare") / STEPS
    parts = seconds_per_step(timing, defaults)
    written = (parts["snapshots"] + parts["resume_points"]) / step
    all_on = timing.ratio("full", "bare") + written
    spec = defaults.train
    return {
        "unet_parameters": num_parameters(load(base).modules["unet"]),
        "layers": bare.adapter.num_layers,
        "example_steps_per_s": STEPS / timing.seconds("example"),
        "steps_per_s": 1 / step,
        "ratio": timing.ratio("example", "bare"),
        "cpu_ratio": timing.cpu_ratio("example", "bare"),
        "target_ratio": TARGET_RATIO,
        "all_on_steps_per_s": 1 / (step * all_on),
        "all_on_ratio": timing.ratio("example", "full") / (1 + written),
        "all_on_over_bare": all_on - 1,
        "cpu_all_on_over_bare": timing.cpu_ratio("full", "bare") + written - 1,
        "share": sum(parts.values()) / step,
        "target_share": TARGET_SHARE,
        "added_ms_per_step": {name: round(value * 1000, 3) for name, value in parts.items()},
        "clipping_share": timing.seconds("clipping") / REPEATS / step,
        "snapshot_s": timing.seconds("snapshot"),
        "resume_point_s": timing.seconds("resume_point"),
        "scores_share": score_seconds(full, defaults) * len(spec.snapshot_steps) / spec.steps / step,
        "previews_share": preview_seconds(full, defaults) * len(defaults.preview.at_steps) / spec.steps / step,
    }


def main() -> None:
    rounds = parser(__doc__, 8).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        report(what="training", rounds=rounds, threads=num_threads(), **measure(Path(place), rounds))


if __name__ == "__main__":
    main()
