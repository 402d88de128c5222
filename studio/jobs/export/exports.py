"""Exports asked for on the Export screen: each is a folder with its request, how far it is, the verified file and its card."""

import contextlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from studio import registry, subject
from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.export.formats import LAYOUTS
from studio.jobs.draw.judgements import read_verdict
from studio.jobs.processes import asked
from studio.jobs.processes.asked import Asked
from studio.jobs.runs.folders import Run, find_run
from studio.jobs.runs.snapshots import change_percent, check_adapter, chosen, scored_snapshots
from studio.methods import several
from studio.models.bases import find_base, told
from studio.settings import Settings, explain, setting
from studio.store import Workspace, inside, read_json, slug

Tick = Literal["trigger", "run_name", "dataset_name", "prompts"]
TICKS: dict[str, str] = {"trigger": "Trigger word", "run_name": "Run name", "dataset_name": "Dataset name", "prompts": "Preview prompts"}
FILE = "file"  # the folder in which an export's file lies


class ExportRequest(Settings):
    """What to export, in which layout, and what of a personal kind may go with it."""

    run: str = setting(..., "Run", "Whose adapter", max_length=300)
    snapshot: int | None = setting(None, "Snapshot", "Step; empty = the run's chosen adapter", ge=0)
    layout: str = setting("", "Layout", "Which programs read it; empty = what most read", max_length=40)
    rank: int = setting(32, "Rank", "Of a LoRA taken out of a tuned model; higher = closer to it, larger file", ge=1, le=1024)
    share: list[Tick] = Field([], max_length=len(TICKS))


class Export(Asked):
    """An export's folder and what is in it."""

    title, gone = "export", ""
    lost = "the studio or its picture process ended before this export was done: try again"

    def request(self) -> ExportRequest:
        """What was asked for; StudioError naming the file where it is damaged."""
        return _parse(read_json(self.folder / "request.json"), f"{self.folder / 'request.json'} is damaged: ")

    def result(self) -> dict[str, Any]:
        """What came of it; StudioError where it is not finished."""
        value = read_json(self.folder / "result.json")
        if not isinstance(value, dict) or not isinstance(value.get("file"), str):
            raise StudioError(f"{self.folder / 'result.json'} is damaged: export again")
        return value

    def file(self) -> Path:
        """The file to take away; StudioError where there is none."""
        path = inside(self.folder / FILE, self.result()["file"])
        if not path.is_file():
            raise StudioError(f"the file of export {self.id} is gone: export again")
        return path


def exports_folder(workspace: Workspace) -> Path:
    """The workspace's folder of exports."""
    return workspace.root / "exports"


def _parse(values: Any, prefix: str = "") -> ExportRequest:
    try:
        return ExportRequest.model_validate(values)
    except ValidationError as error:
        raise StudioError(prefix + explain(error)) from None


def create_export(workspace: Workspace, request: ExportRequest | dict[str, Any]) -> Export:
    """An export, waiting to be carried out; StudioError, and nothing made, when anything asked for is wrong."""
    request = request if isinstance(request, ExportRequest) else _parse(request)
    run = find_run(workspace, request.run)
    check_adapter(run, request.snapshot)
    layouts = _layouts(run, _card(workspace, run))
    layout = request.layout or layouts[0]
    if layout not in layouts:
        raise StudioError(f"format {layout}: for this run there {'are' if layouts[1:] else 'is only'} {', '.join(layouts)}")
    request = request.model_copy(update={"run": run.id, "layout": layout, "share": sorted(set(request.share))})
    return asked.create(Export, exports_folder(workspace), {"request.json": request.model_dump()})


def list_exports(workspace: Workspace, limit: int | None = None) -> list[Export]:
    """The newest exports, newest first."""
    return asked.newest(Export, exports_folder(workspace), limit)


def read_export(workspace: Workspace, export_id: str) -> Export:
    """The export with this id; StudioError where there is none."""
    return asked.find(Export, exports_folder(workspace), export_id)


def file_stem(run: Run, step: int, layout: str) -> str:
    """What an export's file is called: after the word that it is, else the run's name, as far as it makes a file name, and the step."""
    if layout == "embedding":
        return slug(several.word(run.spec().methods))
    return f"{slug(run.spec().name) or 'adapter'}-step{step}"


def _layouts(run: Run, card: Any) -> tuple[str, ...]:
    """The layouts that what the run learned can be exported in, the recommended one first."""
    return several.layouts(run.spec().methods, card)


def _card(workspace: Workspace, run: Run) -> Any:
    return registry.family(find_base(run.spec().base.source, workspace).family).card


def options(workspace: Workspace, name: str) -> dict[str, Any]:
    """All that can be chosen for a run: snapshots with the recommended one and why, layouts and their readers, ticks, the licence."""
    run = find_run(workspace, name)
    step, reason = _chosen(run)
    base, found = find_base(run.spec().base.source, workspace), read_verdict(run)
    card = registry.family(base.family).card
    said, texts = told(base.path), shared(workspace, run)
    return {
        "run": run.id,
        "state": run.status()["state"],
        "chosen": {"step": step, "reason": reason, "change_percent": change_percent(chosen(run).get("held_out"))},
        "snapshots": scored_snapshots(run),
        "layouts": [_describe_layout(name, card) for name in _layouts(run, card)],
        "verdict": {"state": found["state"], "text": found["text"]} if found else None,
        "rank": ExportRequest.model_fields["rank"].default,
        "ticks": [{"tick": tick, "label": TICKS[tick], "text": texts[tick]} for tick in TICKS],
        "base": {"title": said.get("model_name") or card.title, "licence": said.get("license_name") or said.get("license") or card.licence},
    }


def _describe_layout(name: str, card: Any) -> dict[str, str]:
    readers, about = LAYOUTS[name]
    if card.readers and name in (card.export_layouts[0], "extracted"):
        readers = card.readers
    return {"layout": name, "readers": readers, "about": f"{about} {card.export_note if name in card.export_layouts else ''}".strip()}


def shared(workspace: Workspace, run: Run) -> dict[str, str]:
    """What each tick would add; empty where there is nothing to add."""
    spec, trigger = run.spec(), ""
    with contextlib.suppress(StudioError, OSError):  # the dataset may be gone
        trigger = str(open_dataset(workspace, spec.dataset).about.get("trigger") or "")
    trigger = several.word(spec.methods) or subject.phrase(spec.prior) or trigger
    return {
        "trigger": trigger,
        "run_name": spec.name,
        "dataset_name": spec.dataset,
        "prompts": " · ".join(filter(None, spec.preview.prompts)),
    }


def _chosen(run: Run) -> tuple[int | None, str]:
    """(step, why) of the adapter that the run itself recommends."""
    if run.adapter.is_file():
        step = chosen(run).get("step")
        with contextlib.suppress(StudioError):
            return step, str(run.read("scores.json", "reason"))
        return step, "the run's own choice"
    return None, "the newest snapshot: nothing is chosen before the run has ended"
