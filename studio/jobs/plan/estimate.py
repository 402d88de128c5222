"""What a run will cost in time, memory and disk: from earlier runs on the same base, else from a rough model. No torch here."""

import contextlib
import json
import os
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from studio import registry
from studio.dataset.rows import Dataset
from studio.encode.plan import num_samples
from studio.errors import StudioError
from studio.jobs.plan import planning
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run, list_runs
from studio.jobs.runs.metrics import read_machine
from studio.methods import several
from studio.models.bases import Base
from studio.models.memory_plan import LIBRARIES_GIB, Plan
from studio.models.sizes import read_sizes
from studio.spec import RunSpec
from studio.store import Workspace
from studio.train.checkpoint import copies_on_disk

TAIL = 65536  # bytes of each end of an event file
LOOKED_AT = 12  # newest runs
LAST, GUESS = "your last run on this base", "a guess for this machine"
START_S = 6.0  # libraries and the base, until the first picture is encoded
OPERATIONS = 0.23  # of a forward pass, per parameter and latent position (Stable Diffusion: 0.8 T at 860 M and 64 x 64)
BACKWARD = 3.0  # forward and backward pass, in forward passes
SPEED = {"cuda": 2e13, "mps": 2e12, "cpu": 1.1e11}  # operations a second in practice; on CPUs per core
RECOMPUTED = 1.33  # a step with gradient checkpointing, in steps without
FURTHER_CANDIDATES = 1.5  # held-out measures when a run ends, in whole scores


@dataclass(frozen=True)
class _Cost:
    """What single things take, in seconds; and memory and file size where they are known."""

    start: float
    picture: float  # caching one
    sample: float  # one picture in one optimizer step
    forward: float  # one picture through the denoiser, without gradients
    memory_gib: float
    adapter_mib: float
    source: str
    spread: tuple[float, float]


def estimate(workspace: Workspace, spec: RunSpec, dataset: Dataset, base: Base) -> dict[str, Any]:
    """{"seconds", "seconds_low", "seconds_high", "memory_gib", "disk_mib", "fits", "reason", "source", "samples"} of a run with this spec.

    `samples` are the crops, turns and other versions of its training pictures that are encoded and kept.
    """
    memory = planning.plan_of(workspace, spec, base)
    cost = _from_past(workspace, spec, base, memory) or _guess(workspace, spec, base, memory)
    own, multiple = base.shape_px
    samples = num_samples(dataset.rows, spec.base.size_px or own, multiple, spec.data)
    seconds = cost.start + (samples + len(dataset.held_out_rows)) * cost.picture + spec.train.steps * spec.train.batch_size * cost.sample
    pictures = len(spec.preview.prompts) * spec.preview.steps * (2 if spec.preview.guidance > 1 else 1)
    if spec.preview.at_steps:
        seconds += (len(spec.preview.at_steps) + 1) * pictures * cost.forward
    seconds += _prior_seconds(spec, cost)
    held_out = min(len(dataset.held_out_rows), spec.evaluate.max_images)
    scores = len(spec.train.snapshot_steps) + 1 + FURTHER_CANDIDATES
    seconds += scores * 2 * held_out * spec.evaluate.num_timesteps * cost.forward
    disk = cost.adapter_mib * copies_on_disk(len(spec.train.snapshot_steps), several.keeps_every_snapshot(spec.methods)) + 16
    low, high = cost.spread
    told = {"seconds": round(seconds, 1), "seconds_low": round(seconds * low, 1), "seconds_high": round(seconds * high, 1)}
    told |= {"memory_gib": round(cost.memory_gib, 2), "disk_mib": round(disk), "source": cost.source, "samples": samples}
    told |= {"plan": memory.words(), "plan_details": memory.details(), "plan_gib": memory.peak_gib}
    drawing = planning.drawing_of(workspace, spec, base)
    told |= {"drawing": drawing.words(), "drawing_fits": drawing.fits}
    reason = _too_much(workspace, cost.memory_gib, disk, cost.source == LAST, lambda: planning.way_out(workspace, spec, base))
    return told | {"fits": reason is None, "reason": reason}


def _prior_seconds(spec: RunSpec, cost: _Cost) -> float:
    """What DreamBooth's prior costs beside the plain run: class pictures once, and a second batch in every step."""
    if not spec.prior.weight:
        return 0.0
    samples = spec.train.steps * spec.train.batch_size
    if spec.prior.match == "outputs":
        return samples * (cost.sample + cost.forward)
    drawn = spec.prior.count * spec.prior.steps * (2 if spec.prior.guidance > 1 else 1)
    return samples * cost.sample + drawn * cost.forward + spec.prior.count * cost.picture


def in_words(seconds: float) -> str:
    """A length of time as roughly as it is known: "under 1 min", "about 3 min", "about 2 h", "about 3 days"."""
    minutes = seconds / 60
    if minutes < 0.75:
        return "under 1 min"
    if minutes < 50:
        rough = round(minutes) if minutes < 10 else 5 * round(minutes / 5)
        return f"about {max(1, rough)} min"
    hours = minutes / 60
    if hours < 36:
        return f"about {round(hours) or 1} h" if hours >= 2 else f"about {round(2 * hours) / 2:g} h"
    return f"about {round(hours / 24)} days"


