"""Checks of datasets asked for on the Dataset screen: each is a folder with its request, how far it is, and what came of it."""

from pathlib import Path

from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.jobs.processes import asked
from studio.jobs.processes.asked import OVER, Asked
from studio.store import Workspace, read_json

MAX_KEPT = 20  # of those that are over, the newest; what they found is kept beside the dataset


class Checkup(Asked):
    """A check's folder and what is in it."""

    title, gone = "check", "; what it found is kept with the dataset"
    lost = "the studio or its picture process ended during this check: what was measured is kept, check again"

    def dataset(self) -> str:
        """The folder of the dataset that is looked at; StudioError naming the file where it is damaged."""
        value = read_json(self.folder / "request.json")
        if not isinstance(value, dict) or not isinstance(value.get("dataset"), str):
            raise StudioError(f"{self.folder / 'request.json'} is damaged: check again")
        return value["dataset"]


def checkups_folder(workspace: Workspace) -> Path:
    """The workspace's folder of checks."""
    return workspace.root / "checkups"


def create_checkup(workspace: Workspace, name: str) -> tuple[Checkup, bool]:
    """(a check of the dataset `name` to be carried out, True), or (the one at work on it, False).

    StudioError where there is nothing to look at.
    """
    dataset = open_dataset(workspace, name)
    if not dataset.rows:
        raise StudioError(f"{dataset.name} has no pictures: add some first")
    at_work = find_checkup(workspace, dataset.root.name)
    if at_work and at_work.status()["state"] not in OVER:
        return at_work, False
    root = checkups_folder(workspace)
    made = asked.create(Checkup, root, {"request.json": {"dataset": dataset.root.name}}, done=0, total=2 * len(dataset.rows))
    asked.prune(Checkup, root, MAX_KEPT)
    return made, True


def read_checkup(workspace: Workspace, checkup_id: str) -> Checkup:
    """The check with this id; StudioError where there is none."""
    return asked.find(Checkup, checkups_folder(workspace), checkup_id)


def find_checkup(workspace: Workspace, dataset: str) -> Checkup | None:
    """The newest check of the dataset in this folder, at work or over."""
    return asked.newest_of(Checkup, checkups_folder(workspace), lambda one: one.dataset() == dataset)
