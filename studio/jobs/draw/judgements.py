"""Verdicts asked for on the Train screen: each is a folder with its request, how far it is, its pictures, and what came of it."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio.dataset.rows import Dataset, Row, open_dataset
from studio.errors import StudioError
from studio.jobs.processes import asked
from studio.jobs.processes.asked import OVER, Asked
from studio.jobs.runs.folders import Run, find_run
from studio.jobs.runs.snapshots import check_adapter
from studio.settings import Settings, explain, setting
from studio.store import Workspace, read_json

PARTS = {"key", "title", "state", "value", "text"}  # of a finding
FOUND = "verdict.json"  # in the run's folder: what the newest judgement came to


class JudgementRequest(Settings):
    """What to judge, and how thoroughly."""

    run: str = setting(..., "Run", "Whose adapter", max_length=300)
    snapshot: int | None = setting(None, "Snapshot", "Step; empty = the run's chosen adapter", ge=0)
    count: int = setting(32, "Pairs", "How many are drawn, with captions that were trained on; more find rarer copies", ge=8, le=256)
    seed: int = setting(0, "Seed", "Of the first picture; the others follow", ge=0, le=2**53 - 257)


class Judgement(Asked):
    """A judgement's folder and what is in it."""

    title, gone = "judgement", "; judge again"
    lost = "the studio or its picture process ended before this was done: judge again"

    @property
    def pictures(self) -> Path:
        """The folder of the pictures it drew."""
        return self.folder / "pictures"

    def request(self) -> JudgementRequest:
        """What was asked for; StudioError naming the file where it is damaged."""
        return parse_request(read_json(self.folder / "request.json"), f"{self.folder / 'request.json'} is damaged: ")

    def result(self) -> dict[str, Any]:
        """What came of it, as `judging.judge_run` tells; StudioError where it is not finished."""
        value = read_json(self.folder / "result.json")
        if not isinstance(value, dict) or not isinstance(value.get("pictures"), list):
            raise StudioError(f"{self.folder / 'result.json'} is damaged: judge again")
        return value


def parse_request(values: Any, prefix: str = "") -> JudgementRequest:
    """The request in these values; StudioError saying what is wrong."""
    try:
        return JudgementRequest.model_validate(values)
    except ValidationError as error:
        raise StudioError(prefix + explain(error)) from None


def judgements_folder(workspace: Workspace) -> Path:
    """The workspace's folder of judgements."""
    return workspace.root / "judgements"


def create_judgement(workspace: Workspace, request: JudgementRequest) -> tuple[Judgement, bool]:
    """(a judgement to be carried out, True), or (the one at work on that run, False); StudioError where there is nothing to judge."""
    run = find_run(workspace, request.run)
    newest = find_judgement(workspace, run.id)
    if newest and newest.status()["state"] not in OVER:
        return newest, False
    check_adapter(run, request.snapshot)
    trained_on(workspace, run)
    request = request.model_copy(update={"run": run.id})
    made = asked.create(Judgement, judgements_folder(workspace), {"request.json": request.model_dump()}, done=0, total=request.count)
    if newest:  # its pictures have had their day; what came of it is kept with the run
        shutil.rmtree(newest.folder, ignore_errors=True)
    return made, True


def trained_on(workspace: Workspace, run: Run) -> tuple[Dataset, list[Row], list[Row], int]:
    """(dataset, rows the run was trained on, rows it has never seen, how many of the first are gone), told by the pictures' bytes.

    StudioError where none of them is there any more.
    """
    dataset = open_dataset(workspace, run.spec().dataset)
    before: dict[str, str] = {}
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # damaged: then nothing is known
        for each in run.read("origin.json", "data").values():
            before[each["image"]] = "train" if before.get(each["image"]) == "train" else each["split"]
    seen = [row for row in dataset.rows if before.get(row.sha256) == "train"]
    if not seen:
        raise StudioError(f"run {run.id}: none of the pictures it was trained on is in {dataset.name} any more")
    unseen = [row for row in dataset.rows if before.get(row.sha256) == "held_out"]
    gone = sum(split == "train" for split in before.values()) - len({row.sha256 for row in seen})
    return dataset, seen, unseen, gone


def read_judgement(workspace: Workspace, judgement_id: str) -> Judgement:
    """The judgement with this id; StudioError where there is none."""
    return asked.find(Judgement, judgements_folder(workspace), judgement_id)


def find_judgement(workspace: Workspace, run_id: str) -> Judgement | None:
    """The newest judgement of the run with this id, at work or over."""
    return asked.newest_of(Judgement, judgements_folder(workspace), lambda one: one.request().run == run_id)


def read_verdict(run: Run) -> dict[str, Any] | None:
    """What the newest judgement of this run's chosen adapter came to: {"state", "text", "findings", "count", …}; None without one."""
    with contextlib.suppress(StudioError, OSError):
        found = read_json(run.folder / FOUND)
        if _is_whole(found) and found.get("step") == run.read("scores.json", "chosen", "step"):
            return found
    return None


def _is_whole(found: Any) -> bool:
    """Whether this is a verdict of which nothing that others read is missing."""
    if not isinstance(found, dict) or not isinstance(found.get("findings"), list):
        return False
    findings = [each for each in found["findings"] if isinstance(each, dict) and PARTS <= each.keys()]
    return {"state", "text", "step", "count"} <= found.keys() and len(findings) == len(found["findings"])
