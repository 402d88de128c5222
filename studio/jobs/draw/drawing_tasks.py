"""A drawing carried out: its base model and adapters loaded, every planned picture drawn from the same noise and written."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio import registry
from studio.errors import StudioError
from studio.jobs.draw.adapted import Adapted, draw_pairs, read_adapter, require_base
from studio.jobs.draw.drawings import Drawing, DrawRequest, Picture, dropped_folder, picture_settings, resolve
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Loaded, Warm
from studio.jobs.runs.folders import find_run
from studio.jobs.runs.identity import base_identity
from studio.methods import several
from studio.methods.base import Attached
from studio.methods.describing import describe_file, is_foreign
from studio.methods.foreign import Foreign
from studio.methods.imports import add_alphas, said_by
from studio.methods.layers import LayerSpec
from studio.sample.pair import SHOTS_PER_PASS, check_size
from studio.sample.pictures import write_png
from studio.settings import explain
from studio.spec import BaseSpec, MethodSpec, RunSpec
from studio.store import Workspace, inside, read_metadata, read_tensors

Tick = Callable[[str, float], None]  # (state, pictures done so far); raises to end the work between two denoising steps
Column = tuple[int | None, int | None]  # adapter's place in the request (None = all together), snapshot


@dataclass
class Work:
    """One drawing at work."""

    workspace: Workspace
    drawing: Drawing
    request: DrawRequest
    warm: Warm
    loaded: Loaded
    tick: Tick
    steps: dict[int, int | None] = field(default_factory=dict)  # of the adapters used, by place in the request
    found: dict[int, str] = field(default_factory=dict)  # of dropped files: "278/278 layers", or what did not match


def describe(workspace: Workspace, drawing: Drawing) -> tuple[Wanted, int]:
    """What the drawing needs room for, and how many pictures it has."""
    request, base = resolve(workspace, drawing.request())
    count = len(drawing.plan())
    return Wanted(base.source, request.width, request.height, count, f"drawing {count} picture{'s' if count > 1 else ''}"), count


def carry_out(workspace: Workspace, drawing: Drawing, warm: Warm, tick: Tick) -> None:
    """Draw the whole plan; pictures of one adapter appear together, those of the base with the first of them."""
    began = time.monotonic()
    request, base = resolve(workspace, drawing.request())
    tick("loading", 0)
    identity = base_identity(base.path, workspace)
    specs = []
    for use in request.adapters:
        if not use.file:
            require_base(find_run(workspace, use.run), identity)
            specs.append(find_run(workspace, use.run).spec())
    overrides, precision = (specs[0].base, specs[0].train.precision) if specs else (BaseSpec(source=base.source), "auto")
    keeps_base = all(several.keeps_base(spec.methods) for spec in specs) and not _changes_weights(workspace, request)
    work = Work(workspace, drawing, request, warm, warm.base(base, identity, overrides, precision, keeps_base), tick)
    plan = [_with_size(p, work.loaded) for p in drawing.plan()]
    columns: list[Column | None] = list(dict.fromkeys((p.adapter, p.snapshot) for p in plan if p.kind == "adapted")) or [None]
    done = 0
    for column in columns:
        wanted = [p for p in plan if (p.adapter, p.snapshot) == column and p.kind == "adapted"]
        if column == columns[0]:
            wanted += [p for p in plan if p.kind == "base"]
        _draw_column(work, column, wanted, done)
        done += len(wanted)
    notes = [f"{request.adapters[place].label or 'dropped adapter'}: {found}" for place, found in work.found.items()]
    if how := work.loaded.drawing.words():
        notes.append(f"drawn so that it fits the memory: {how}")
    drawing.write_result(plan, base_sha256=identity, adapters=_told(work), notes=notes, seconds=round(time.monotonic() - began, 2))


def _changes_weights(workspace: Workspace, request: DrawRequest) -> bool:
    """Whether a dropped file changes the base's own weights, which must then be whole."""
    return any(is_foreign(inside(dropped_folder(workspace), use.file)) for use in request.adapters if use.file)


def _with_size(picture: Picture, loaded: Loaded) -> Picture:
    size_px = loaded.parts.facts.size_px
    sized = picture.model_copy(update={"width": picture.width or size_px, "height": picture.height or size_px})
    check_size(loaded.parts, sized.width, sized.height)
    return sized


def _told(work: Work) -> list[dict[str, Any]]:
    """Which adapters were used: run or what the file was called, the step, and how much of a file was found on this base."""
    uses = enumerate(work.request.adapters)
    return [{"run": use.run, "label": use.label, "step": work.steps.get(i), "layers": work.found.get(i)} for i, use in uses]


