"""Captionings asked for on the Dataset screen: each is a folder with its request, how far it is, and what came of it."""

from pathlib import Path
from typing import Any

from studio.dataset.captioning import CaptionRequest, parse_request, select
from studio.errors import StudioError
from studio.jobs.processes import asked
from studio.jobs.processes.asked import OVER, Asked
from studio.store import Workspace, read_json, write_json

MAX_KEPT = 20  # of those that are over, the newest; what they did can be undone in the dataset's history


class Captioning(Asked):
    """A captioning's folder and what is in it."""

    title, gone = "captioning", "; the dataset's history tells what was changed"
    lost = "the studio or its picture process ended before these captions were written: nothing was changed; caption again to go on"

    def request(self) -> CaptionRequest:
        """What was asked for; StudioError naming the file where it is damaged."""
        try:
            return parse_request(read_json(self.folder / "request.json"))
        except StudioError as error:
            raise StudioError(f"{self.folder / 'request.json'} is damaged: {error}") from None

    def result(self) -> dict[str, Any]:
        """What `caption_dataset` told; StudioError where it is not finished."""
        value = read_json(self.folder / "result.json")
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise StudioError(f"{self.folder / 'result.json'} is damaged: the dataset's history tells what was changed")
        return value

    def write_result(self, told: dict[str, Any]) -> None:
        """Keep what came of it."""
        write_json(self.folder / "result.json", told)


def captionings_folder(workspace: Workspace) -> Path:
    """The workspace's folder of captionings."""
    return workspace.root / "captionings"


def create_captioning(workspace: Workspace, request: CaptionRequest) -> Captioning:
    """A captioning, waiting to be carried out; StudioError, and nothing made, when anything asked for is wrong."""
    found = select(workspace, request)
    dataset, wanted = found.dataset, found.wanted
    request = request.model_copy(update={"dataset": dataset.root.name})
    at_work = find_captioning(workspace, request.dataset)
    if at_work and at_work.status()["state"] not in OVER:
        raise StudioError(f"captions of {dataset.name} are being written already: wait for them, or stop that first")
    made = asked.create(Captioning, captionings_folder(workspace), {"request.json": request.model_dump()}, done=0, total=len(wanted))
    asked.prune(Captioning, captionings_folder(workspace), MAX_KEPT)
    return made


def read_captioning(workspace: Workspace, captioning_id: str) -> Captioning:
    """The captioning with this id; StudioError where there is none."""
    return asked.find(Captioning, captionings_folder(workspace), captioning_id)


def find_captioning(workspace: Workspace, dataset: str) -> Captioning | None:
    """The newest captioning of the dataset in this folder, at work or over."""
    return asked.newest_of(Captioning, captionings_folder(workspace), lambda one: one.request().dataset == dataset)
