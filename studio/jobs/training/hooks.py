"""What happens between a run's steps: held-out scores, previews, stop requests."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.evaluate.heldout import HeldOut, overfit_since
from studio.jobs.processes import park
from studio.jobs.runs.folders import Run
from studio.methods.base import Attached
from studio.sample.pair import Sampling, Shot, draw
from studio.sample.pictures import write_png
from studio.store import read_json, write_json
from studio.train.checkpoint import step_folder
from studio.train.loop import Emit, Training

if TYPE_CHECKING:
    from torch import Tensor


BASE_LOSSES = "base-losses.json"


@contextmanager
def showing(adapter: Attached, state: "dict[str, Tensor]") -> Iterator[None]:
    """Within: the adapter is in `state`; afterwards as before, bit for bit."""
    before = {name: tensor.detach().to("cpu", copy=True) for name, tensor in adapter.state().items()}
    adapter.restore(state)
    try:
        yield
    finally:
        adapter.restore(before)


class RunHooks:
    """The hooks of one run; `train.loop.Hooks`."""

    def __init__(
        self, run: Run, training: Training, emit: Emit, stopping: Callable[[], bool], tell: Callable[[str], None] = lambda state: None
    ) -> None:
        self._run, self._training, self._emit, self._stopping, self._tell = run, training, emit, stopping, tell
        self._held_out = HeldOut(training.family, training.parts, training.encoded, training.spec.evaluate)
        spec, size_px = training.spec.preview, training.parts.facts.size_px
        self._previews = [
            Sampling(
                prompt=p, negative=spec.negative, seed=seed, steps=spec.steps, guidance=spec.guidance,
                sampler=spec.sampler, width=size_px, height=size_px,
            )
            for p, seed in spec.drawn()
        ]  # fmt: skip

    def prepare(self) -> None:
        """Measure and draw the base, once: a run that goes on compares itself with the losses that it began with."""
        file, known = self._run.folder / BASE_LOSSES, {}
        with contextlib.suppress(StudioError, AttributeError):
            known = {key: losses for key, losses in read_json(file).items() if isinstance(losses, list)}
        measured = self._held_out.measure_base(self._training.adapter, known)
        if measured != known:
            write_json(file, measured)
        if self._training.spec.preview.at_steps and not (self._run.folder / "previews" / "base").exists():
            self._draw("base", 0, 0.0)

    def evaluate(self, step: int, ema: "dict[str, Tensor]") -> dict[str, Any]:
        """Scores of the averaged adapter; the training loss beside the held-out loss is the memorisation gauge."""
        scores = self.measure(ema)
        if scores:
            self._emit("score", step=step, **scores)
        return scores

    def measure(self, state: "dict[str, Tensor]", names: tuple[str, ...] = ("held_out", "train")) -> dict[str, Any]:
        """Scores per picture set of the adapter in `state`."""
        with showing(self._training.adapter, state):
            return {name: asdict(score) for name, score in self._held_out.measure(self._training.adapter, names).items()}

    def preview(self, step: int, ema: "dict[str, Tensor]") -> None:
        """Draw every preview prompt with the averaged adapter."""
        with showing(self._training.adapter, ema):
            self._draw(step_folder(self._run.folder / "previews", step).name, step, 1.0)

    def _draw(self, name: str, step: int, strength: float) -> None:
        training = self._training
        shots = [Shot(sampling=s, strength=strength) for s in self._previews]
        pictures = draw(training.family, training.parts, training.adapter, shots, batchable=False)
        training.need()
        files = []
        for i, (picture, shot) in enumerate(zip(pictures, shots, strict=True)):
            files.append(f"previews/{name}/{i:02d}.png")
            write_png(self._run.folder / files[-1], picture, {**shot.sampling.model_dump(), "strength": strength, "step": step})
        self._emit("preview", step=step, base=strength == 0, files=files)

    def stop_requested(self) -> bool:
        """Whether the run is to end after this step; first holds while someone wants it parked."""
        if self._run.park_file.exists():
            self._park()
        return self._stopping()

    def _park(self) -> None:
        if not park.is_asked(self._run):
            self._run.park_file.unlink(missing_ok=True)  # left behind by a process that is gone
            return
        step = self._training.step
        self._emit("parked", step=step)
        seconds = park.hold(self._run, self._training, self._stopping, lambda: self._tell("parked"))
        self._tell("running")
        self._emit("unparked", step=step, seconds=round(seconds, 2))

    def overfit(self, scores: list[dict[str, Any]]) -> str | None:
        """A sentence when held-out loss has clearly turned up, else None."""
        return overfit_since(scores)
