"""What a run records of its data: the split with its rule; groups on both sides and pictures that were trained on before are told."""

import shutil

import pytest

from studio.dataset.edit import add_pictures, rename_dataset
from studio.dataset.intake import create_dataset
from studio.dataset.removal import remove_pictures, restore_pictures
from studio.dataset.resplit import split_dataset, undo_split
from studio.dataset.rows import Dataset
from studio.dataset.split_rule import SplitRule
from studio.errors import StudioError
from studio.jobs.runs.folders import Run
from studio.jobs.runs.origin import FILE, write_origin
from studio.store import Workspace, read_json
from tests.dataset.corpus import encode, photo


@pytest.fixture
def place(tmp_path):
    """A workspace with twelve pictures of three patients, split by patient, and a run of it that has begun."""
    workspace, folder = Workspace.at(tmp_path / "workspace"), tmp_path / "in"
    folder.mkdir()
    for i in range(12):
        (folder / f"patient{i // 4}-{i}.png").write_bytes(encode(photo(i, (48, 32)), "PNG"))
    create_dataset(workspace, "Slices", [folder])
    split_dataset(workspace, "slices", SplitRule(groups_by=r"patient(\d)"))
    run = Run(tmp_path / "0001-run")
    run.folder.mkdir()
    assert told(workspace, run) == []
    return workspace, run


def told(workspace, run, name="slices", base="base"):
    warnings = []
    write_origin(run, Dataset.load(workspace.datasets / name), base, "cpu", warnings.append)
    return warnings


def test_split_and_rule_are_recorded_and_nothing_is_said_while_nothing_changes(place):
    workspace, run = place
    dataset = Dataset.load(workspace.datasets / "slices")
    origin = read_json(run.folder / FILE)
    assert {file: each["split"] for file, each in origin["data"].items()} == {row.file: row.split for row in dataset.rows}
    assert origin["split_rule"]["groups_by"] == r"patient(\d)" and len({row.group for row in dataset.held_out_rows}) == 1
    undo = remove_pictures(workspace, "slices", [dataset.rows[0].file])["undo"]
    restore_pictures(workspace, "slices", undo)
    rename_dataset(workspace, "slices", "Other slices")
    assert told(workspace, run) == [] and read_json(run.folder / FILE) == origin
    with pytest.raises(StudioError, match="base model has changed"):
        told(workspace, run, base="other")


def test_a_leak_that_a_person_chose_is_told_in_every_run(place, tmp_path):
    workspace, _ = place
    split_dataset(workspace, "slices", SplitRule(within=True))
    later = Run(tmp_path / "0002-run")
    later.folder.mkdir()
    (warning,) = told(workspace, later)
    assert "of groups that are trained on" in warning and read_json(later.folder / FILE)["split_rule"]["within"]


def test_pictures_that_were_trained_on_and_are_held_out_now_are_told_on_resume(place):
    workspace, run = place
    undo = split_dataset(workspace, "slices", SplitRule(seed=3, share=0.5))["undo"]
    changed, flatters = told(workspace, run)[-2:]
    assert "has changed since" in changed and "were trained on before" in flatters
    undo_split(workspace, "slices", undo)
    assert "has changed since" in told(workspace, run)[0]


def test_look_alikes_of_held_out_pictures_that_come_later_are_held_out_as_well(place, tmp_path):
    workspace, run = place
    held = Dataset.load(workspace.datasets / "slices").held_out_rows
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "in").mkdir()
    for row in held:
        number = int(row.source.removesuffix(".png").split("-")[1])
        (tmp_path / "in" / f"again {number}.jpg").write_bytes(encode(photo(number, (48, 32)).resize((96, 64)), "JPEG", quality=92))
    added = add_pictures(workspace, "slices", [tmp_path / "in"])
    assert {row.split for row in added.dataset.rows if row.file in added.files} == {"held_out"}
    assert told(workspace, run) == ["the dataset has changed since this run began; it goes on with the dataset as it is now"]
