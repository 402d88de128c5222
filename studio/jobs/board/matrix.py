"""Pictures of several runs from the same prompts and seeds: a drawing per run, found again when the same is asked. No torch here."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from studio import registry
from studio.errors import StudioError, one_line
from studio.jobs.board.pictures import Member, columns_of, group_by_base, plain_prompts, preview_rows, same_previews
from studio.jobs.board.table import MAX_RUNS
from studio.jobs.draw.drawings import Drawing, read_drawing
from studio.jobs.draw.request import MAX_PROMPTS, AdapterUse, DrawRequest
from studio.jobs.processes.asked import OVER
from studio.jobs.runs.metrics import picture_address
from studio.jobs.runs.snapshots import snapshot_steps
from studio.methods import several
from studio.models.bases import find_base
from studio.settings import Settings, explain, setting
from studio.spec import clean_prompt
from studio.store import Workspace, read_json, sha256, write_json

MAX_COUNT = 4
UNLIKE = "These runs drew their previews from different noise or under different settings: draw the pictures anew to compare them."
Draw = Callable[[DrawRequest], Drawing]


class MatrixRequest(Settings):
    """What every run on the board draws."""

    prompts: list[str] = Field([""], min_length=1, max_length=MAX_PROMPTS)
    seed: int = setting(7, "Seed", "Same seed, same noise for every run", ge=0, le=2**53 - MAX_COUNT)
    count: int = setting(1, "Seeds", "Pictures per prompt; seeds count up", ge=1, le=MAX_COUNT)
    steps: int = setting(20, "Steps", "Denoising steps", ge=1, le=200)
    guidance: float = setting(3.0, "Guidance scale", "How strongly pictures follow the prompt", ge=0, le=50)

    @field_validator("prompts")
    @classmethod
    def _printable(cls, prompts: list[str]) -> list[str]:
        return [clean_prompt(prompt) for prompt in prompts]


def parse_matrix(text: str) -> MatrixRequest:
    """A MatrixRequest from the JSON of an address; StudioError naming the first wrong setting."""
    try:
        return MatrixRequest.model_validate(json.loads(text))
    except ValidationError as error:
        raise StudioError(explain(error)) from None
    except (ValueError, RecursionError):
        raise StudioError("the pictures asked for in this address cannot be read: fill the form again") from None


def previews(workspace: Workspace, ids: list[str]) -> dict[str, Any]:
    """The newest previews as {"columns", "rows", "notes", "suggested"}; `suggested` is what to ask for first."""
    groups = group_by_base(workspace, _few(ids))
    if not groups:
        return {"columns": [], "rows": [], "notes": [], "suggested": MatrixRequest().model_dump()}
    columns, runs = columns_of(groups), {m.run.id: m.run for group in groups for m in group}

    def address(column: dict[str, Any], file: str | None) -> str | None:
        with contextlib.suppress(OSError):
            return picture_address(column["run"], file, (runs[column["run"]].folder / file).stat().st_mtime) if file else None
        return None

    rows = [
        {"prompt": r["prompt"], "seed": r["seed"], "cells": [address(c, f) for c, f in zip(columns, r["files"], strict=True)]}
        for r in preview_rows(groups)
    ]
    spec = groups[0][0].spec.preview
    told = MatrixRequest(
        prompts=plain_prompts(groups)[:MAX_PROMPTS] or [""], seed=min(spec.seed, 2**53 - MAX_COUNT), guidance=spec.guidance
    )
    notes = [] if not rows or same_previews(groups) else [UNLIKE]
    return {"columns": columns, "rows": rows, "notes": notes, "suggested": told.model_dump()}


def look(workspace: Workspace, ids: list[str], wanted: MatrixRequest) -> dict[str, Any]:
    """What is drawn of it: {"columns", "rows", "notes", "missing", "busy", "done", "total"}; `busy` are drawings at work."""
    groups = group_by_base(workspace, _few(ids))
    cells: dict[str, list[tuple[str, str]]] = {}
    told: dict[str, Any] = {"columns": columns_of(groups), "notes": [], "missing": [], "busy": [], "done": 0, "total": 0}
    for member in (m for group in groups for m in group):
        try:
            drawing = _find(workspace, member, _request(workspace, member, wanted))
            status = drawing.status() if drawing else {"state": "none"}
            if status["state"] == "finished":
                files = [f"/studio/drawings/{drawing.id}/pictures/{p.file}" for p in drawing.result()["pictures"]]
                cells[member.run.id] = list(zip(files[::2], files[1::2], strict=True))
            elif drawing and status["state"] not in OVER:
                told["busy"].append(drawing.id)
            else:
                told["missing"].append(member.run.id)
                told["notes"] += [f"{member.spec.name}: {status['error']}"] if status.get("error") else []
            done = status.get("total") if status["state"] == "finished" else status.get("done")
            told["done"] += done if isinstance(done, int | float) else 0
        except (StudioError, OSError) as error:
            told["notes"].append(one_line(error))
        told["total"] += 2 * wanted.count * len(wanted.prompts)
    return told | {"rows": _rows(groups, cells, wanted)}


def _rows(groups: list[list[Member]], cells: dict[str, list[tuple[str, str]]], wanted: MatrixRequest) -> list[dict[str, Any]]:
    rows = []
    for i, prompt in enumerate(wanted.prompts):
        for j in range(wanted.count):
            at, row = i * wanted.count + j, []
            for group in groups:
                row.append(next((cells[m.run.id][at][0] for m in group if m.run.id in cells), None))
                row += [cells[m.run.id][at][1] if m.run.id in cells else None for m in group]
            rows.append({"prompt": prompt, "seed": wanted.seed + j, "cells": row})
    return rows


def order(workspace: Workspace, ids: list[str], wanted: MatrixRequest, draw: Draw) -> dict[str, Any]:
    """Have drawn what is not there yet, with `draw`; then as `look`. Runs without an adapter are told of, the others drawn."""
    notes = []
    for member in (m for group in group_by_base(workspace, _few(ids)) for m in group):
        try:
            request = _request(workspace, member, wanted)
            drawing = _find(workspace, member, request)
            if drawing is None or drawing.status()["state"] in OVER - {"finished"}:
                write_json(_note(workspace, member, request), {"drawing": draw(request).id})
        except (StudioError, OSError) as error:
            notes.append(one_line(error))
    told = look(workspace, ids, wanted)
    return told | {"notes": list(dict.fromkeys([*told["notes"], *notes]))}


def _few(ids: list[str]) -> list[str]:
    if len(ids) > MAX_RUNS:
        raise StudioError(f"{len(ids)} runs are more than fit side by side: choose at most {MAX_RUNS}")
    return ids


def _request(workspace: Workspace, member: Member, wanted: MatrixRequest) -> DrawRequest:
    """The drawing of one run; a run that taught a word reads it in place of the phrase that it replaced."""
    if not member.run.adapter.is_file() and not snapshot_steps(member.run):
        raise StudioError(f"{member.spec.name}: no adapter yet ({member.run.status()['state']}): its pictures can be drawn once it has one")
    samplers = registry.family(find_base(member.spec.base.source, workspace).family).card.samplers
    first, *more = [several.reword(member.spec.methods, prompt) for prompt in wanted.prompts]
    values = wanted.model_dump(include={"seed", "count", "steps", "guidance"})
    sampler = DrawRequest.model_fields["sampler"].default
    values["sampler"] = sampler if sampler in samplers else next(iter(samplers))
    return DrawRequest(adapters=[AdapterUse(run=member.run.id)], prompt=first, more_prompts=more, **values)


def _find(workspace: Workspace, member: Member, request: DrawRequest) -> Drawing | None:
    """The drawing made earlier of the same request and the same adapter; None where there is none (any more)."""
    with contextlib.suppress(StudioError, OSError, KeyError, TypeError):
        return read_drawing(workspace, read_json(_note(workspace, member, request))["drawing"])
    return None


def _note(workspace: Workspace, member: Member, request: DrawRequest) -> Path:
    """Where it is noted which drawing shows this request with the run's adapter as it is now."""
    adapter = member.run.adapter
    is_there = adapter.is_file()
    state = [adapter.stat().st_mtime_ns, adapter.stat().st_size] if is_there else snapshot_steps(member.run)[-1:]
    told = json.dumps([request.model_dump(), state], sort_keys=True)
    return workspace.cache / "board-pictures" / f"{sha256(told.encode())}.json"
