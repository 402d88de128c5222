"""The training loop: only the denoiser in it, step as its only clock, everything else through hooks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from studio.dataset.kohya import shared_out
from studio.device import peak_memory_gib
from studio.encode.build import Encoded
from studio.errors import StudioError
from studio.families.base import Parts
from studio.methods import several
from studio.methods.base import Attached
from studio.spec import RunSpec
from studio.train import checkpoint, optim, recorded
from studio.train.objective import Batch, batch_loss, draw_batch, kept_loss
from studio.train.schedule import BatchPlan, lr_factor

if TYPE_CHECKING:
    from torch import Tensor

Emit = Callable[..., None]
DROPOUT_FROM = 20  # pictures; below, every caption is needed
MAX_NAMED = 4  # pictures of a batch that an error names
MAX_OVERFLOWS = 24


class Hooks(Protocol):
    """What the loop asks of later stages; called between steps, never changing the adapter."""

    def evaluate(self, step: int, ema: "dict[str, Tensor]") -> dict[str, Any]: ...
    def preview(self, step: int, ema: "dict[str, Tensor]") -> None: ...
    def stop_requested(self) -> bool: ...
    def overfit(self, scores: list[dict[str, Any]]) -> str | None: ...


@dataclass
class Training:
    """A run in memory: what is trained, with what, and how far it is."""

    spec: RunSpec
    family: ModuleType
    parts: Parts
    adapter: Attached
    encoded: Encoded
    folder: Path
    precision: str
    prior: Encoded | None = None  # DreamBooth's: class pictures, or the same pictures with the class's captions
    record: bool = False  # steps are recorded as CUDA graphs
    step: int = 0
    scores: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from accelerate import Accelerator

        self.need()  # optimizer and average lie where the adapter does
        train = self.spec.train
        mixed = {"fp32": "no"}.get(self.precision, self.precision)
        self.accelerator = Accelerator(mixed_precision=mixed, cpu=self.parts.device.type == "cpu")
        self.optimizer = optim.make_optimizer(self.adapter.groups(), self.parts.device, train.optimizer)
        self.average = optim.Average(self.adapter, train.ema_decay)
        self._ahead: tuple[int, Batch] | None = None
        self.recorded = recorded.Steps(self, compiled=train.compile) if self.record and self.accelerator.scaler is None else None
        self.items = self.encoded.train
        self.plan = BatchPlan([i.bucket for i in self.items], train.batch_size, train.seed, shared_out([i.repeats for i in self.items]))
        self.prior_plan = BatchPlan([i.bucket for i in self.prior.train], train.batch_size, train.seed) if self.prior else None
        dropout = self.spec.data.caption_dropout
        self.caption_dropout = (0.05 if sum(not i.is_lying for i in self.items) >= DROPOUT_FROM else 0.0) if dropout is None else dropout

    def need(self) -> None:
        """Have on the device what a training step takes, and nothing else where the plan says so."""
        live = several.live(self.spec.methods) & set(self.family.card.text_encoders)
        self.parts.need(self.family.card.denoiser, *sorted(live | (self.adapter.components - {self.family.card.denoiser})))

    def draw(self, step: int) -> Batch:
        """The global batch of step `step` (from 0)."""
        if self._ahead and self._ahead[0] == step:
            return self._ahead[1]
        items = [self.items[i] for i in self.plan.batch(step)]
        return draw_batch(items, self.encoded, self.spec, step, self.caption_dropout)

    def draw_ahead(self) -> None:
        """Draw the next step's batch while a GPU is still at this one: draws depend on the step alone."""
        if self.parts.device.type != "cpu" and self.step + 1 < self.spec.train.steps:
            self._ahead = self.step + 1, self.draw(self.step + 1)

    def draw_prior(self, step: int) -> Batch | None:
        """The prior's global batch of a step; the same noise on the same pictures where the base's outputs are matched."""
        if self.prior is None:
            return None
        items = [self.prior.train[i] for i in self.prior_plan.batch(step)]
        return draw_batch(items, self.prior, self.spec, step, 0.0, "" if self.spec.prior.match == "outputs" else "prior-")

    def save_snapshot(self) -> None:
        """Keep the adapter, raw and averaged, as it is at this step."""
        checkpoint.write_snapshot(self.folder / "snapshots", self.step, self.adapter.state(), self.average.tensors)

    def save_resume_point(self) -> None:
        """Keep all that the run needs to continue from this step."""
        live = self.adapter.state()
        tensors = {"raw": live, "ema": self.average.tensors, "optimizer": optim.optimizer_tensors(self.optimizer, live)}
        scaler = self.accelerator.scaler
        state = {"scores": self.scores, "scaler": scaler.state_dict() if scaler else None}
        checkpoint.write_resume_point(self.folder / "resume", self.step, tensors, state)

    def restore(self) -> bool:
        """Go to the newest whole resume point; False where there is none."""
        for name in ("resume", "snapshots"):
            checkpoint.remove_partial(self.folder / name)
        found = checkpoint.read_resume_point(self.folder / "resume")
        if found is None:
            return False
        tensors, state = found
        self.step, self.scores = state["step"], state["scores"]
        self.adapter.restore(tensors["raw"])
        self.average.restore(tensors["ema"])
        optim.restore_optimizer(self.optimizer, self.adapter.state(), tensors["optimizer"], self.step)
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return True


