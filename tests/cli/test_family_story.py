"""SDXL and PixArt from the command line: trained, drawn, exported, and drawn again by plain libraries with equal pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.fixtures.tiny import images
from tests.fixtures.tiny_pixart import tiny_pixart
from tests.fixtures.tiny_sdxl import sdxl_to_single_file, tiny_sdxl

FAST = (
    "train.steps=4", "train.batch_size=2", "train.snapshot_every=4", "preview.every=4", "preview.steps=2", "preview.sampler=ddim",
    "evaluate.num_timesteps=2", "evaluate.max_images=2", 'preview.prompts=["a red disc"]',
)  # fmt: skip
LAYERS = ("method.rank=3", "method.lr=0.03", "method.alpha=2")
WORD = ("method.embedding_lr=0.5", "method.num_vectors=2")
ASKED = ("--seed", 3, "--steps", 3, "--guidance", 3, "--sampler", "ddim", "--negative", "grey")


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    cli = Cli(root / "workspace")
    cli.here("dataset", "new", "shapes", images(root / "pictures", 6, size_px=20)).well()
    return cli


def train(cli, base, recipe, *settings):
    words = [word for s in (*FAST, *settings) for word in ("--set", s)]
    told = cli.here("train", "--dataset", "shapes", "--base", base, "--recipe", recipe, "--json", *words)
    assert told.code == 0 and told.json["state"] == "finished", told.out + told.err
    return told.json["run"]


def drawn(cli, run, prompt, out):
    """Base and adapted as the studio draws them."""
    made = cli.here("sample", run, "--prompt", prompt, *ASKED, "--out", out, "--json").well().json
    return [np.asarray(Image.open(made[kind][0]), dtype=int) for kind in ("base", "adapted")]


def by(pipe, prompt, **more):
    """The same picture by a plain pipeline."""
    import torch
    from diffusers import DDIMScheduler

    from studio.train.randomness import generator

    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    told = {"negative_prompt": "grey", "num_inference_steps": 3, "guidance_scale": 3.0, "width": 16, "height": 16, **more}
    with torch.no_grad():
        image = pipe(prompt, latents=torch.randn(4, 8, 8, generator=generator(3, "noise"))[None], **told).images[0]
    return np.asarray(image, dtype=int)


def test_sdxl_lora_on_both_text_encoders(cli, inline, tmp_path):
    from diffusers import StableDiffusionXLPipeline
    from safetensors import safe_open

    base = tiny_sdxl(tmp_path / "base")
    layers = "method.targets=attention+feed_forward+conv"
    run = train(cli, base, "lora", *LAYERS, layers, "method.text_encoder=true", "method.text_encoder_lr=0.03")
    told = cli.here("export", run, "--out", tmp_path / "x.safetensors", "--json").well().json
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        layers, said = {name.partition(".")[0] for name in file.keys()}, file.metadata()
    assert told["layers"] == len(layers) > 100 and told["max_difference"] < 1e-4
    assert {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", "lora_unet_output_blocks_2_2_conv"} <= layers
    assert {f"lora_te{n}_text_model_encoder_layers_0_self_attn_q_proj" for n in (1, 2)} <= layers
    assert said["ss_base_model_version"] == "sdxl_base_v1-0" and said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    ours = drawn(cli, run, "a red disc", tmp_path / "out")
    pipe = StableDiffusionXLPipeline.from_pretrained(base, local_files_only=True)
    plain = by(pipe, "a red disc")
    pipe.load_lora_weights(tmp_path, weight_name="x.safetensors")
    adapted = by(pipe, "a red disc")
    assert abs(plain - ours[0]).max() <= 1 and abs(adapted - ours[1]).max() <= 1 and abs(plain - adapted).max() > 2
    again = cli.here(
        "train", "--dataset", "shapes", "--base", base, "--from", tmp_path / "x.safetensors", "--json", "--set", "train.steps=1"
    )
    assert again.code == 0 and again.json["state"] == "finished", again.out + again.err


def test_a_word_and_a_lora_on_one_file_of_sdxl(cli, inline, tmp_path):
    from diffusers import StableDiffusionXLPipeline
    from safetensors.torch import load_file

    folder = tiny_sdxl(tmp_path / "base", real_words=True)
    base = sdxl_to_single_file(folder, metadata={"modelspec.resolution": "16x16"})
    run = train(cli, base, "pivotal", *LAYERS, *WORD)
    for layout in ("kohya", "embedding"):
        told = cli.here("export", run, "--format", layout, "--out", tmp_path / f"{layout}.safetensors", "--json").well().json
        assert told["max_difference"] < 1e-4
    assert told["layers"] == 4, "two vectors for each of two text encoders"
    words = load_file(tmp_path / "embedding.safetensors")
    assert {n: tuple(t.shape) for n, t in words.items()} == {"clip_l": (2, 32), "clip_g": (2, 48)}
    ours = drawn(cli, run, "<shapes>, a disc", tmp_path / "out")
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    pipe.load_textual_inversion(words["clip_l"], token="<shapes>", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)
    pipe.load_textual_inversion(words["clip_g"], token="<shapes>", text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)
    pipe.load_lora_weights(tmp_path, weight_name="kohya.safetensors")
    assert abs(by(pipe, "<shapes>, a disc") - ours[1]).max() <= 1 and abs(ours[0] - ours[1]).max() > 2


def test_a_tuned_sdxl_is_a_base_of_its_own_as_one_file(cli, inline, tmp_path):
    base = tiny_sdxl(tmp_path / "base", real_words=True)
    run = train(cli, base, "full", "method.lr=0.003")
    out = tmp_path / "tuned.safetensors"
    told = cli.here("export", run, "--format", "checkpoint", "--out", out, "--json").well().json
    assert told["layers"] > 100 and told["max_difference"] < 1e-4
    row = json.loads(cli.here("models", "--in", tmp_path, "--json").well().out.splitlines()[-1])
    assert any("Stable Diffusion XL" in json.dumps(one) for one in (row if isinstance(row, list) else row.values()))
    ours = drawn(cli, run, "a red disc", tmp_path / "out")
    again = train(cli, out, "lora", *LAYERS)
    assert abs(drawn(cli, again, "a red disc", tmp_path / "again")[0] - ours[1]).max() <= 1


def test_pixart_lora_read_back_by_peft(cli, inline, tmp_path):
    from diffusers import PixArtSigmaPipeline
    from peft import PeftModel
    from safetensors import safe_open

    base = tiny_pixart(tmp_path / "base")
    run = train(cli, base, "lora", *LAYERS)
    told = cli.here("export", run, "--out", tmp_path / "x.safetensors", "--json").well().json
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        names = list(file.keys())
    assert told["layers"] * 2 == len(names) and all(n.startswith("transformer.transformer_blocks.") for n in names)
    cli.here("export", run, "--format", "peft", "--out", tmp_path / "adapter", "--json").well()
    ours = drawn(cli, run, "a red disc", tmp_path / "out")
    pipe = PixArtSigmaPipeline.from_pretrained(base, local_files_only=True)
    more = {"clean_caption": False, "use_resolution_binning": False}
    plain = by(pipe, "a red disc", **more)
    pipe.transformer = PeftModel.from_pretrained(pipe.transformer, str(tmp_path / "adapter")).merge_and_unload()
    adapted = by(pipe, "a red disc", **more)
    assert abs(plain - ours[0]).max() <= 1 and abs(adapted - ours[1]).max() <= 1 and abs(plain - adapted).max() > 2
