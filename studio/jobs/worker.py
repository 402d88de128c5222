"""One run from spec to adapter, in a process of its own: the only place where all stages meet."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studio.device import is_out_of_memory, peak_memory_gib, pick_device
from studio.domains import contradicted
from studio.encode.build import Encoded, Encoder, encode_dataset
from studio.encode.cache import Cache
from studio.errors import StudioError, log_traceback, one_line
from studio.families import editions
from studio.families.assembly import title_of
from studio.families.base import Parts
from studio.jobs.plan import planning
from studio.jobs.processes import libraries
from studio.jobs.processes.warm import load_base
from studio.jobs.runs import queue
from studio.jobs.runs.events import plain
from studio.jobs.runs.folders import Run
from studio.jobs.runs.identity import base_identity
from studio.jobs.runs.origin import write_origin
from studio.jobs.training.candidates import choose_adapter
from studio.jobs.training.hooks import RunHooks
from studio.jobs.training.job import Job, Stopped
from studio.jobs.training.prior import Maker, encode_prior
from studio.methods import several
from studio.methods.imports import add_alphas, rename, said_by
from studio.methods.layers import LayerSpec
from studio.models.bases import check, find_base
from studio.recipes import worded
from studio.spec import RunSpec
from studio.store import read_metadata, read_tensors, require_free, tensors_to_bytes, write_bytes, write_json
from studio.train import checkpoint
from studio.train.loop import Training, train
from studio.train.memory import memory_of, obey

CACHING_EVERY_S = 0.5


def main(folder: Path, queued: bool = False) -> int:
    """Work on the run in `folder` until it ends, `queued` when it is its turn; 0 when it finished or was stopped, 1 when it failed."""
    run = Run(folder)
    try:
        with FileLock(folder / ".lock", timeout=10):
            return _work(Job(run), queued)
    except Timeout:
        print(f"run {run.id} is already being worked on", file=sys.stderr)
        return 1
    except Exception as error:
        log_traceback()
        run.write_status("failed", error=one_line(error))
        return 1


def _work(job: Job, queued: bool) -> int:
    try:
        if queued:
            _wait_turn(job)
        job.status("preparing")
        state, facts = _run(job)
        job.status(state, **facts)
        return 0
    except Stopped:
        step = max(checkpoint.whole_steps(job.run.folder / "resume"), default=0)
        job.emit("stopped", step=step)
        job.status("stopped", step=step)
        return 0
    except Exception as error:
        log_traceback()
        if is_out_of_memory(error):
            error = MemoryError()
        line = one_line(error)
        if not isinstance(error, StudioError | OSError | MemoryError):
            line += f" (details: {job.run.folder / 'log.txt'})"
        _tell_failure(job, line)
        return 1


def _wait_turn(job: Job) -> None:
    """Return when no run of the workspace goes before this one; nothing is loaded meanwhile."""
    joined = queue.place_of(job.run) or time.time()
    job.status("queued", queued=joined)
    first = told = None
    while first := queue.first_ahead(job.workspace, job.run, joined, first):
        if first != told:
            told = first
            job.emit("queued", behind=first.id)
        if job.stopping():
            raise Stopped
        time.sleep(queue.POLL_S)


def _tell_failure(job: Job, line: str) -> None:
    try:
        job.emit("error", message=line)
    except OSError:
        log_traceback()  # a full disk must not hide the first error
    try:
        job.status("failed", error=line)
    except OSError:
        job.run.overwrite_status("failed", error=line)


def _run(job: Job) -> tuple[str, dict[str, Any]]:
    started = time.monotonic()
    libraries.load()
    training = _prepare(job)
    hooks = RunHooks(job.run, training, job.emit, job.stopping, job.status)
    hooks.prepare()
    job.status("running")
    resumed_at = training.step
    job.emit("started" if not resumed_at else "resumed", step=resumed_at, steps=job.spec.train.steps, layers=training.adapter.num_layers)
    ended = train(training, hooks, job.emit) if training.step < job.spec.train.steps else "finished"
    job.status("finishing")
    chosen, reason = choose_adapter(job, training, hooks, ended)
    _require_effect(training, chosen["state"])
    write_bytes(job.run.adapter, tensors_to_bytes(chosen.pop("state")))
    scores = {"schema": 1, "chosen": chosen, "reason": reason, "scores": training.scores}
    write_json(job.run.folder / "scores.json", plain(scores))
    peak = round(peak_memory_gib(training.parts.device), 3)
    seconds = round(time.monotonic() - started, 1)
    state = "stopped" if ended == "stopped" else "finished"
    job.emit(state, step=training.step, chosen=chosen, reason=reason, peak_memory_gib=peak, seconds=seconds)
    return state, {"step": training.step, "peak_memory_gib": peak}


def _prepare(job: Job) -> Training:
    """Everything up to the first step: base loaded, dataset encoded, method attached, newest resume point restored."""
    from studio.dataset.rows import open_dataset

    spec = job.spec
    dataset = open_dataset(job.workspace, spec.dataset)
    base = find_base(spec.base.source, job.workspace)
    check(base)
    device = pick_device()
    plan = planning.settled(job.run, spec, base, job.workspace, memory_of(device))
    family, parts, precision = load_base(base, spec.base, spec.train.precision, plan.offload or plan.bits < 16)
    job.emit("planned", text=plan.words(), details=plan.details(), peak_gib=plan.peak_gib, fits=plan.fits)
    obey(plan, parts, family.card)
    spec.train.micro_batch = plan.micro_batch or spec.train.micro_batch
    identity = base_identity(base.path, job.workspace)
    job.emit("loaded", base=spec.base.source, family=family.card.title, device=str(parts.device), precision=precision)
    for note in filter(None, (parts.facts.note, editions.note(base.path, title_of(base.path)))):
        job.emit("warning", message=note)
    write_origin(job.run, dataset, identity, str(parts.device), lambda message: job.emit("warning", message=message))

    told = 0.0

    def tell(kind: str, done: int, total: int) -> None:
        nonlocal told
        if job.stopping():
            raise Stopped
        if done == total or time.monotonic() - told > CACHING_EVERY_S:
            told = time.monotonic()
            job.emit(kind, done=done, total=total)

    progress = partial(tell, "caching")

    begun = time.monotonic()
    encoder = Encoder(family, parts, identity, Cache(job.workspace.cache / "encoded"))
    first = _first_tensors(job, parts)
    adapter = several.attach(parts, spec.methods, family.card, spec.train.seed)  # before the encoding: what cannot be is said at once
    text_is_live = bool(several.live(spec.methods) & set(family.card.text_encoders))
    encoded = encode_dataset(dataset, encoder, spec, text_is_live, progress, partial(worded, spec))
    _tell_encoded(job, encoded, time.monotonic() - begun)
    if spec.start_kind == "run" and first:
        adapter.restore(first)
    elif first:
        job.emit("imported", layers=adapter.load(first))
    _require_space(job, adapter.state(), spec)
    maker = Maker(family, parts, adapter, identity, partial(tell, "class_pictures"))
    prior = encode_prior(dataset, encoder, spec, text_is_live, progress, maker)
    training = Training(spec, family, parts, adapter, encoded, job.run.folder, precision, prior, plan.recorded)
    training.restore()
    return training


def _first_tensors(job: Job, parts: Parts) -> dict[str, Any]:
    """The weights that the run begins with: a run's own, or a file's, all of whose layers must be on this base; or none."""
    if not job.spec.start_from:
        return {}
    file = job.run.folder / job.spec.start_from
    first = read_tensors(file)
    if job.spec.start_kind == "run":
        return first
    if any(isinstance(spec, LayerSpec) for spec in job.spec.methods):
        found = rename(first, parts.modules, lambda *_: "")
        if found.unmatched:
            raise StudioError(f"start_from: {found.words()}: choose the base it was made for")
    return add_alphas(first, said_by(read_metadata(file), file.with_suffix(".json")))


def _tell_encoded(job: Job, encoded: Encoded, seconds: float) -> None:
    if not encoded.train:
        raise StudioError("dataset: every picture is held out, none is left to train on: add pictures")
    job.emit("cached", made=encoded.num_made, reused=encoded.num_reused, seconds=round(seconds, 2))
    if encoded.long_captions:
        count, (file, read, rest) = len(encoded.long_captions), encoded.long_captions[0]
        shown = f"first: {file}, which is read to “…{read[-40:]}”; not read: “{rest[:80]}{'…' if rest[80:] else ''}”"
        job.emit("warning", message=f"{count} captions are longer than this model reads; their ends are not used ({shown})")
    if untrue := contradicted({item.file: item.caption for item in encoded.train}.values(), job.spec.data.flip, job.spec.data.turns):
        job.emit("warning", message=untrue)
    if not encoded.held_out:
        job.emit("warning", message="nothing is held out: this run cannot say how it does on unseen pictures")


def _require_space(job: Job, state: dict[str, Any], spec: RunSpec) -> None:
    adapter = sum(t.numel() * 4 for t in state.values())
    needed = adapter * checkpoint.copies_on_disk(len(spec.train.snapshot_steps), several.keeps_every_snapshot(spec.methods)) + 2**24
    require_free(job.run.folder, needed, "this run with its snapshots")


def _require_effect(training: Training, state: dict[str, Any]) -> None:
    """StudioError when the adapter does not change what the base predicts, or makes it predict no numbers."""
    import torch

    from studio.jobs.training.hooks import showing
    from studio.train.objective import sample_losses

    batch = training.draw(0)
    with torch.no_grad(), showing(training.adapter, state):
        with training.adapter.at([0.0]):
            base = sample_losses(training.family, training.parts, batch)[0]
        adapted = sample_losses(training.family, training.parts, batch)[0]
    if not adapted.isfinite().all():
        raise StudioError("the adapter has diverged, its predictions are not numbers: start again with a lower method.lr")
    if torch.equal(base, adapted):
        raise StudioError("the adapter changes nothing: raise method.lr or train.steps, or choose other method.targets")


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), "--queued" in sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)  # all is written; taking the libraries down properly would only cost seconds
