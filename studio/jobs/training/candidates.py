"""Which of all that a run has been becomes its adapter: averages of snapshots, raw ones, the mean of the last."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from studio.evaluate.choose import choose
from studio.jobs.training.hooks import RunHooks
from studio.jobs.training.job import Job
from studio.methods import several
from studio.train import checkpoint
from studio.train.loop import Training

AVERAGED = 3  # the last so many raw snapshots form one more candidate (post-hoc averaging, Karras 2024)


def choose_adapter(job: Job, training: Training, hooks: RunHooks, ended: str) -> tuple[dict[str, Any], str]:
    """The best candidate, with its tensors under "state": averages of all snapshots, the raw best and last, the mean of the last."""
    whole = set(checkpoint.whole_steps(job.run.snapshots))
    averages = [{"step": s["step"], "average": "ema", "held_out": _finite(s)} for s in training.scores if s["step"] in whole]
    if len(averages) < len(training.scores) and several.keeps_every_snapshot(job.spec.methods):
        lost = ", ".join(str(s["step"]) for s in training.scores if s["step"] not in whole)
        job.emit("warning", message=f"the snapshots of steps {lost} are damaged or gone: they could not be chosen")
    if ended == "stopped" or not averages:
        last = {"step": training.step, "average": "ema", "held_out": None, "state": training.average.tensors}
        return last, "stopped here: the last average" if ended == "stopped" else "the last average"
    best, last = choose(averages)[0]["step"], averages[-1]["step"]
    further: dict[str, Callable[[], dict[str, Any]]] = {}  # read when they are needed: whole models are gigabytes each
    for step in sorted({best, last}):
        further[f"raw of step {step}"] = partial(checkpoint.read_snapshot, job.run.snapshots, step, "raw")
    if len(averages) >= AVERAGED:
        steps = [c["step"] for c in averages[-AVERAGED:]]
        further[f"mean of steps {steps}"] = partial(_mean, job.run.snapshots, steps)
    raw_steps = dict.fromkeys(further, last) | {f"raw of step {best}": best}
    candidates = averages + [
        {"step": raw_steps[name], "average": name, "held_out": _finite(hooks.measure(read(), ("held_out",)))}
        for name, read in further.items()
    ]
    chosen, reason = choose(candidates)
    read = further.get(chosen["average"]) or partial(checkpoint.read_snapshot, job.run.snapshots, chosen["step"], "ema")
    return chosen | {"state": read()}, reason


def _mean(snapshots: Path, steps: list[int]) -> dict[str, Any]:
    """The mean of the raw adapters of several snapshots."""
    states = [checkpoint.read_snapshot(snapshots, step, "raw") for step in steps]
    return {name: sum(s[name] for s in states) / len(states) for name in states[0]}


def _finite(scores: dict[str, Any]) -> dict[str, Any] | None:
    """The held-out score, None where there is none or an adapter that has diverged gave no number."""
    score = scores.get("held_out")
    return score if score and math.isfinite(score["log_ratio"]) else None
