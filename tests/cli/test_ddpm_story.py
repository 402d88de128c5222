"""A base without text, by the commands: trained on, drawn beside itself, exported; and what it has no use for is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.recipes import default_base
from studio.sample.pictures import read_settings
from tests.cli.conftest import Cli, settings
from tests.fixtures.tiny import images, tiny_ddpm


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(commands, base, run): a finished run on a tiny DDPM, of pictures without captions."""
    root = tmp_path_factory.mktemp("ddpm")
    base, cli = tiny_ddpm(root / "base"), Cli(root / "workspace")
    cli.here("dataset", "new", "shapes", images(root / "pictures", 10, captions=False)).well()
    words = settings("method.targets=attention+conv", "preview.sampler=ddpm")
    answer = cli("train", "--dataset", "shapes", "--base", base, "--recipe", "ddpm-lora", "--json", *words).well()
    return cli, base, answer.json["run"]


def test_it_learns_and_previews_differ_by_seed(shop):
    cli, _, run = shop
    folder = cli.folder(run)
    chosen = json.loads((folder / "scores.json").read_text())["chosen"]
    assert chosen["held_out"]["log_ratio"] < -0.05 and chosen["held_out"]["num_better"] == chosen["held_out"]["num_images"]
    spec = json.loads((folder / "spec.json").read_text())["preview"]
    assert spec["prompts"] == [""] * 4 and spec["guidance"] == 1.0
    seeds = [read_settings(folder / "previews" / "base" / f"{i:02d}.png")["seed"] for i in range(4)]
    assert seeds == [7, 8, 9, 10]


def test_resuming_returns_its_result(shop):
    cli, _, run = shop
    assert cli.here("resume", run, "--json").well().json["state"] == "finished"


def test_pictures_are_drawn_without_a_prompt(shop, tmp_path):
    cli, _, run = shop
    made = cli.here("sample", run, "--seed", 5, "--steps", 6, "--sampler", "ddpm", "--count", 2, "--out", tmp_path, "--json").well().json
    says = read_settings(Path(made["adapted"][0]))
    assert (says["prompt"], says["guidance"], says["sampler"]) == ("", 1.0, "ddpm")
    again = cli.here("sample", run, "--steps", 3, "--out", tmp_path, "--json").well().json  # with the default sampler
    assert len(again["base"]) == 1


@pytest.mark.parametrize("words", [("--prompt", "a cat"), ("--negative", "blue"), ("--guidance", "3")])
def test_what_steers_by_text_is_refused(shop, tmp_path, words):
    cli, _, run = shop
    line = cli.here("sample", run, *words, "--out", tmp_path / "out").complaint()
    assert words[0] in line and "reads no text" in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting",
    ['preview.prompts=["a cat"]', "preview.negative=blue", "preview.guidance=4", "data.caption_dropout=0.1", "method.text_encoder=true"],
)
def test_settings_that_need_text_are_refused(shop, setting):
    cli, base, _ = shop
    line = cli.here("train", "--dataset", "shapes", "--base", base, "--recipe", "ddpm-lora", "--set", setting).complaint()
    assert setting.partition("=")[0] in line and "reads no text" in line


def test_recipes_and_bases_that_do_not_fit_say_so(shop):
    cli, base, _ = shop
    for recipe in ("textual-inversion", "pivotal"):
        line = cli.here("train", "--dataset", "shapes", "--base", base, "--recipe", recipe).complaint()
        assert "reads no text" in line and "ddpm-lora" in line
    assert "on this base there is ddpm-lora" in cli.here("train", "--dataset", "shapes", "--base", base, "--recipe", "lora").complaint()
    line = cli.here("train", "--dataset", "shapes", "--base", "starter", "--recipe", "ddpm-lora").complaint()
    assert "starter-pixel" in line and "lora" in line
    assert (default_base("ddpm-lora"), default_base("lora")) == ("starter-pixel", "starter")
    line = cli.here("train", "--dataset", "shapes", "--base", "nowhere").complaint()
    assert "starter, starter-pixel" in line


def test_without_a_base_the_pixel_base_is_taken(shop):
    from studio.jobs.runs.create import Request, create_run
    from studio.store import Workspace

    cli = shop[0]
    run = create_run(Workspace.at(cli.workspace), Request("shapes", recipe="ddpm-lora"))
    assert run.spec().base.source == "starter-pixel"
    rows = {row["model"]: row for row in cli.here("models", "--json").well().json}
    assert rows["starter-pixel"]["usable"] and "DDPM" in rows["starter-pixel"]["family"]


def test_the_export_is_for_peft_alone_and_a_plain_pipeline_draws_the_same(shop, tmp_path):
    import torch
    from diffusers import DDPMPipeline
    from peft import PeftModel

    from studio.jobs.export.exports import options
    from studio.store import Workspace
    from studio.train.randomness import generator

    cli, base, run = shop
    (layout,) = options(Workspace.at(cli.workspace), run)["layouts"]
    assert layout["layout"] == "peft" and "No other program" in layout["about"]
    assert "peft" in cli.here("export", run, "--format", "kohya", "--out", tmp_path / "x.safetensors").complaint()
    answer = cli.here("export", run, "--out", tmp_path / "adapter", "--json").well().json
    assert answer["layers"] > 10 and answer["max_difference"] < 1e-4
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "DDPM" in card and "pictures" in card

    words = ["--seed", 3, "--steps", 6, "--sampler", "ddpm"]
    ours = cli.here("sample", run, *words, "--out", tmp_path / "out", "--json").well().json
    pipe = DDPMPipeline.from_pretrained(base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    theirs = {}
    for kind in ("base", "adapted"):
        if kind == "adapted":
            pipe.unet = PeftModel.from_pretrained(pipe.unet, str(tmp_path / "adapter")).merge_and_unload()
        with torch.no_grad():
            image = pipe(generator=[generator(3, "noise")], num_inference_steps=6).images[0]
        theirs[kind] = np.asarray(image, dtype=int)
        assert np.abs(theirs[kind] - np.asarray(Image.open(ours[kind][0]), dtype=int)).max() <= 1
    assert np.abs(theirs["base"] - theirs["adapted"]).max() > 20, "this adapter should be seen at once"
