"""Captions as a base reads them, by a process of their own: what is cut and where, for the base that was chosen."""

import json

import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.jobs.datasets.reading import read_texts, tell_long
from studio.jobs.datasets.readings import MAX_SHOWN, Readings
from studio.models.bases import find_base
from studio.store import Workspace
from tests.fixtures.tiny import images, tiny_ddpm, tiny_sd
from tests.ui.browser import wait_until

LONG = "an axial slice of the upper brain, " * 12 + "with the last word 😀 <b>never</b>"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    workspace = Workspace.at(tmp_path_factory.mktemp("space"))
    tiny_sd(workspace.models / "tiny")
    tiny_ddpm(workspace.models / "pixels")
    folder = images(workspace.root / "given", 4)
    (folder / "002.txt").write_text(LONG, "utf-8")
    create_dataset(workspace, "shapes", [folder])
    return workspace


@pytest.fixture
def readings(place):
    made = Readings(place)
    yield made
    made.close()


def over(readings, key):
    return wait_until(lambda: told if (told := readings.told(key))["state"] != "reading" else None, "an answer")


def test_each_base_is_judged_by_its_own_tokenizer(place, readings):
    captions = {"a.png": "short", "b.png": LONG} | {f"{i}.png": f"{LONG} {i}" for i in range(MAX_SHOWN)}
    told = over(readings, readings.ask(find_base("tiny", place), captions))
    assert (told["state"], told["limit"], told["total"], told["num_long"]) == ("told", 77, MAX_SHOWN + 2, MAX_SHOWN + 1), told
    assert len(told["long"]) == MAX_SHOWN and told["base"] == "tiny" and told["long"][0]["file"] == "b.png"
    first = told["long"][0]
    assert f"{first['read']} {first['rest']}" == LONG and first["read"].startswith("an axial")
    by_embedded = over(readings, readings.ask(find_base("starter", place), captions))
    assert by_embedded["limit"] == 32 and by_embedded["long"][0]["read"] != first["read"]
    assert readings.ask(find_base("tiny", place), captions) == readings.ask(find_base("tiny", place), dict(captions)), (
        "known, not asked again"
    )
    textless = over(readings, readings.ask(find_base("pixels", place), captions))
    assert textless["num_long"] == 0 and not textless["reads"]


def test_a_few_texts_are_answered_at_once_and_a_lost_process_is_replaced(place, readings):
    base = find_base("tiny", place)
    answer = readings.ends(base, ["short", LONG, ""])
    assert (
        answer["limit"] == 77
        and answer["ends"][::2] == [None, None]
        and answer["ends"][1] == read_texts("sd", base.path, [LONG])["ends"][0]
    )
    readings._process.kill()
    readings._process.wait()
    assert readings.ends(base, ["short"])["ends"] == [None]
    with pytest.raises(StudioError, match="not looked at any more"):
        readings.told("0" * 20)


def test_a_base_whose_tokenizer_cannot_be_read_is_named(place, readings, tmp_path):
    folder = tiny_sd(tmp_path / "broken")
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    base = find_base(str(folder))
    told = over(readings, readings.ask(base, {"a.png": LONG}))
    assert told["state"] == "failed" and "no tokenizer can be made" in told["error"] and "\n" not in told["error"]
    with pytest.raises(StudioError, match="no tokenizer can be made"):
        readings.ends(base, ["x"])
    assert readings.ends(find_base("tiny", place), ["x"])["ends"] == [None], "the process goes on"


def test_a_dry_run_lists_what_is_cut_as_the_run_would_word_it(place):
    words = ["train", "--dataset", "shapes", "--base", "tiny", "--dry-run", "--json", "--workspace", str(place.root)]
    said = CliRunner().invoke(app, words).output
    told = json.loads(said.splitlines()[-1])["captions"]
    assert told == tell_long(find_base("tiny", place), {"0003-002.png": LONG}) | {"num": 4, "num_empty": 0}, told
    assert "captions: 1 of 4 are longer than is read of them (this base reads 77 tokens)" in said and "not read: “" in said
    assert "never" not in said.partition("not read")[0], "the words shown are those that are read"
    subject = CliRunner().invoke(app, [*words, "--recipe", "dreambooth-lora", "--set", "prior.class_noun=disc"]).output
    assert json.loads(subject.splitlines()[-1])["captions"]["long"][0]["read"].startswith("sks disc")
    pixels = CliRunner().invoke(app, [*words[:4], "pixels", *words[5:], "--recipe", "ddpm-lora"]).output
    assert "captions:" not in pixels and json.loads(pixels.splitlines()[-1])["captions"]["limit"] == 0