def train(run: Training, hooks: Hooks, emit: Emit) -> str:
    """Train to the end, a stop request or an early stop; returns "finished", "stopped" or "early". StudioError on NaN."""
    spec = run.spec.train
    while run.step < spec.steps:
        started = time.perf_counter()
        loss, norm, lr = optimizer_step(run)
        run.average.update(run.step)
        run.step += 1
        emit("step", step=run.step, loss=loss, grad_norm=norm, lr=lr, seconds=round(time.perf_counter() - started, 4))
        if run.recorded and run.recorded.trouble:
            emit("warning", message=f"this base's steps cannot be recorded, so they take longer ({run.recorded.trouble})")
            run.recorded = None
        _after_step(run, hooks, emit)
        verdict = hooks.overfit(run.scores) if spec.early_stop and run.step < spec.steps else None
        stopping = verdict is not None or hooks.stop_requested()
        if stopping or run.step % spec.resume_every == 0 or run.step == spec.steps:
            run.save_resume_point()
        if verdict:
            emit("early_stop", step=run.step, message=verdict)
            return "early"
        if stopping and run.step < spec.steps:
            run.save_snapshot()
            return "stopped"
    return "finished"


def _after_step(run: Training, hooks: Hooks, emit: Emit) -> None:
    """Snapshot, held-out score and preview where this step has them."""
    if run.step in run.spec.train.snapshot_steps:
        run.save_snapshot()
        emit("snapshot", step=run.step, peak_memory_gib=round(peak_memory_gib(run.parts.device), 3))
        run.scores.append({"step": run.step, **hooks.evaluate(run.step, run.average.tensors)})
        if not several.keeps_every_snapshot(run.spec.methods):
            checkpoint.keep_only(run.folder / "snapshots", {run.step, _best_step(run.scores)})
    if run.step in run.spec.preview.at_steps:
        hooks.preview(run.step, run.average.tensors)


def _best_step(scores: list[dict[str, Any]]) -> int | None:
    """The step with the lowest held-out loss so far; None where nothing is held out."""
    measured = [s for s in scores if s.get("held_out")]
    return min(measured, key=lambda s: s["held_out"]["log_ratio"])["step"] if measured else None


def optimizer_step(run: Training) -> tuple[float, float, float]:
    """One optimizer step on the global batch: (loss, gradient norm before clipping, learning rate); fp16 overflows repeat it."""
    for _ in range(MAX_OVERFLOWS):
        loss, norm = _accumulate(run)
        if _finite(loss, norm):
            break
        if run.accelerator.scaler is None or not _finite(loss):
            _refuse(run, loss, norm)
        run.accelerator.scaler.update()  # halves the scale, because unscale_ met the overflow; weights and step stay
    else:
        _refuse(run, loss, norm)
    lr = optim.set_lr(run.optimizer, lr_factor(run.step, run.spec.train.steps, run.spec.train.warmup_share))
    if run.accelerator.scaler:
        run.accelerator.scaler.step(run.optimizer)
        run.accelerator.scaler.update()
    else:
        run.optimizer.step()
    return loss, norm, lr


def _accumulate(run: Training) -> tuple[float, float]:
    """Gradients of the global batch, summed over micro-batches, clipped: (loss, norm before clipping)."""
    import torch

    spec, batch = run.spec.train, run.draw(run.step)
    run.optimizer.zero_grad(set_to_none=True)
    total: Any = 0.0
    for part in batch.micro(spec.micro_batch or len(batch)):
        total = total + _backward(run, part, len(batch))
    prior = run.draw_prior(run.step)
    for part in prior.micro(spec.micro_batch or len(prior)) if prior else ():
        total = total + _backward(run, part, len(prior), run.spec.prior.weight, run.spec.prior.match == "outputs")
    if run.accelerator.scaler:
        run.accelerator.scaler.unscale_(run.optimizer)
    params = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(params, spec.max_grad_norm or float("inf"))
    run.draw_ahead()
    return float(total), float(norm)  # the first that waits for the device


def _backward(run: Training, part: Batch, global_size: int, weight: float = 1.0, to_outputs: bool = False) -> "Tensor":
    """Add the gradients of a micro-batch's loss, or of its distance from the base's own outputs; its share [] of the global loss."""
    if run.recorded and not to_outputs:
        loss = run.recorded.backward(part, global_size, weight)
        if loss is not None:
            return loss
    gamma = run.spec.train.min_snr_gamma
    with run.accelerator.autocast():
        if to_outputs:
            loss = weight * kept_loss(run.family, run.parts, run.adapter, part, gamma, global_size)
        else:
            loss = weight * batch_loss(run.family, run.parts, part, gamma, global_size)
    run.accelerator.backward(loss)
    return loss.detach()


def _finite(*values: float) -> bool:
    return all(abs(v) < float("inf") for v in values)


def _refuse(run: Training, loss: float, norm: float) -> None:
    """Stop before the weights change, keeping them, and name the step, the pictures and the first remedy."""
    run.optimizer.zero_grad(set_to_none=True)
    if run.step:
        run.save_snapshot()
    elif not run.spec.start_from and not _finite(loss):  # nothing is trained yet: the adapter changes nothing
        raise StudioError(
            f"{run.parts.source}: this base answers with no numbers before anything is trained (loss {loss}): its weights are damaged, "
            "or too large for its precision: try train.precision=fp32, or fetch it again"
        )
    files = list(dict.fromkeys(run.draw(run.step).files))
    told = ", ".join(files[:MAX_NAMED]) + (f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else "")
    finer = "" if run.precision == "fp32" else ", or train.precision=fp32"
    raise StudioError(
        f"step {run.step + 1}: the loss is no longer a number (loss {loss}, gradient norm {norm}); pictures: {told}. "
        f"The adapter as of step {run.step} is kept: start again with a lower learning rate (method.lr){finer}"
    )
