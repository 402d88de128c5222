"""Errands: looked through in a process of their own, followed, stopped, and never two of a kind at once."""

import pytest

from studio.errors import StudioError
from studio.jobs.errands import Errands
from studio.jobs.models.scan import shelf
from studio.models.places import add_model_place
from studio.store import Workspace, write_json
from tests.fixtures.shelf import SHELF, mixed_shelf
from tests.fixtures.waiting import wait_until


def over(errands, kind):
    wait_until(lambda: errands.state(kind)["state"] != "running")
    return errands.state(kind)


@pytest.fixture()
def errands(tmp_path):
    made = Errands(Workspace.at(tmp_path / "workspace"))
    yield made
    made.close()


def test_places_are_looked_through_in_another_process(errands, tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")
    add_model_place(workspace, str(mixed_shelf(tmp_path / "shelf")))
    assert {m["place"] for m in shelf(workspace)["models"]} == {"embedded"}, "before the first look"
    assert [p["note"] for p in shelf(workspace)["places"]] == ["not looked through yet"]
    errands.start("scan", {})
    assert errands.start("scan", {})["state"] == "running", "a second one joins"
    state = over(errands, "scan")
    assert state["state"] == "finished" and state["total"] > len(SHELF), state
    add_model_place(workspace, str(tmp_path))
    assert [bool(p["models"]) for p in shelf(workspace)["places"]] == [True, False], "the places are those of now"
    kinds = {m["model"]: m["kind"] for m in shelf(workspace)["models"]}
    assert all(kinds[name] == kind for name, (_, _, kind, _) in SHELF.items())
    write_json(workspace.cache / "models.json", {"models": 3})
    assert {m["place"] for m in shelf(workspace)["models"]} == {"embedded"}


def test_a_look_again_sees_what_has_changed_since_the_one_at_work_began(errands, tmp_path):
    workspace, place = Workspace.at(tmp_path / "workspace"), tmp_path / "shelf"
    place.mkdir()
    add_model_place(workspace, str(place))
    errands.start("scan", {})
    before = errands._processes["scan"]
    place.rmdir()
    assert errands.start("scan", {"again": True})["state"] == "running" and errands._processes["scan"] is not before
    assert over(errands, "scan")["state"] == "finished" and "it is gone" in shelf(workspace)["places"][0]["note"]


def test_what_goes_wrong_is_told_and_a_stopped_one_is_over(errands):
    errands.start("merge", {"what": "into", "adapters": [{"source": "nothing"}], "name": "x"})
    with pytest.raises(StudioError, match="at work already"):
        errands.start("merge", {})
    assert over(errands, "merge")["state"] == "failed"
    errands.start("merge", {"odd": 1})
    assert "say what to merge" in over(errands, "merge")["error"]
    errands.start("scan", {})
    errands.stop("scan")
    assert errands.state("scan")["state"] == "stopped" and errands.state("fetch")["state"] == "idle"
