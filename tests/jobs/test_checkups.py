"""Checks of a dataset as jobs: one at a time for each dataset, followed, stopped, and what they find is kept with the dataset."""

import pytest

from studio.dataset.doctor.chart import read_chart
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.jobs import checkup_tasks, checkups
from studio.jobs.warm import Warm
from studio.store import Workspace
from tests.dataset.messy import scene


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")
    for i in range(9):
        scene(i, (64, 64)).save(tmp_path / f"{i}.png")
    create_dataset(workspace, "Scenes", [*sorted(tmp_path.glob("*.png"))])
    return workspace


def test_a_check_is_asked_for_once_carried_out_and_kept(workspace):
    checkup, is_new = checkups.create_checkup(workspace, "Scenes")
    again, is_second = checkups.create_checkup(workspace, "scenes")
    assert (is_new, is_second) == (True, False) and again.id == checkup.id and checkup.status()["state"] == "waiting"
    wanted, total = checkup_tasks.describe(workspace, checkup)
    assert (wanted.source, total, wanted.doing) == ("", 18, "checking 9 pictures of Scenes")
    steps = []
    checkup_tasks.carry_out(workspace, checkup, Warm(), lambda state, done: steps.append((state, done)))
    assert {state for state, _ in steps} == {"checking"} and [done for _, done in steps] == sorted(done for _, done in steps)
    chart = read_chart(workspace.datasets / "scenes")
    assert chart.compared and chart.num_compared == 9 and chart.checked > 0
    checkup.write_status("finished")
    assert checkups.create_checkup(workspace, "Scenes")[1] and checkups.find_checkup(workspace, "scenes") != checkup


def test_a_stopped_check_changes_nothing_and_wrong_ones_are_a_line(workspace):
    checkup, _ = checkups.create_checkup(workspace, "Scenes")
    before = read_chart(workspace.datasets / "scenes")

    def stop(state, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkup_tasks.carry_out(workspace, checkup, Warm(), stop)
    assert read_chart(workspace.datasets / "scenes") == before
    for name in ("../x", "00000009-abcdef"):
        with pytest.raises(StudioError, match="it is not here"):
            checkups.read_checkup(workspace, name)
    with pytest.raises(StudioError, match="no dataset is called"):
        checkups.create_checkup(workspace, "gone")
