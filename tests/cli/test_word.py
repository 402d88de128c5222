"""Textual inversion from the command line: a new word is learned, told, drawn, and loaded by plain diffusers with equal pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import settings


def words(*more):
    """The words of a short training of a new word."""
    quick = settings("train.steps=12", "train.snapshot_every=6", "method.embedding_lr=0.2", "preview.every=6", *more)
    pairs = [quick[i : i + 2] for i in range(0, len(quick), 2)]
    return [word for pair in pairs if not pair[1].startswith(("method.rank", "method.targets", "method.lr")) for word in pair]


@pytest.fixture(scope="module")
def learned(home, tmp_path_factory):
    """The shared workspace's run of textual inversion, and its exported file."""
    answer = home.cli("train", "--dataset", "shapes", "--base", home.base, "--recipe", "textual-inversion", "--json", *words()).well()
    out = tmp_path_factory.mktemp("word") / "shapes.safetensors"
    exported = home.cli.here("export", answer.json["run"], "--out", out, "--json").well().json
    return answer.json["run"], out, exported


def test_the_word_is_in_every_prompt_and_no_weight_in_the_file(home, learned):
    from safetensors.numpy import load_file

    run, out, exported = learned
    spec = json.loads((home.cli.folder(run) / "spec.json").read_text())
    assert spec["methods"][0]["token"] == "<shapes>" and all("<shapes>" in p for p in spec["preview"]["prompts"])
    tensors = load_file(out)
    assert list(tensors) == ["emb_params"] and tensors["emb_params"].shape[0] == spec["methods"][0]["num_vectors"]
    assert exported["layers"] == spec["methods"][0]["num_vectors"] and exported["max_difference"] < 1e-4
    assert out.stat().st_size < 20_000


def test_a_plain_pipeline_draws_the_same_with_the_exported_word(home, learned, tmp_path):
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from studio.train.randomness import generator

    run, out, _ = learned
    asked = ["--prompt", "<shapes>, a disc", "--seed", "3", "--steps", "4", "--guidance", "3", "--sampler", "ddim"]
    ours = home.cli.here("sample", run, *asked, "--out", tmp_path, "--json").well().json
    first = json.loads((home.cli.folder(run) / "spec.json").read_text())["methods"][0]["initial_words"]
    pipe = StableDiffusionPipeline.from_pretrained(home.base, safety_checker=None, local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(4, 8, 8, generator=generator(3, "noise"))[None]
    theirs = {}
    for kind, prompt in (("base", f"{first}, a disc"), ("adapted", "<shapes>, a disc")):
        if kind == "adapted":
            pipe.load_textual_inversion(out, token="<shapes>")
        image = pipe(prompt, latents=noise, num_inference_steps=4, guidance_scale=3.0).images[0]
        theirs[kind] = np.asarray(image, dtype=int)
        assert np.abs(theirs[kind] - np.asarray(Image.open(ours[kind][0]), dtype=int)).max() <= 1
    assert np.abs(theirs["base"] - theirs["adapted"]).max() > 2


def test_nothing_personal_is_in_the_file_or_its_card(learned):
    _, out, _ = learned
    card = out.with_name("shapes.card.md").read_text()
    assert "<shapes>" not in card and b"<shapes>" not in out.read_bytes() and "textual inversion" in card


def test_it_goes_on_from_its_run_and_from_its_file(home, learned):
    run, out, _ = learned
    for start in (run, out):
        command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "textual-inversion", "--from", start, "--json"]
        begun = home.cli(*command, *words("train.steps=2", "train.snapshot_every=2")).well().json
        assert begun["state"] == "finished" and begun["steps"] == 2


def test_a_start_made_by_another_method_is_refused(home, learned):
    run, out, _ = learned
    command = ["train", "--dataset", "shapes", "--base", home.base, "--json"]
    assert "--recipe textual-inversion" in home.cli.here(*command, "--from", run).complaint()
    assert "continue it with --recipe textual-inversion" in home.cli.here(*command, "--from", out).complaint()
    command += ["--recipe", "textual-inversion"]
    assert "--recipe lora" in home.cli.here(*command, "--from", home.run).complaint()


@pytest.mark.parametrize(
    ("setting", "message"),
    [("num_vectors=0", "num_vectors"), ("num_vectors=100", "num_vectors"), ("token=two words", "one word"), ("rank=4", "no such setting")],
)
def test_bad_settings_are_refused_in_a_line(home, setting, message):
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "textual-inversion", "--set", f"method.{setting}"]
    assert message in home.cli.here(*command).complaint()


def test_a_known_word_is_refused_before_anything_is_encoded(home):
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "textual-inversion", "--set", "method.token=a", "--json"]
    answer = home.cli(*command)
    assert answer.code == 1 and "vocabulary already" in answer.err + answer.out


def test_pivotal_tuning_gives_two_files(home, tmp_path):
    """A new word and a LoRA in one run; each is exported and verified by itself."""
    command = ["train", "--dataset", "shapes", "--base", home.base, "--recipe", "pivotal", "--json"]
    run = (
        home.cli(*command, *settings("train.steps=12", "train.snapshot_every=6", "method.embedding_lr=0.2", "preview.every=6")).well().json
    )
    assert run["state"] == "finished"
    sizes = {}
    for layout in ("kohya", "embedding"):
        out = tmp_path / f"{layout}.safetensors"
        home.cli.here("export", run["run"], "--format", layout, "--out", out, "--json").well()
        sizes[layout] = out.stat().st_size
    assert sizes["embedding"] < sizes["kohya"]
    assert "Belongs to a textual inversion file" in (tmp_path / "kohya.card.md").read_text()
    assert "Belongs to a lora file" in (tmp_path / "embedding.card.md").read_text()
    made = home.cli.here("sample", run["run"], "--prompt", "<shapes>, a disc", "--steps", "2", "--out", tmp_path, "--json").well().json
    assert len(made["base"]) == len(made["adapted"]) == 1
    again = home.cli(*command, "--from", run["run"], *settings("train.steps=2", "train.snapshot_every=2")).well().json
    assert again["state"] == "finished"
    assert "give a run" in home.cli.here(*command, "--from", tmp_path / "kohya.safetensors").complaint()
