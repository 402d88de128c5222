"""A base with an adapter on it, a run's or a dropped file's, and pictures that are drawn with both."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Parts
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import Run
from studio.jobs.runs.identity import base_identity
from studio.jobs.runs.snapshots import adapter_step
from studio.methods import several
from studio.methods.base import Attached
from studio.models.bases import find_base
from studio.sample.pair import Sampling, Shot, check_size, draw
from studio.sample.pictures import make_grid, write_png
from studio.spec import MethodSpec, RunSpec
from studio.store import Workspace, read_tensors, sha256
from studio.train import checkpoint

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Adapted:
    """A base model with an adapter on it: a run's, a dropped file's (`run` None), or none at all (`adapter` None)."""

    run: Run | None
    spec: RunSpec
    family: ModuleType
    parts: Parts
    adapter: Attached | None
    identity: str
    step: int
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def is_batchable(self) -> bool:
        """Whether base and adapted may share one pass."""
        return self.adapter is None or bool(self.spec.methods) and several.batchable(self.spec.methods)


def load_adapted(
    workspace: Workspace,
    run: Run,
    snapshot: int | None,
    precision: str | None = None,
    warm: Warm | None = None,
    only: MethodSpec | None = None,
) -> Adapted:
    """The run's base, from `warm` if it is there, with its adapter attached: the chosen one, or the average of a snapshot.

    `only` = what this one of its methods has learned, without the others.
    """
    spec = run.spec()
    spec.methods = [only] if only else spec.methods
    state, step = read_adapter(run, snapshot)
    if precision:
        spec.train.precision = precision
    base = find_base(spec.base.source, workspace)
    identity = base_identity(base.path, workspace)
    require_base(run, identity)
    warm = warm or Warm()
    loaded = warm.base(base, identity, spec.base, spec.train.precision, several.keeps_base(spec.methods))
    adapter = warm.adapter(spec.methods, spec.train.seed)
    state = {name: state[name] for name in adapter.state() if name in state} if only else state
    adapter.restore(state)
    return Adapted(run, spec, loaded.family, loaded.parts, adapter, identity, step, state)


def require_base(run: Run, identity: str) -> None:
    """StudioError unless the run was trained on the base with this identity."""
    if run.read("origin.json", "base") != identity:
        raise StudioError(f"run {run.id}: its base model {run.spec().base.source} has changed since; restore it to use this adapter")


def read_adapter(run: Run, snapshot: int | None) -> tuple[dict[str, Any], int]:
    """(tensors, step) of the chosen adapter, or of the average of a snapshot; of the newest one where nothing is chosen yet.

    StudioError where there is none.
    """
    if snapshot is not None:
        return checkpoint.read_snapshot(run.snapshots, snapshot, "ema"), snapshot
    if run.adapter.is_file():
        return read_tensors(run.adapter), run.read("scores.json", "chosen", "step")
    step = adapter_step(run, None)
    return checkpoint.read_snapshot(run.snapshots, step, "ema"), step


def sample_run(
    workspace: Workspace, adapted: Adapted, samplings: list[Sampling], strength: float, out: Path, tick: Callable[[], None]
) -> dict[str, Any]:
    """Draw base and adapted for every sampling, from the same noise, and write them with a grid into `out`."""
    for sampling in samplings:
        check_size(adapted.parts, sampling.width, sampling.height)
    pictures = draw_pairs(workspace, adapted, samplings, [strength], tick)
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {"base": [], "adapted": []}
    about = {"run": adapted.run.id, "step": adapted.step, "base_sha256": adapted.identity}
    for sampling, (base, changed) in zip(samplings, pictures, strict=True):
        for kind, image, s in (("base", base, 0.0), ("adapted", changed, strength)):
            path = _free_name(out, f"{kind}-{sampling.seed}")
            write_png(path, image, {**sampling.model_dump(), **about, "strength": s})
            files[kind].append(str(path))
    grid = _free_name(out, "grid")
    labels = ["base", f"adapted: {adapted.run.id}, step {adapted.step}, strength {strength:g}"]
    sheet = make_grid([[p[0] for p in pictures], [p[1] for p in pictures]], labels)
    write_png(grid, sheet, {**samplings[0].model_dump(), **about, "strength": strength, "grid": True})
    return {**files, "grid": str(grid)}


def _free_name(out: Path, stem: str) -> Path:
    """A file name in `out` that is not taken."""
    path, number = out / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = out / f"{stem}-{number}.png"
    return path


def draw_pairs(
    workspace: Workspace, adapted: Adapted, samplings: list[Sampling], strengths: list[float], tick: Callable[[], None]
) -> "list[list[Image.Image]]":
    """Per sampling: the base picture (from the cache where it was drawn before), then one picture per strength."""
    paths = [_base_picture(workspace, adapted, s) for s in samplings]
    rows = [_read_picture(path) for path in paths]
    is_new = [not row for row in rows]
    shots, places = [], []
    for row, sampling in enumerate(samplings):
        for strength in [*([0.0] if is_new[row] else []), *strengths]:
            shots.append(Shot(sampling=sampling, strength=strength))
            places.append(row)
    drawn = draw(adapted.family, adapted.parts, adapted.adapter, shots, adapted.is_batchable, tick)
    for row, picture in zip(places, drawn, strict=True):
        rows[row].append(picture)
    for row in filter(is_new.__getitem__, range(len(rows))):
        with contextlib.suppress(OSError):  # only a memory; a full or read-only workspace can do without
            write_png(paths[row], rows[row][0], {**samplings[row].model_dump(), "strength": 0.0})
    return rows


def _read_picture(path: Path) -> "list[Image.Image]":
    """The picture at `path`; nothing where there is none, or a damaged one."""
    from PIL import Image

    with contextlib.suppress(OSError, SyntaxError, ValueError), Image.open(path, formats=["PNG"]) as image:
        return [image.convert("RGB")]
    return []


def _base_picture(workspace: Workspace, adapted: Adapted, sampling: Sampling) -> Path:
    facts = adapted.parts.facts
    told = sampling.model_dump()
    if adapted.adapter:  # a new word reads as other words on the base
        told |= {name: adapted.adapter.read_as(told[name], 0.0) for name in ("prompt", "negative")}
    what = {**told, "base": adapted.identity, "dtype": str(adapted.parts.dtype), "prediction": facts.prediction_type}
    what |= {"bits": adapted.parts.bits} if adapted.parts.bits < 16 else {}
    return workspace.cache / "base-pictures" / f"{sha256(json.dumps(what, sort_keys=True).encode())}.png"
