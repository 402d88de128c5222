"""A merge waits for the run that trains where memory would do afterwards, and says the figures where it never would."""

from types import SimpleNamespace

import pytest

from studio.errors import StudioError
from studio.jobs import merge_room
from studio.jobs.merge_room import needed_gib, wait_for_room
from studio.memory_plan import GIB
from studio.models import find_base
from studio.store import Workspace
from tests.fixtures.shelf import SD1, UNET, sparse_safetensors


@pytest.fixture
def memory(monkeypatch):
    """What is free and there, in GiB, and the states of one run, each for one look."""
    told = SimpleNamespace(free=1.0, total=8.0, states=[])
    monkeypatch.setattr(merge_room.psutil, "virtual_memory", lambda: SimpleNamespace(available=told.free * GIB, total=told.total * GIB))
    monkeypatch.setattr(merge_room, "POLL_S", 0.0)
    monkeypatch.setattr(merge_room, "needed_gib", lambda base: 4.0)

    def runs(workspace):
        return [SimpleNamespace(id="0001-brain", status=lambda: {"state": told.states.pop(0)})] if told.states else []

    monkeypatch.setattr(merge_room, "list_runs", runs)
    return told


def test_it_waits_for_a_run_and_goes_on_when_there_is_room(memory, tmp_path):
    said = []

    def tell(text):
        said.append(text)
        if len(said) == 2:
            memory.free = 5.0

    memory.states = ["running", "running", "running"]
    wait_for_room(Workspace.at(tmp_path), find_base("starter"), tell)
    assert said == ["waiting for run 0001-brain: 4.0 GiB are needed, 1.0 are free"] * 2


def test_what_will_never_fit_and_what_others_hold_is_said_in_a_line(memory, tmp_path):
    memory.states = ["finished"]
    with pytest.raises(StudioError, match=r"4\.0 GiB of memory for starter, 1\.0 of 8\.0 GiB are free: close other programs"):
        wait_for_room(Workspace.at(tmp_path), find_base("starter"), print)
    memory.total = 2.0
    with pytest.raises(StudioError, match="use a machine with more"):
        wait_for_room(Workspace.at(tmp_path), find_base("starter"), print)


def test_the_need_is_told_by_headers(tmp_path):
    starter = find_base("starter")
    assert 0.4 < needed_gib(starter) < 1.0
    file = sparse_safetensors(tmp_path / "large.safetensors", SD1 | {UNET + "middle_block.0.weight": [30_000, 30_000]})
    assert 7 < needed_gib(find_base(str(file))) < 9
