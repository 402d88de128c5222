"""The dataset doctor: what it finds, checks asked for and followed, mends, groups side by side; and the split made anew."""

import contextlib
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from studio.dataset.doctor.fix import fix
from studio.dataset.listing import picture
from studio.dataset.resplit import preview_split, split_dataset
from studio.dataset.shelf import Kept
from studio.dataset.split_rule import columns_of, known_group, parse_rule, rule_of
from studio.errors import StudioError
from studio.jobs.datasets import checkups
from studio.jobs.datasets.checkups import Checkup
from studio.jobs.runs.folders import last_base
from studio.models.bases import STARTER, find_base
from ui.desk import Desk
from ui.routes.datasets import here

FEWEST_READ = 30  # characters that every base reads, for none reads fewer tokens
PATIENCE_S = 1.5  # for what is known in a moment; the next look has it otherwise
MAX_REVIEWED = 50  # groups at a time


class FixRequest(BaseModel):
    """Which finding is mended, how, and for which pictures; None for all of them."""

    model_config = ConfigDict(extra="forbid")

    check: str
    mend: str
    files: list[str] | None = None


class SplitRequest(BaseModel):
    """The rule of a split; only told, not made, where `preview` is set."""

    model_config = ConfigDict(extra="forbid")

    rule: dict[str, Any]
    preview: bool = True


def router(desk: Desk) -> APIRouter:
    """`/datasets/{dataset}/doctor…` and `/datasets/{dataset}/split`."""
    routes = APIRouter(dependencies=[Depends(here(desk))])
    _add_findings(routes, desk)
    _add_checks(routes, desk)
    _add_split(routes, desk)
    return routes


def _add_findings(routes: APIRouter, desk: Desk) -> None:
    shelf = desk.views.shelf

    @routes.get("/datasets/{dataset}/doctor")
    def read(dataset: str, base: str = "") -> dict[str, Any]:
        kept = shelf.open(dataset)
        _judge(desk, kept, base)
        told = kept.diagnosis
        findings = [{**_brief(each), "num": len(each["files"])} for each in told["findings"]]
        checkup = checkups.find_checkup(desk.workspace, kept.dataset.root.name)
        return {**told, "findings": findings, "version": kept.version, "checkup": describe(checkup) if checkup else None}

    @routes.get("/datasets/{dataset}/doctor/{check}")
    def review(dataset: str, check: str) -> dict[str, Any]:
        kept = shelf.open(dataset)
        finding = next((each for each in kept.diagnosis["findings"] if each["key"] == check), None)
        if finding is None:
            raise StudioError("there is nothing left to look at here: it was mended, perhaps in another window")
        groups = [{**group, "files": [_item(kept, file) for file in group["files"]]} for group in finding["groups"][:MAX_REVIEWED]]
        return {**_brief(finding), "told": finding["told"], "groups": groups, "num_groups": len(finding["groups"])}

    @routes.post("/datasets/{dataset}/doctor/fix")
    def mend(dataset: str, request: FixRequest) -> dict[str, Any]:
        return fix(desk.workspace, dataset, request.check, request.mend, request.files)


def _judge(desk: Desk, kept: Kept, source: str) -> None:
    """Have captions judged as the base that was chosen last reads them: on the page, else by the newest run on the dataset."""
    longer = {row.file: text for row in kept.dataset.rows if len(text := kept.caption(row)) > FEWEST_READ}
    with contextlib.suppress(StudioError, OSError):  # a base that is gone judges nothing
        base = find_base(source or last_base(desk.workspace, kept.dataset.root.name), desk.workspace)
        if base.path == STARTER:
            return kept.read_by(None)
        ends = desk.readings.wait(desk.readings.ask(base, longer), PATIENCE_S) if longer else {}
        if ends is not None:
            kept.read_by((f"the base {base.name}", ends))


def _brief(finding: dict[str, Any]) -> dict[str, Any]:
    return {key: finding[key] for key in ("key", "title", "text", "why", "cost", "mends")}


def _item(kept: Kept, file: str) -> dict[str, Any]:
    """A picture as the review shows it."""
    row = next(row for row in kept.dataset.rows if row.file == file)
    measured = kept.chart.measured.get(row.pixels)
    return picture(kept, row) | {"blur": measured["blur"] if measured else None}


def _add_checks(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/datasets/{dataset}/doctor/check")
    def start(dataset: str) -> dict[str, Any]:
        checkup, is_new = checkups.create_checkup(desk.workspace, dataset)
        if is_new or checkup.status()["state"] == "waiting":  # one that nobody had asked for is carried out now
            checkup.hand_over(desk.resident.check)
        return describe(checkup)

    @routes.get("/checkups/{checkup_id}")
    def read(checkup_id: str) -> dict[str, Any]:
        return describe(checkups.read_checkup(desk.workspace, checkup_id))

    @routes.post("/checkups/{checkup_id}/cancel")
    def cancel(checkup_id: str) -> dict[str, Any]:
        checkup = checkups.read_checkup(desk.workspace, checkup_id)
        desk.resident.cancel(checkup.id)
        return describe(checkup)


def _add_split(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/datasets/{dataset}/split")
    def read(dataset: str) -> dict[str, Any]:
        found = desk.views.shelf.open(dataset).dataset
        columns = sorted({key for row in found.rows for key in columns_of(row)})
        sides = {"train": len(found.train_rows), "held_out": len(found.held_out_rows)}
        return {"rule": rule_of(found).model_dump(), "columns": columns, "groups": any(map(known_group, found.rows)), **sides}

    @routes.post("/datasets/{dataset}/split")
    def split(dataset: str, request: SplitRequest) -> dict[str, Any]:
        rule = parse_rule(request.rule)
        if request.preview:
            return preview_split(desk.workspace, desk.views.shelf.open(dataset).dataset, rule)
        return split_dataset(desk.workspace, dataset, rule)


def describe(checkup: Checkup) -> dict[str, Any]:
    """{"id", "dataset", "status"} of a check."""
    return {"id": checkup.id, "dataset": checkup.dataset(), "status": checkup.progress()}
