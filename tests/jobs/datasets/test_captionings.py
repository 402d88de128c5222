"""Captionings as folders: made, carried out, refused, told, put away; and the process that carries them out."""

import json
import os
import shutil

import pytest

from studio.dataset import removal
from studio.dataset.captioning import CaptionRequest
from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.rows import Dataset, open_dataset
from studio.errors import StudioError
from studio.jobs.datasets import caption_tasks, captionings
from studio.jobs.processes.asked import names
from studio.jobs.processes.warm import Warm
from studio.jobs.resident import Server
from studio.jobs.resident_client import Resident
from studio.store import Workspace
from tests.fixtures.waiting import wait_for_state

FOUR = CaptionRequest(dataset="icons", threshold=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("anchor", "banana", "bell", "bus"):
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "icons", [folder]).root


@pytest.fixture
def workspace(tmp_path, made):
    workspace = Workspace.at(tmp_path / "workspace")
    shutil.copytree(made, workspace.datasets / "icons")
    return workspace


@pytest.fixture
def server(workspace):
    """What the resident process does with requests, in this one; `.told` is what it says."""
    told = []
    server = Server(workspace, type("Out", (), {"write": lambda self, text: told.append(json.loads(text)), "flush": lambda self: None})())
    server.told = told
    return server


def captions(workspace, name="icons"):
    dataset = open_dataset(workspace, name)
    return [dataset.caption(row) for row in dataset.rows]


def test_a_captioning_is_carried_out_batch_by_batch(workspace):
    job = captionings.create_captioning(workspace, FOUR)
    assert job.status()["state"] == "waiting" and job.status()["total"] == 4
    wanted, total = caption_tasks.describe(workspace, job)
    assert (wanted.source, wanted.doing, total) == ("", "captioning 4 pictures of icons", 4)
    seen = []
    caption_tasks.carry_out(workspace, job, Warm(), lambda state, done: seen.append((state, done)))
    assert seen == [("captioning", 0), ("captioning", 4)]
    assert job.result()["count"] == sum(map(bool, captions(workspace))) > 0
    assert captionings.find_captioning(workspace, "icons").id == job.id and captionings.find_captioning(workspace, "other") is None


def test_the_process_needs_no_room_and_no_base_model_for_it(workspace, server, monkeypatch):
    monkeypatch.setattr(server, "_find_room", lambda *given: pytest.fail("a captioning waits for no run"))
    job = captionings.create_captioning(workspace, FOUR)
    server._work("caption", job.id)
    status = job.status()
    assert (status["state"], status["done"], status["total"]) == ("finished", 4, 4)
    assert any(line["doing"] == "captioning 4 pictures of icons" for line in server.told) and server._warm.path is None


def test_a_captioner_with_weights_of_its_own_is_given_room(workspace, server, monkeypatch, captioner_folders):
    asked = []
    monkeypatch.setattr(server, "_find_room", lambda kind, wanted, progress: asked.append(server._needed(kind, wanted)))
    request = FOUR.model_copy(update={"captioner": str(captioner_folders["blip"]), "threshold": None, "max_tokens": 4})
    job = captionings.create_captioning(workspace, request)
    server._work("caption", job.id)
    assert job.status()["state"] == "finished" and job.result()["count"] > 0
    assert asked == [(captioner_folders["blip"] / "model.safetensors").stat().st_size]


def test_what_goes_wrong_is_a_line_in_its_status(workspace, server):
    job = captionings.create_captioning(workspace, FOUR)
    token = removal.delete_dataset(workspace, "icons")
    server._work("caption", job.id)
    assert job.status()["state"] == "failed" and "no dataset is called 'icons'" in job.status()["error"]
    removal.restore_dataset(workspace, token)
    (job.folder / "request.json").write_text('{"dataset": 1}')
    with pytest.raises(StudioError, match="request.json is damaged: dataset"):
        job.request()
    with pytest.raises(StudioError, match="not here"):
        captionings.read_captioning(workspace, "../icons")


def test_a_cancelled_one_changes_nothing(workspace, server):
    job = captionings.create_captioning(workspace, FOUR)
    job.cancel()
    assert job.status()["state"] == "cancelled"
    server._work("caption", job.id)
    assert job.status()["state"] == "cancelled" and captions(workspace) == [""] * 4


def test_one_at_a_time_for_each_dataset(workspace, made):
    shutil.copytree(made, workspace.datasets / "others")
    Dataset.load(workspace.datasets / "others").model_copy(update={"name": "others"}).save()
    first = captionings.create_captioning(workspace, FOUR)
    with pytest.raises(StudioError, match="captions of icons are being written already"):
        captionings.create_captioning(workspace, FOUR)
    captionings.create_captioning(workspace, FOUR.model_copy(update={"dataset": "others"}))
    first.cancel()
    captionings.create_captioning(workspace, FOUR)


def test_a_wrong_request_makes_nothing(workspace):
    for wrong in ({"captioner": "magic"}, {"dataset": "nope"}, {"files": ["gone.png"]}):
        with pytest.raises(StudioError):
            captionings.create_captioning(workspace, FOUR.model_copy(update=wrong))
    assert names(captionings.captionings_folder(workspace)) == []


def test_old_ones_are_forgotten(workspace, monkeypatch):
    monkeypatch.setattr(captionings, "MAX_KEPT", 2)
    for _ in range(4):
        last = captionings.create_captioning(workspace, FOUR)
        last.write_status("finished")
    assert len(names(captionings.captionings_folder(workspace))) <= 3 and last.folder.exists()


def test_the_real_process_captions_and_what_waits_for_weights_is_left_at_once(workspace, made):
    """A disk that does not answer is a pipe in the place of a file: who opens it waits, as for weights that take minutes."""
    shutil.copytree(made, workspace.datasets / "others")
    Dataset.load(workspace.datasets / "others").model_copy(update={"name": "others"}).save()
    index = workspace.datasets / "icons" / "dataset.json"
    client = Resident(workspace)
    try:
        job, other = (captionings.create_captioning(workspace, FOUR.model_copy(update={"dataset": name})) for name in ("icons", "others"))
        index.rename(index.with_suffix(".kept"))
        os.mkfifo(index)
        for each in (job, other):
            client.caption(each.id)
        wait_for_state(job, "loading")
        client.cancel(job.id)
        assert wait_for_state(job)["state"] == "cancelled" and "error" not in job.status()
        index.unlink()
        index.with_suffix(".kept").rename(index)
        assert wait_for_state(other)["state"] == "finished" and captions(workspace) == [""] * 4
        assert other.result()["count"] == sum(map(bool, captions(workspace, "others")))
    finally:
        client.close()
