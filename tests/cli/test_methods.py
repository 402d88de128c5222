"""DreamBooth and full tuning from the command line: trained, drawn beside the base, exported, and what is refused."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import settings

SHORT = ("train.steps=12", "train.snapshot_every=6", "preview.every=6")
SUBJECT = ("prior.class_noun=disc", "prior.count=6", "prior.steps=2")


def words(*more, without=("method.rank", "method.targets")):
    """The words of a short training, without settings that its methods lack."""
    quick = settings(*SHORT, *more)
    pairs = [quick[i : i + 2] for i in range(0, len(quick), 2)]
    return [word for pair in pairs if not pair[1].startswith(without) for word in pair]


@pytest.fixture(scope="module")
def tuned(home):
    """The shared workspace's run of full tuning."""
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "full", "--json"]
    return home.cli(*command, *words("method.lr=0.002")).well().json["run"]


def test_a_subject_is_learned_and_its_class_pictures_are_drawn_once(home):
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "dreambooth-lora", "--json", *settings(*SHORT, *SUBJECT)]
    runs = [home.cli(*command).well().json for _ in range(2)]
    assert all(run["state"] == "finished" for run in runs)
    events = [[json.loads(line) for line in (home.cli.folder(r["run"]) / "events.jsonl").read_text().splitlines()] for r in runs]
    drawn = [[e for e in lines if e["kind"] == "class_pictures"] for lines in events]
    assert drawn[0][-1]["done"] == 6 and not drawn[1]
    spec = json.loads((home.cli.folder(runs[0]["run"]) / "spec.json").read_text())
    assert spec["prior"]["token"] == "sks" and all("sks disc" in prompt for prompt in spec["preview"]["prompts"])
    pictures = sorted((home.cli.workspace / "datasets/shapes/prior").rglob("*.png"))
    assert len(pictures) == 6
    first = [run["run"] for run in runs]
    adapters = [(home.cli.folder(run) / "adapter.safetensors").read_bytes() for run in first]
    assert adapters[0] == adapters[1]


def test_nothing_of_a_subject_is_in_an_export(home, tmp_path):
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "dreambooth-lora", "--json"]
    more = ("prior.match=outputs", "prior.class_noun=zanzibar", "prior.token=quixotic")
    run = home.cli(*command, *settings(*SHORT, *more)).well().json["run"]
    home.cli.here("export", run, "--out", tmp_path / "x.safetensors").well()
    for path in tmp_path.iterdir():
        assert b"zanzibar" not in path.read_bytes() and b"quixotic" not in path.read_bytes()
    assert "| prior.weight | 1.0 |" in (tmp_path / "x.card.md").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "prior.class_noun"),
        (("prior.class_noun=one two three four five six seven eight nine ten",), "one to three words"),
        (("prior.class_noun=disc", "prior.count=0"), "prior.count"),
        (("prior.class_noun=disc", "prior.weight=-1"), "prior.weight"),
        (("prior.class_noun=disc", "prior.match=magic"), "prior.match"),
    ],
)
@pytest.mark.parametrize("recipe", ["dreambooth-lora", "dreambooth-full"])
def test_what_makes_no_subject_is_refused_in_a_line(home, recipe, given, message):
    before = sorted(p.name for p in (home.cli.workspace / "runs").iterdir())
    sets = [word for setting in given for word in ("--set", setting)]
    assert message in home.cli.here("train", "--dataset", "shapes", "--base", home.base, "--recipe", recipe, *sets).complaint()
    assert sorted(p.name for p in (home.cli.workspace / "runs").iterdir()) == before


def test_a_tuned_model_is_drawn_beside_its_base_and_taken_away_as_three(home, tuned, tmp_path):
    asked = [
        "sample",
        tuned,
        "--prompt",
        "a disc",
        "--seed",
        "3",
        "--steps",
        "4",
        "--sampler",
        "ddim",
        "--out",
        tmp_path / "drawn",
        "--json",
    ]
    pictures = {s: home.cli.here(*asked, "--strength", s).well().json for s in ("1", "0.5", "0")}
    base, whole, half, none = (
        np.asarray(Image.open(path), dtype=int)
        for path in (pictures["1"]["base"][0], pictures["1"]["adapted"][0], pictures["0.5"]["adapted"][0], pictures["0"]["adapted"][0])
    )
    assert np.array_equal(base, none) and np.abs(whole - base).max() > 2
    assert 0 < np.abs(half - base).mean() < np.abs(whole - base).mean() * 1.5 and not np.array_equal(half, whole)
    model, file, lora = tmp_path / "model", tmp_path / "model.safetensors", tmp_path / "lora.safetensors"
    assert "tensors" in home.cli.here("export", tuned, "--out", model).well().out
    home.cli.here("export", tuned, "--format", "checkpoint", "--out", file).well()
    told = home.cli.here("export", tuned, "--format", "extracted", "--rank", "8", "--out", lora, "--json").well()
    assert 0 < told.json["lacks"] < 1 and "lacks" in told.out
    assert lora.stat().st_size < file.stat().st_size
    run = home.cli("train", "--dataset", "shapes", "--base", model, "--json", *settings("train.steps=2", "train.snapshot_every=2")).well()
    assert run.json["state"] == "finished"


def test_only_the_best_and_the_last_whole_models_stay(home, tuned):
    folder = home.cli.folder(tuned)
    assert 1 <= len(list((folder / "snapshots").glob("0*"))) <= 2
    assert json.loads((folder / "base-losses.json").read_text())


def test_full_tuning_continues_from_a_run_and_from_no_file(home, tuned, tmp_path):
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "full", "--json"]
    again = home.cli(*command, "--from", tuned, *words("method.lr=0.002", "train.steps=2", "train.snapshot_every=2")).well().json
    assert again["state"] == "finished"
    (tmp_path / "x.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert "--base" in home.cli.here(*command, "--from", tmp_path / "x.safetensors").complaint()


@pytest.mark.parametrize(("recipe", "own"), [("full", "method.lr=0.002"), ("textual-inversion", "method.embedding_lr=0.2")])
def test_a_killed_run_goes_on_to_the_same_bytes(home, tuned, recipe, own):
    """Killed at work, without a word: what resume makes of it is what an undisturbed run makes."""
    lacking = ("method.rank", "method.targets", *(["method.lr"] if recipe != "full" else []))
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", recipe, "--json", *words(own, without=lacking)]
    follower = home.cli.start(*command)
    home.cli.wait_until(follower.run, lambda status: len(home.cli.steps(follower.run)) >= 5)
    os.kill(home.cli.status(follower.run)["pid"], signal.SIGKILL)
    assert follower.end().code == 1
    assert home.cli("resume", follower.run, "--json").well().json["state"] == "finished"
    whole = tuned if recipe == "full" else home.cli(*command).well().json["run"]
    assert home.cli.steps(follower.run)[-1] == 12 and home.cli.steps(follower.run) != home.cli.steps(whole)
    killed, undisturbed = (home.cli.folder(run) / "adapter.safetensors" for run in (follower.run, whole))
    assert killed.read_bytes() == undisturbed.read_bytes()
