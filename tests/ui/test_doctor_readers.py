"""Captions that are not read to their end are found for the base that was chosen last, on the page and by the command alike."""

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from studio.cli import app as commands
from studio.dataset.intake import create_dataset
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import last_base
from studio.store import Workspace
from tests.fixtures.tiny import images, tiny_ddpm, tiny_sd
from tests.ui.browser import wait_until
from ui.desk import Desk
from ui.routes import datasets, doctor


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """(client, workspace) with a dataset of four pictures, one caption of which some bases read to its end."""
    workspace = Workspace.at(tmp_path_factory.mktemp("space") / "workspace")
    tiny_sd(workspace.models / "tiny")
    tiny_ddpm(workspace.models / "pixels")
    folder = images(tmp_path_factory.mktemp("given"), 4)
    (folder / "001.txt").write_text("tree " * 25 + "leaves", "utf-8")
    create_dataset(workspace, "words", [folder])
    create_run(workspace, Request("words", str(workspace.models / "tiny"), "lora", settings=["train.steps=2"]))
    desk, app = Desk(workspace), FastAPI()
    for area in (datasets, doctor):
        app.include_router(area.router(desk), prefix="/studio")
    with TestClient(app) as client:
        yield client, workspace
    desk.close()


def cut(client, base=""):
    """What the doctor says of long captions."""
    told = client.get("/studio/datasets/words/doctor", params={"base": base}).json()
    return {each["key"]: each for each in told["findings"]}.get("long_caption")


def test_the_page_is_told_for_the_base_that_was_chosen(room):
    client, workspace = room
    assert cut(client, "starter") is None
    told = wait_until(lambda: cut(client, "tiny"), "what the base cuts")
    assert told["text"] == "1 picture with a caption longer than the base tiny reads" and told["num"] == 1
    shown = client.get("/studio/datasets/words/doctor/long_caption").json()["told"]
    assert list(shown) == ["0002-001.png"] and "not read: “" in shown["0002-001.png"]
    assert cut(client, "starter") is None
    assert wait_until(lambda: cut(client), "that of the newest run")["text"] == told["text"]
    wait_until(lambda: cut(client, "pixels") is None, "that a base without text cuts nothing")
    assert cut(client, "no such base") is None, "one that is gone judges nothing"
    assert last_base(workspace, "words") == str(workspace.models / "tiny") and last_base(workspace, "others") == "starter"


def test_the_grid_says_what_the_doctor_says(room):
    client, workspace = room
    here = "/studio/datasets/words"

    def same(base):
        doctor = client.get(f"{here}/doctor", params={"base": base}).json()
        grid = client.get(here, params={"known": seen}).json()
        return "items" in grid and grid["facts"]["doctor"]["score"] == doctor["score"] and grid["version"]

    assert cut(client, "starter") is None
    seen = client.get(here).json()["version"]
    seen = wait_until(lambda: same("tiny"), "a grid that was drawn for another base is drawn anew")
    (workspace.datasets / "words" / "0001-000.txt").write_text("another caption", "utf-8")
    told = client.get(here).json()
    assert cut(client, "tiny") and client.get(here, params={"known": told["version"]}).json().get("same"), "it stays that base's"
    wait_until(lambda: same("starter"), "and that of the other again")


@pytest.mark.parametrize("base, words", [("tiny", "the base tiny reads"), ("starter", None), ("", "the base tiny reads")])
def test_the_command_tells_the_same(room, base, words):
    _, workspace = room
    asked = ["dataset", "check", "words", "--no-look", "--json", "--workspace", str(workspace.root), *(["--base", base] if base else [])]
    answer = CliRunner().invoke(commands, asked)
    told = {each["key"]: each["text"] for each in json.loads(answer.output.splitlines()[-1])["findings"]}
    assert answer.exit_code == 0 and (words is None) == ("long_caption" not in told), told
    assert words is None or words in told["long_caption"]
