"""Checks of a dataset as jobs: one at a time for each dataset, followed, stopped, and what they find is kept with the dataset."""

import psutil
import pytest

from studio.dataset.doctor.chart import read_chart
from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.jobs.datasets import checkup_tasks, checkups
from studio.jobs.processes.warm import Warm
from studio.jobs.resident_client import Resident
from studio.jobs.runs.folders import identify
from studio.store import Workspace, write_json
from tests.dataset.messy import scene
from tests.fixtures.waiting import wait_until


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


def test_a_check_that_nobody_waits_for_steps_aside_for_runs_and_requests_and_goes_on_afterwards(workspace, tmp_path):
    run = workspace.runs / "0001-busy"
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    me = {"state": "running", **identify(psutil.Process())}
    write_json(run / "status.json", me)
    scene(20, (64, 64)).save(tmp_path / "other.png")
    create_dataset(workspace, "Other", [tmp_path / "other.png", tmp_path / "0.png"])
    resident = Resident(workspace)
    try:
        look, _ = checkups.create_checkup(workspace, "Scenes")
        resident.look(look.id)
        wait_until(lambda: look.status().get("note") == "after the run", "it waits for the run")
        assert look.status()["state"] == "waiting" and resident.state()["queue"] == 0
        asked, _ = checkups.create_checkup(workspace, "Other")
        resident.check(asked.id)
        resident.check(asked.id)  # a second click
        wait_until(lambda: asked.status()["state"] == "finished", "what was asked for waits for no run")
        assert look.status()["state"] == "waiting" and not read_chart(workspace.datasets / "scenes").compared
        write_json(run / "status.json", {**me, "state": "finished"})
        wait_until(lambda: look.status()["state"] == "finished", "it goes on after the run")
        assert read_chart(workspace.datasets / "scenes").num_compared == 9
        write_json(run / "status.json", me)
        again, _ = checkups.create_checkup(workspace, "Scenes")
        resident.look(again.id)
        wait_until(lambda: again.status().get("note") == "after the run", "it waits for the run")
        resident.check(again.id)  # somebody presses Check
        wait_until(lambda: again.status()["state"] == "finished", "it is carried out although a run is at work")
        last, _ = checkups.create_checkup(workspace, "Scenes")
        resident.look(last.id)
        wait_until(lambda: last.status().get("note") == "after the run", "it waits for the run")
        last.cancel()
        assert last.status()["state"] == "cancelled"
    finally:
        resident.close()


def test_pictures_that_come_during_a_check_are_looked_at_too(workspace, tmp_path):
    scene(30, (64, 64)).save(tmp_path / "late.png")
    checkup, _ = checkups.create_checkup(workspace, "Scenes")
    late = [tmp_path / "late.png"]

    def tick(state, done):
        if done == 18 and late:
            add_pictures(workspace, "Scenes", [late.pop()])

    checkup_tasks.carry_out(workspace, checkup, Warm(), tick)
    assert read_chart(workspace.datasets / "scenes").num_compared == 10
