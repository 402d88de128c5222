"""Drawings: pictures asked for on the Compare screen; each is a folder with its request, its plan, how far it is, and what came of it."""

import itertools
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio import registry
from studio.errors import StudioError
from studio.jobs.draw.request import MAX_LABEL, AdapterUse, DrawRequest, Picture, parse_request, picture_settings, weights
from studio.jobs.processes import asked
from studio.jobs.processes.asked import OVER, Asked
from studio.jobs.runs.folders import find_run
from studio.jobs.runs.snapshots import check_adapter, snapshot_steps
from studio.methods import several
from studio.models.bases import Base, find_base
from studio.sample.pair import settle_text
from studio.settings import explain
from studio.store import Workspace, inside, read_json, write_json
from studio.trash import to_trash

__all__ = ["AdapterUse", "DrawRequest", "Drawing", "Picture", "parse_request", "picture_settings", "weights"]

MAX_PICTURES = 64
STRENGTHS = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]


class Drawing(Asked):
    """A drawing's folder and what is in it."""

    title, gone = "drawing", "; look in the history"
    lost = "the studio or its drawing process ended before these pictures were done: sample again"

    @property
    def pictures(self) -> Path:
        """The folder of its pictures."""
        return self.folder / "pictures"

    def request(self) -> DrawRequest:
        """What was asked for; StudioError naming the file where it is damaged."""
        return parse_request(read_json(self.folder / "request.json"), f"{self.folder / 'request.json'} is damaged: ")

    def plan(self) -> list[Picture]:
        """The pictures to draw, in order, as fixed when they were asked for."""
        return self._read_pictures("plan.json")

    def result(self) -> dict[str, Any]:
        """{"pictures": [Picture], …} of a finished drawing; StudioError where it is not finished."""
        return self._read("result.json") | {"pictures": self._read_pictures("result.json")}

    def _read(self, name: str) -> dict[str, Any]:
        value = read_json(self.folder / name)
        if not isinstance(value, dict) or not isinstance(value.get("pictures"), list):
            raise StudioError(f"{self.folder / name} is damaged: draw these pictures again")
        return value

    def _read_pictures(self, name: str) -> list[Picture]:
        try:
            return [Picture.model_validate(p) for p in self._read(name)["pictures"]]
        except ValidationError as error:
            raise StudioError(f"{self.folder / name} is damaged ({explain(error)}): draw these pictures again") from None

    def write_result(self, pictures: list[Picture], **more: Any) -> None:
        """Say what came of it; the last file of a drawing."""
        write_json(self.folder / "result.json", {"pictures": [p.model_dump() for p in pictures], **more})


def drawings_folder(workspace: Workspace) -> Path:
    """The workspace's folder of drawings."""
    return workspace.root / "drawings"


def dropped_folder(workspace: Workspace) -> Path:
    """Where adapters that were dropped are kept, named by their content."""
    return workspace.root / "dropped"


def create_drawing(workspace: Workspace, request: DrawRequest | dict[str, Any]) -> Drawing:
    """A drawing, waiting to be drawn; StudioError, and nothing made, when anything asked for is wrong."""
    request = request if isinstance(request, DrawRequest) else parse_request(request)
    request, _ = resolve(workspace, request)
    plan = plan_shots(workspace, request)
    _check_strengths(workspace, request, plan)
    files = {"request.json": request.model_dump(), "plan.json": {"pictures": [p.model_dump() for p in plan]}}
    return asked.create(Drawing, drawings_folder(workspace), files, done=0, total=len(plan))


def _check_strengths(workspace: Workspace, request: DrawRequest, plan: list[Picture]) -> None:
    """StudioError where an adapter's method has no strength that is asked of it."""
    for place, strength in dict.fromkeys(use for picture in plan for use in weights(request, picture)):
        if request.adapters[place].run:
            several.check_strength(find_run(workspace, request.adapters[place].run).spec().methods, strength)


def list_drawings(workspace: Workspace, limit: int | None = None) -> list[Drawing]:
    """The newest drawings, newest first."""
    return asked.newest(Drawing, drawings_folder(workspace), limit)


