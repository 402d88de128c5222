"""Models that are not what they seem: other channels, missing or mixed parts, pipes, programs; each refused before it is loaded."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.families import sd3
from studio.jobs.models.listing import list_models
from studio.jobs.runs.create import Request, create_run
from studio.models.bases import check, find_base
from studio.store import Workspace
from tests.fixtures import tiny_text
from tests.fixtures.runs import carry_out, dataset
from tests.fixtures.shelf import FLUX, SD1, SDXL, UNET, VAE, sparse_safetensors

INPUT = UNET + "input_blocks.0.0.weight"
SD2 = {
    INPUT: [320, 4, 3, 3],
    UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 1024],
    "cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight": [4096, 1024],
    VAE + "decoder.conv_in.weight": [512, 4, 3, 3],
}
OURS = {
    "transformer_blocks.0.attn.add_k_proj.weight": [3072, 3072],
    "single_transformer_blocks.0.attn.to_q.weight": [3072, 3072],
    "x_embedder.weight": [3072, 64],
}
STRANGE = {  # name -> (shapes, what is said)
    "sd2-inpainting": (SD2 | {INPUT: [320, 9, 3, 3]}, "Stable Diffusion 2.x inpainting, which reads more than text and noise"),
    "sd2-depth": (SD2 | {INPUT: [320, 5, 3, 3]}, "Stable Diffusion 2.x depth, which reads more"),
    "pix2pix": (SD1 | {INPUT: [320, 8, 3, 3]}, "InstructPix2Pix (Stable Diffusion), which reads more"),
    "sdxl-inpainting": (SDXL | {INPUT: [320, 9, 3, 3]}, "Stable Diffusion XL inpainting, which reads more"),
    "sdxl-pix2pix": (SDXL | {INPUT: [320, 8, 3, 3]}, "Stable Diffusion XL InstructPix2Pix, which reads more"),
    "sd1-13": (SD2 | {INPUT: [320, 13, 3, 3]}, "its VAE has 4 latent channels, its UNet reads 13"),
    "sd1-vae16": (SD1 | {VAE + "decoder.conv_in.weight": [512, 16, 3, 3]}, "its VAE has 16 latent channels, its UNet reads 4"),
    "sdxl-vae16": (SDXL | {VAE + "decoder.conv_in.weight": [512, 16, 3, 3]}, "its VAE has 16 latent channels, its UNet reads 4"),
    "sd1-no-text": (
        {k: v for k, v in SD1.items() if "cond_stage" not in k},
        "this file has no text encoder (768 wide; usually clip_l.safetensors): put it beside the file",
    ),
    "sdxl-no-text": (
        {k: v for k, v in SDXL.items() if "conditioner" not in k},
        "has not both text encoders (768 wide; usually clip_l.safetensors and 1280 wide",
    ),
    "sdxl-one-text": ({k: v for k, v in SDXL.items() if "embedders.1" not in k}, "no second text encoder (OpenCLIP): use a copy"),
    "sd1-no-vae": ({k: v for k, v in SD1.items() if VAE not in k}, "this file has no VAE: use a copy"),
    "sd1-and-flux": (SD1 | FLUX, "a file of mixed layouts (a UNet and FLUX)"),
    "flux-both-names": (FLUX | OURS, "mixed layouts (FLUX and a transformer in diffusers' names)"),
    "fill": (OURS | {"x_embedder.weight": [3072, 384]}, "FLUX.1 Fill (inpainting), which reads more"),
    "canny": (OURS | {"x_embedder.weight": [3072, 128]}, "FLUX.1 Control, which reads more"),
    "flux-short": (FLUX, "tensor txt_in.weight is missing: fetch the model again"),
    "ours-short": (OURS, "tensor context_embedder.weight is missing: fetch the model again"),
    "zero": (SD1 | {INPUT: [0, 4, 3, 3]}, "its tensor model.diffusion_model.input_blocks.0.0.weight is empty: fetch it again"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_files_are_told_by_their_headers(tmp_path, name):
    shapes, words = STRANGE[name]
    file = sparse_safetensors(tmp_path / f"{name}.safetensors", shapes)
    with pytest.raises(StudioError) as told:
        find_base(str(file))
    line = str(told.value)
    assert words in line and f"{name}.safetensors" in line and "\n" not in line and ": " in line


def test_a_file_inside_a_model_folder_leads_to_the_folder(tiny_folder):
    for name in ("unet", "vae", "text_encoder"):
        with pytest.raises(StudioError, match=rf"this is the {name} of the model folder {tiny_folder}: give that folder"):
            find_base(str(next((tiny_folder / name).glob("*.safetensors"))))


SHARD = "diffusion_pytorch_model-00001-of-00001.safetensors"


def config(part, name="config.json", **changes):
    """A change of a model folder: values of one of its configurations."""

    def change(folder):
        file = folder / part / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def index(**changes):
    """The same of its index."""
    return config("", "model_index.json", **changes)


def schedule(**changes):
    """The same of its noise schedule."""
    return config("scheduler", "scheduler_config.json", **changes)


def add(name):
    """A change of a model folder: a file more."""
    return lambda folder: (folder / name).write_bytes(b"x")


def test_a_model_in_the_hubs_cache_is_found_by_its_folder_and_called_by_its_name(tmp_path, tiny_folder):
    snapshot = tmp_path / "models--someone--scans" / "snapshots" / "0123abc"
    for number, file in enumerate(f for f in tiny_folder.rglob("*") if f.is_file()):
        blob, link = tmp_path / "models--someone--scans" / "blobs" / str(number), snapshot / file.relative_to(tiny_folder)
        for place in (blob, link):
            place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    for given in (snapshot.parents[1], snapshot):
        base = find_base(str(given))
        check(base)
        assert (base.family, base.path, base.name) == ("sd", snapshot, "someone/scans")


def shards(*names):
    """A change of a model folder: an index of shards instead of the UNet's weights."""

    def change(folder):
        (weights,) = (folder / "unet").glob("*.safetensors")
        weights.rename(folder.parent / "outside.safetensors")
        index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": dict(enumerate(names))}))
        (folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors").write_bytes(b"")

    return change


FOLDERS = {  # name -> (what is changed in a whole model folder, what is said)
    "compiled": (add("unet/helper.cpython-311.pyc"), "unet/helper.cpython-311.pyc is a program; folders with code are never loaded"),
    "library": (add("unet/kernel.so"), "unet/kernel.so is a program"),
    "library of windows": (add("text_encoder/Kernel.DLL"), "text_encoder/Kernel.DLL is a program"),
    "another class": (
        config("unet", _class_name="UNet3DConditionModel"),
        "this is UNet3DConditionModel, where UNet2DConditionModel is needed",
    ),
    "quantised": (config("unet", quantization_config={"load_in_4bit": True}), "its weights are quantised, and cannot be trained on"),
    "huge": (config("unet", block_out_channels=[10**9] * 2), "block_out_channels is 1000000000, which no model has"),
    "vae of another": (config("vae", latent_channels=16), "its VAE has 16 latent channels, its unet reads 4"),
    "shard outside": (shards("../../outside.safetensors"), "1 of 1 shards are missing, first ../../outside.safetensors"),
    "shard anywhere": (shards("/etc/passwd"), "1 of 1 shards are missing, first /etc/passwd"),
    "shards without index": (
        lambda folder: next((folder / "unet").glob("*.safetensors")).rename(folder / "unet" / SHARD),
        "unet: diffusion_pytorch_model.safetensors.index.json, which says what is in which shard, is missing",
    ),
    "no scale": (config("vae", scaling_factor=0), "scaling_factor is '0', which no autoencoder has"),
    "a scale in words": (config("vae", scaling_factor="0.18"), "scaling_factor is '0.18', which no autoencoder has"),
    "XL's UNet": (config("unet", addition_embed_type="text_time"), "its UNet is that of Stable Diffusion XL, but its model_index.json"),
    "inpainting": (index(_class_name="StableDiffusionInpaintPipeline"), "which reads more than text and noise: use its plain version"),
    "schedule of a flow": (schedule(_class_name="FlowMatchEulerDiscreteScheduler"), "is not of discrete timesteps: use another copy"),
    "consistency": (schedule(_class_name="SCMScheduler"), "its noise schedule, SCMScheduler, is not of discrete timesteps"),
    "predicts the picture": (schedule(prediction_type="sample"), "it predicts 'sample': only epsilon and v_prediction are known"),
    "a few levels": (schedule(trained_betas=[0.1] * 10), "its noise levels are none that a model has"),
    "shards of no name": (shards(None, ["x"], {"y": 1}), "shards are missing"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_looked_over_before_they_are_loaded(tmp_path, tiny_folder, name):
    change, words = FOLDERS[name]
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change(folder)
    with pytest.raises(StudioError) as told:
        check(find_base(str(folder)))
    assert words in str(told.value) and str(folder) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_hold_nobody_up(tmp_path, tiny_folder):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    os.mkfifo(shelf / "pipe.safetensors")
    os.symlink("/dev/zero", shelf / "zeros.safetensors")
    for name, place in (("a", "model_index.json"), ("b", "unet/config.json"), ("c", "README.md"), ("d", "unet/more.safetensors")):
        folder = shutil.copytree(tiny_folder, shelf / name)
        (folder / place).unlink(missing_ok=True)
        os.mkfifo(folder / place)
    rows = {row["model"]: row for row in list_models(Workspace.at(tmp_path / "space"), [shelf])}
    assert {"pipe.safetensors", "b", "c", "d"} <= set(rows) and rows["c"]["usable"]
    assert not any(rows[name]["usable"] for name in ("pipe.safetensors", "zeros.safetensors", "b") if name in rows)
    assert "unet/config.json is no file" in rows["b"]["reason"]


@pytest.mark.parametrize(("told", "size_px"), [(0, 512), (None, 512), (-8, 512), ([8, 12], 24), (10**6, 512), ("8", 512)], ids=str)
def test_picture_sizes_of_no_model_are_not_believed(tmp_path, tiny_folder, told, size_px):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    config("unet", sample_size=told)(folder)
    base = find_base(str(folder))
    loaded = registry.family(base.family).load(base.path, torch.float32, torch.device("cpu")).facts
    assert base.shape_px == (loaded.size_px, loaded.pixel_multiple) and loaded.size_px == size_px


def spoil(part, end):
    """A change of a model folder: one tensor of a component, its name ending so, is no numbers."""

    def change(folder):
        (file,) = (folder / part).glob("*.safetensors")
        state = load_file(file)
        name = next(name for name in sorted(state) if name.endswith(end))
        save_file(state | {name: torch.full_like(state[name], torch.nan)}, file, {"format": "pt"})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("unet", "conv_in.weight"), "this base answers with no numbers before anything is trained"),
        (spoil("vae", "encoder.conv_in.weight"), "its autoencoder makes no numbers of "),
        (spoil("text_encoder", "final_layer_norm.weight"), "its text encoder makes no numbers of the caption"),
    ],
    ids=["unet", "vae", "text_encoder"],
)
def test_damaged_weights_are_told_as_the_bases_own(tmp_path, tiny_folder, change, words):
    workspace = Workspace.at(tmp_path / "workspace")
    dataset(workspace, tmp_path / "given", 4)
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change(folder)
    small = ["train.steps=1", "train.batch_size=2", "preview.every=0", "evaluate.num_timesteps=0", "method.rank=2"]
    run = create_run(workspace, Request("shapes", str(folder), settings=small))
    with pytest.raises(AssertionError):
        carry_out(run)
    assert words in run.status()["error"] and str(folder) in run.status()["error"] and "fetch it again" in run.status()["error"]


def test_swapped_encoders_of_stable_diffusion_3_are_named():
    wide, narrow, third = tiny_text.clip_encoder(True, 24), tiny_text.clip_encoder(True, 16), SimpleNamespace(config=SimpleNamespace())
    third.config.pooled_projection_dim, third.config.joint_attention_dim = 40, 64
    sd3._check_texts(Path("x"), {"text_encoder": narrow, "text_encoder_2": wide, "transformer": third})
    with pytest.raises(StudioError, match=r"its text_encoder is wider than its text_encoder_2 \(24, 16\): the two are swapped"):
        sd3._check_texts(Path("x"), {"text_encoder": wide, "text_encoder_2": narrow, "transformer": third})