def _too_much(workspace: Workspace, memory_gib: float, disk_mib: float, is_known: bool, way_out: Callable[[], str]) -> str | None:
    """Why this will not fit; None where it does."""
    machine = read_machine(workspace)
    on_gpu = machine.get("device") == "cuda" and isinstance(machine.get("memory_gib"), int | float)
    there = machine["memory_gib"] if on_gpu else psutil.virtual_memory().total / 2**30
    if memory_gib > there:
        what = "the GPU has" if on_gpu else "this machine has"
        out = way_out() or "choose a smaller base, size, batch or micro-batch"
        return f"needs about {memory_gib:.1f} GiB of memory, {what} {there:.1f}: {out}"
    free = shutil.disk_usage(workspace.root).free / 2**20
    if disk_mib > free:
        return f"needs about {disk_mib:.0f} MiB of disk, {free:.0f} are free: free some space, or keep fewer snapshots"
    available = psutil.virtual_memory().available / 2**30
    if not on_gpu and memory_gib > available and not is_known:
        return f"needs about {memory_gib:.1f} GiB of memory, {available:.1f} are free now: close other programs first"
    return None


def _from_past(workspace: Workspace, spec: RunSpec, base: Base, memory: Plan) -> _Cost | None:
    """What the newest comparable run took."""
    kinds = [m.kind for m in spec.methods]
    for run in reversed(list_runs(workspace)[-LOOKED_AT:]):
        with contextlib.suppress(StudioError, OSError, KeyError, TypeError, ValueError, statistics.StatisticsError):
            past = run.spec()
            same = past.base.source == base.source and [m.kind for m in past.methods] == kinds and past.base.size_px == spec.base.size_px
            if same and past.train.precision == spec.train.precision and run.adapter.is_file():
                return _measure(run, past, spec, memory)
    return None


def _measure(run: Run, past: RunSpec, spec: RunSpec, plan: Plan) -> _Cost:
    head, tail = _ends(run)
    sample = statistics.median(e["seconds"] for e in tail if e["kind"] == "step") / past.train.batch_size
    cached = next((e for e in head if e["kind"] == "cached"), {"made": 0})
    picture = cached["seconds"] / cached["made"] if cached["made"] else 2 * sample
    pictures = len(past.preview.prompts) * past.preview.steps * (2 if past.preview.guidance > 1 else 1)
    drawn = [e["time"] - before["time"] for before, e in zip(tail, tail[1:], strict=False) if e["kind"] == "preview" and not e["base"]]
    forward = statistics.median(drawn) / pictures if drawn and pictures else sample / BACKWARD
    peak = next(e["peak_memory_gib"] for e in reversed(tail) if isinstance(e.get("peak_memory_gib"), int | float))
    begun = planning.read(run)
    once = plan.micro_batch or spec.train.micro_batch or spec.train.batch_size
    held = (begun and begun.micro_batch) or past.train.micro_batch or past.train.batch_size
    activations = max(0.0, peak - LIBRARIES_GIB) / 2  # about half of what lies above the libraries grows with the batch
    memory = peak - activations + activations * once / held
    return _Cost(START_S, picture, sample, forward, memory, run.adapter.stat().st_size / 2**20, LAST, (0.8, 1.3))


def _ends(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first and the last events of a run."""
    size = run.events.stat().st_size
    tail = read_events(run.events, max(0, size - TAIL))[0]
    if size <= TAIL:
        return tail, tail
    with open(run.events, "rb") as file:
        lines = file.read(TAIL).split(b"\n")[:-1]
    head = []
    for line in lines:
        with contextlib.suppress(ValueError):
            head.append(json.loads(line))
    return head, tail


def _guess(workspace: Workspace, spec: RunSpec, base: Base, memory: Plan) -> _Cost:
    """From the size of the denoiser and of its latents, and what this machine computes in a second."""
    machine = read_machine(workspace)
    device = machine.get("device") if machine.get("device") in SPEED else "cpu"
    speed = SPEED[device] * (physical_cores() if device == "cpu" else 1)
    sizes = read_sizes(base.path, registry.family(base.family).card) or planning.NO_SIZES
    side = sizes.side * (spec.base.size_px or sizes.size_px) / sizes.size_px
    operations = 2 / sizes.patch**2 if sizes.width else OPERATIONS  # a transformer's: two per parameter and token
    forward = operations * sizes.denoiser * side * side / speed
    sample = BACKWARD * forward
    if memory.checkpointing:
        sample *= RECOMPUTED
    trained = several.trained(spec.methods, sizes)
    spread = (0.5, 2.0) if device == "cpu" else (0.3, 3.0)
    return _Cost(START_S, 2 * sample, sample, forward, memory.peak_gib, trained * 4 / 2**20, GUESS, spread)


def physical_cores() -> int:
    """Cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