def read_drawing(workspace: Workspace, drawing_id: str) -> Drawing:
    """The drawing with this id; StudioError where there is none."""
    return asked.find(Drawing, drawings_folder(workspace), drawing_id)


def delete_drawing(workspace: Workspace, drawing_id: str) -> str:
    """Move a drawing that is over to the trash; the token that brings it back (`studio.trash.from_trash`).

    StudioError while it is at work.
    """
    drawing = read_drawing(workspace, drawing_id)
    if drawing.status()["state"] not in OVER:
        raise StudioError(f"drawing {drawing.id} is still being drawn: cancel it first")
    return to_trash(workspace, drawing.folder, "drawing", drawing.request().prompt[:MAX_LABEL] or drawing.id)


def resolve(workspace: Workspace, request: DrawRequest) -> tuple[DrawRequest, Base]:
    """The request with full run ids and its base, all of which exist and fit together; StudioError otherwise."""
    adapters, sources = [], []
    for use in request.adapters:
        if use.file:
            if not inside(dropped_folder(workspace), use.file).is_file():
                raise StudioError(f"the dropped adapter {use.label or use.file[:12]} is not here any more: drop it again")
            adapters.append(use.model_copy(update={"run": ""}))
            continue
        run = find_run(workspace, use.run)
        check_adapter(run, use.snapshot)
        adapters.append(use.model_copy(update={"run": run.id}))
        sources.append((run.id, run.spec().base.source))
    base = _base_of(workspace, request.base or (sources[0][1] if sources else "starter"))
    for run_id, source in sources:
        if _base_of(workspace, source).path != base.path:
            raise StudioError(
                f"run {run_id} was trained on {source}, the others use {base.source}: adapters drawn together need the same base"
            )
    card = registry.family(base.family).card
    guidance = settle_text(card, request.prompt, request.negative, request.guidance if "guidance" in request.model_fields_set else None)
    if request.sampler not in card.samplers:
        raise StudioError(f"sampler {request.sampler!r} is not known; there are: {', '.join(card.samplers)}")
    if request.seed + request.count - 1 > 2**63 - 1:
        raise StudioError("seed: with this count the last seed is too large: choose a smaller one")
    return request.model_copy(update={"adapters": adapters, "base": base.source, "guidance": guidance}), base


def _base_of(workspace: Workspace, source: str) -> Base:
    try:
        return find_base(source, workspace)
    except StudioError as error:
        raise StudioError(str(error).removeprefix("--")) from None


def plan_shots(workspace: Workspace, request: DrawRequest) -> list[Picture]:
    """Every picture of the request in order, base before adapted for each prompt and seed; StudioError where they are too many."""
    columns = [*_columns(workspace, request)]
    seeds = range(request.seed, request.seed + request.count)
    total = len(request.prompts) * len(seeds) * len(columns)
    if total > MAX_PICTURES:
        raise StudioError(f"{total} pictures are {total - MAX_PICTURES} more than the {MAX_PICTURES} drawn at once: lower the count")
    plan = []
    for prompt, seed in itertools.product(request.prompts, seeds):
        for column in columns:
            file = f"{len(plan):02d}.png"
            plan.append(Picture(file=file, seed=seed, prompt=prompt, width=request.width, height=request.height, **column))
    return plan


def _columns(workspace: Workspace, request: DrawRequest) -> list[dict[str, Any]]:
    """What is drawn for each seed."""
    base = {"kind": "base", "strength": 0.0, "label": "base"}
    if request.strip == "together" and request.adapters:
        return [base, {"kind": "adapted", "label": "all together"}]
    columns = [base]
    for i, use in enumerate(request.adapters):
        one = {"kind": "adapted", "adapter": i, "snapshot": use.snapshot, "strength": use.strength, "label": use.label or use.run}
        if request.strip == "strength":
            columns += [one | {"strength": s} for s in request.strengths or STRENGTHS if s]
        elif request.strip == "snapshots" and not use.file:
            steps = snapshot_steps(find_run(workspace, use.run))
            if not steps:
                raise StudioError(f"run {use.run}: no snapshots to put in a row yet: wait for the first")
            columns += [one | {"snapshot": step} for step in steps]
        else:
            columns.append(one)
    return columns
