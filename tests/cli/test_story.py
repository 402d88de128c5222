"""The whole story of the command line, told by the commands themselves: pictures in, a verified adapter out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.sample.pictures import read_settings

COMMANDS = [
    "doctor", "models", "dataset new", "dataset list", "dataset report", "dataset export", "train", "settings", "stop", "resume", "runs",
    "sample", "export", "starter build", "starter report",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_a_workspace(home, command):
    help_text = home.cli.here(*command.split(), "--help").well().out
    assert "--workspace" in help_text and "--json" in help_text and len(help_text.splitlines()) > 5


def test_datasets_are_made_listed_and_reported(own, home, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((home.pictures / "000.png").read_bytes()[:50])
    made = own("dataset", "new", "My Shapes", home.pictures, broken, "--json").well().json
    assert made["dataset"] == "my-shapes" and made["images"] == 8
    assert [s["file"] for s in made["skipped"]] == ["broken.png"] and made["skipped"][0]["reason"]
    rows = own("dataset", "list", "--json", "--workspace", own.workspace).well().json
    assert [(r["dataset"], r["images"]) for r in rows] == [("my-shapes", 8)]
    report = own("dataset", "report", "My Shapes", "--json").well().json
    assert isinstance(report, dict) and report
    out = tmp_path / "copied out"
    own.here("dataset", "export", "my-shapes", "--out", out, "--captions", "jsonl").well()
    again = own.here("dataset", "new", "again", out, "--json").well().json
    assert again["images"] == 8 and not again["skipped"]
    captions = sorted(p.read_text() for p in (own.workspace / "datasets/again").glob("*.txt"))
    assert captions == sorted(p.read_text() for p in (own.workspace / "datasets/my-shapes").glob("*.txt"))


def test_training_tells_its_run_first_and_its_result_last(home):
    lines = home.answer.out.splitlines()
    assert lines[0].split()[-1] == home.run == "0001-shapes-lora"
    adapter = home.cli.folder(home.run) / "adapter.safetensors"
    assert json.loads(lines[-1]) == {"run": home.run, "state": "finished", "steps": 30, "adapter": str(adapter)} and adapter.is_file()


def test_a_run_folder_describes_itself(home):
    folder = home.cli.folder(home.run)
    names = {p.name for p in folder.iterdir()} - {".lock", "log.txt"}
    assert names == {
        "spec.json", "origin.json", "status.json", "events.jsonl", "previews", "snapshots", "resume", "adapter.safetensors", "scores.json",
        "base-losses.json", "plan.json",
    }  # fmt: skip
    assert sorted(p.name for p in (folder / "snapshots").iterdir()) == ["000010", "000020", "000030"]
    assert len(list((folder / "resume").iterdir())) == 2
    kinds = [json.loads(line)["kind"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert kinds.count("step") == 30 and kinds[-1] == "finished" and {"score", "preview", "snapshot"} <= set(kinds)
    for name in ("scores.json", "origin.json", "plan.json", "spec.json"):
        json.loads((folder / name).read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert not (folder / "log.txt").read_text(), "a quiet run writes nothing into its log"


def test_runs_are_listed_and_told_one_by_one(cli, home):
    row = {"run": home.run, "state": "finished", "pid": None, "step": 30, "steps": 30}
    assert row in cli("runs", "--json").well().json
    for name in (home.run, "1", "0001", "0001-shapes"):
        assert cli.here("runs", name, "--json").well().json == row


def test_resuming_a_finished_run_returns_its_result(cli, home):
    again = cli("resume", home.run, "--json").well()
    assert again.out.splitlines()[0] == f"run {home.run}" and again.json == home.answer.json


def test_pictures_carry_their_settings(cli, home, tmp_path):
    out = tmp_path / "deep" / "er ✓"
    words = ["--prompt", "a red disc", "--negative", "blue", "--seed", "5", "--steps", "3", "--guidance", "4", "--strength", "0.5"]
    made = cli("sample", home.run, *words, "--snapshot", "20", "--count", "2", "--out", out, "--json").well().json
    assert [len(made["base"]), len(made["adapted"])] == [2, 2] and all(Path(p).parent == out for p in (*made["base"], made["grid"]))
    for kind, strength in (("base", 0.0), ("adapted", 0.5)):
        for path, seed in zip(made[kind], (5, 6), strict=True):
            says = read_settings(Path(path))
            expected = {"prompt": "a red disc", "negative": "blue", "seed": seed, "steps": 3, "guidance": 4.0, "strength": strength}
            assert says == says | expected | {"run": home.run, "step": 20, "sampler": "dpm++2m", "width": 16, "height": 16}
    assert read_settings(Path(made["grid"]))["grid"]
    again = cli.here("sample", home.run, *words, "--snapshot", "20", "--count", "2", "--out", out, "--json").well().json
    assert not set(again["adapted"]) & set(made["adapted"]), "earlier pictures are never written over"
    for kind in ("base", "adapted"):
        assert [_pixels(p) for p in again[kind]] == [_pixels(p) for p in made[kind]], "same seed, same picture; base from the cache"
    assert _pixels(made["base"][0]) != _pixels(made["adapted"][0])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m", "euler", "unipc"])
def test_every_sampler_draws(cli, home, tmp_path, sampler):
    for steps in (1, 4):
        made = cli.here("sample", home.run, "--sampler", sampler, "--steps", steps, "--out", tmp_path, "--json").well().json
        assert read_settings(Path(made["adapted"][0]))["sampler"] == sampler
        assert _pixels(made["base"][0]) != _pixels(made["adapted"][0])


def _pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


@pytest.fixture(scope="module")
def exported(home, tmp_path_factory):
    """A kohya file written by the command in a process of its own."""
    file = tmp_path_factory.mktemp("out") / "new folder" / "shapes ✓.safetensors"
    answer = home.cli("export", home.run, "--out", file, "--json").well().json
    assert answer["file"] == str(file) and file.is_file()
    assert answer["layers"] > 40 and 0 <= answer["max_difference"] < 1e-4
    return file


@pytest.mark.parametrize("layout", ["diffusers", "peft"])
def test_other_layouts_are_verified_too(cli, home, tmp_path, layout):
    out = tmp_path / ("folder" if layout == "peft" else "file.safetensors")
    answer = cli.here("export", home.run, "--format", layout, "--snapshot", "20", "--out", out, "--json").well().json
    assert answer["layers"] > 40 and answer["max_difference"] < 1e-4 and out.exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_export_tells_nothing_personal(exported):
    card = exported.with_name("shapes ✓.card.md").read_text()
    for text in (card, str(exported.read_bytes()[:20000])):
        assert "disc" not in text and "pictures ✓" not in text and str(exported.parent) not in text
    assert exported.stat().st_mode & 0o777 == 0o644


def test_a_plain_pipeline_draws_the_same_with_the_exported_file(cli, home, exported, tmp_path):
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from studio.train.randomness import generator

    words = ["--prompt", "a red disc", "--seed", "3", "--steps", "4", "--guidance", "3", "--sampler", "ddim"]
    ours = cli.here("sample", home.run, *words, "--out", tmp_path, "--json").well().json
    pipe = StableDiffusionPipeline.from_pretrained(home.base, safety_checker=None, local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(4, 8, 8, generator=generator(3, "noise"))[None]
    theirs = {}
    for kind in ("base", "adapted"):
        if kind == "adapted":
            pipe.load_lora_weights(exported.parent, weight_name=exported.name)
        image = pipe("a red disc", latents=noise, num_inference_steps=4, guidance_scale=3.0).images[0]
        theirs[kind] = np.asarray(image, dtype=int)
        assert np.abs(theirs[kind] - np.asarray(Image.open(ours[kind][0]), dtype=int)).max() <= 1
    assert np.abs(theirs["base"] - theirs["adapted"]).max() > 20, "this adapter should be seen at once"


def test_two_runs_at_once_go_on_from_a_run_and_from_a_file(cli, home, exported):
    starts = (home.run, exported)
    both = [cli.start(*home.train("--from", start, "--set", "train.steps=6", "--name", f"from {i}")) for i, start in enumerate(starts)]
    assert len({f.run for f in both}) == 2
    for follower in both:
        result = follower.end().well().json
        assert result["state"] == "finished" and result["steps"] == 6
        first = json.loads((cli.folder(follower.run) / "scores.json").read_text())["scores"][0]["held_out"]
        assert first["loss"] < 0.9 * first["base"], "it began with what had been learned"


def test_setup_and_lists_speak_json(cli, own):
    assert isinstance(cli("doctor", "--json").json["checks"], list)
    assert any(row["model"] == "starter" for row in cli.here("models", "--json").well().json)
    assert "train.steps" in cli.here("settings", "--json").well().json
    assert own.here("runs", "--json").well().json == [] and own.here("dataset", "list", "--json").well().json == []