def _draw_column(work: Work, column: Column | None, wanted: list[Picture], done: int) -> None:
    """Draw and write the pictures of one adapter, or of all together, or of the base alone, where `done` are done already."""
    adapted = _attach(work, column)
    strengths = [1.0] if column and column[0] is None else list(dict.fromkeys(p.strength for p in wanted if p.kind == "adapted"))
    shown = list(dict.fromkeys((p.prompt, p.seed) for p in wanted))
    expected = -(-len(wanted) // SHOTS_PER_PASS) * work.request.steps
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        work.tick("drawing", done + len(wanted) * min(ticks / expected, 1.0))

    work.tick("drawing", done)
    samplings = [work.request.sampling(prompt, seed, wanted[0].width, wanted[0].height) for prompt, seed in shown]
    rows = draw_pairs(work.workspace, adapted, samplings, strengths, tick)
    for picture in wanted:
        row = rows[shown.index((picture.prompt, picture.seed))]
        together = picture.kind == "adapted" and picture.adapter is None
        image = row[0] if picture.kind == "base" else row[1] if together else row[1 + strengths.index(picture.strength)]
        write_png(work.drawing.pictures / picture.file, image, picture_settings(work.request, picture, adapted.identity))


def _attach(work: Work, column: Column | None) -> Adapted:
    """The base with what a column shows on it."""
    if column is None:
        work.warm.bare()
        return _adapted(work, None, [])
    place, snapshot = column
    if place is None:
        return _attach_together(work)
    settings, state, _ = _read(work, place, snapshot)
    return _adapted(work, *_put(work, place, settings, state))


def _adapted(work: Work, adapter: Attached | None, settings: list[MethodSpec]) -> Adapted:
    spec = RunSpec.model_construct(methods=settings)
    return Adapted(None, spec, work.loaded.family, work.loaded.parts, adapter, work.loaded.identity, 0)


def _read(work: Work, place: int, snapshot: int | None) -> tuple[list[MethodSpec], dict[str, Any], int | None]:
    """(settings of its methods, tensors, step) of an adapter of the request."""
    use = work.request.adapters[place]
    if use.file:
        path = inside(dropped_folder(work.workspace), use.file)
        metadata = read_metadata(path)
        said = metadata.get("studio.step", "")
        state = add_alphas(read_tensors(path), said_by(metadata))
        settings, step = _settings_of(path, work, use.label), int(said) if said.isdecimal() else None
    else:
        run = find_run(work.workspace, use.run)
        settings = run.spec().methods
        state, step = read_adapter(run, snapshot)
    work.steps[place] = step
    return settings, state, step


def _settings_of(path: Path, work: Work, label: str) -> list[MethodSpec]:
    """The method, with the shape, of a dropped adapter file; what a file does not say follows from what it was called. Or none."""
    if is_foreign(path):
        return []
    try:
        spec = describe_file(path, work.loaded.family.card)
    except ValidationError as error:
        raise StudioError(f"the dropped adapter {label}: {explain(error)}") from None
    return [registry.method(spec.kind).adopt(spec, {}, [], Path(label).stem)]


def _put(work: Work, place: int, settings: list[MethodSpec], state: dict[str, Any]) -> tuple[Attached, list[MethodSpec]]:
    """The adapter with its weights on the base, and its settings, none where it is its formula; StudioError where it does not fit."""
    use = work.request.adapters[place]
    if not use.file:
        adapter = work.warm.adapter(settings)
        adapter.restore(state)
        return adapter, settings
    try:
        return _put_file(work, place, settings, state)
    except StudioError as error:
        reason = str(error).removeprefix("start_from: ")
        raise StudioError(f"the dropped adapter {use.label or use.file[:12]} does not fit this base model ({reason})") from None


def _put_file(work: Work, place: int, settings: list[MethodSpec], state: dict[str, Any]) -> tuple[Attached, list[MethodSpec]]:
    """By its method; by its formula where it has none, or is on layers that no method here sits on, as text encoders of FLUX."""
    if settings:
        try:
            adapter = work.warm.adapter(settings)
            work.found[place] = adapter.load(state, partly=True)
            return adapter, settings
        except StudioError:
            if not isinstance(settings[0], LayerSpec):
                raise
    adapter = work.warm.put(work.request.adapters[place].file, lambda: Foreign(work.loaded.parts, state))
    work.found[place] = adapter.load(state, partly=True)
    return adapter, []


def _attach_together(work: Work) -> Adapted:
    """The base with all adapters of the request at once, each at its strength."""
    members, kinds = [], set()
    for place, use in enumerate(work.request.adapters):
        settings, state, _ = _read(work, place, use.snapshot)
        adapter, settings = _put(work, place, settings, state)  # a file's tensors get this method's own names
        if not settings:
            raise StudioError(f"the dropped adapter {use.label} is of a kind that cannot be drawn together with others: look at each alone")
        members.append(({n: t.detach().clone() for n, t in adapter.state().items()}, settings[0], use.strength))
        kinds |= {one.kind for one in settings}
    method = registry.method(min(kinds))
    if len(kinds) > 1 or not hasattr(method, "combine"):
        raise StudioError(f"adapters made with {' and '.join(sorted(kinds))} cannot be drawn together: look at each alone")
    work.warm.bare()
    both = work.warm.put(object(), lambda: method.combine(work.loaded.parts, members, work.loaded.family.card))
    return _adapted(work, both, [members[0][1]])
