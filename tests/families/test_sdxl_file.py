"""Stable Diffusion XL as one file: equal to the model as a folder and to what diffusers makes of it, offline; relatives are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.families import sdxl
from studio.families.base import card_of
from studio.families.single_file import CONFIGS
from studio.models.bases import find_base
from tests.fixtures.tiny_sdxl import sdxl_to_single_file, tiny_sdxl

CPU = torch.device("cpu")
UNET, SECOND = "model.diffusion_model.", "conditioner.embedders.1.model."
SIZE = {"modelspec.resolution": "16x16"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(folder, the same model as one file)."""
    folder = tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "model", real_words=True)
    return folder, sdxl_to_single_file(folder, metadata=SIZE)


def change(source, target, drop="", metadata=None, **more):
    """A copy of a checkpoint without the tensors whose names start with `drop`, and with others."""
    tensors = {n: t for n, t in load_file(source).items() if not drop or not n.startswith(drop)}
    save_file(tensors | {n.replace("__", "."): t for n, t in more.items()}, target, metadata={**SIZE, **(metadata or {})})
    return target


def load(path):
    base = find_base(str(path))
    assert base.family == "sdxl"
    return sdxl.load(base.path, torch.float32, CPU)


def test_folder_and_single_file_are_the_same_model(models, no_network):
    a, b = (load(path) for path in models)
    assert a.facts == b.facts and a.extra == b.extra
    for name, module in a.modules.items():
        states = module.state_dict(), b.modules[name].state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    texts = "a red disc", "!"  # the second tokenizer pads with this very word
    for text in texts:
        assert a.tokenizers["tokenizer_2"](text).input_ids == b.tokenizers["tokenizer_2"](text).input_ids
        assert distance(outputs(sdxl, a, text), outputs(sdxl, b, text)) < 1e-5


def test_diffusers_own_conversion_gives_the_same(models):
    from dataclasses import replace

    from diffusers import StableDiffusionXLPipeline

    folder, file = models
    parts = load(file)
    pipe = StableDiffusionXLPipeline.from_single_file(file, config=str(folder), local_files_only=True)
    theirs = replace(parts, modules={name: getattr(pipe, name).float().eval() for name in parts.modules})
    assert distance(outputs(sdxl, parts), outputs(sdxl, theirs)) < 1e-5


@pytest.mark.parametrize(
    ("metadata", "mark", "expected"),
    [
        ({}, "", "epsilon"),
        ({}, "v_pred", "v_prediction"),
        ({"modelspec.prediction_type": "v"}, "", "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, "v_pred", "epsilon"),
    ],
)
def test_what_it_predicts_is_read_from_the_file(models, tmp_path, metadata, mark, expected):
    file = change(
        models[1], tmp_path / "m.safetensors", metadata=metadata, **({mark: torch.zeros(1), "ztsnr": torch.zeros(1)} if mark else {})
    )
    parts = load(file)
    assert parts.facts.prediction_type == expected and parts.facts.size_px == 16
    assert (parts.scheduler.alphas_cumprod[-1] < 1e-6) == bool(mark)


def test_without_a_word_about_it_pictures_are_1024_px(models, tmp_path):
    file = tmp_path / "m.safetensors"
    save_file(load_file(models[1]), file)
    assert load(file).facts.size_px == 1024


REFUSED = {
    "refiner": ("", {UNET + "label_emb.0.0.weight": torch.zeros(128, 2560)}, "refiner, which only finishes .*: choose the SDXL base model"),
    "inpainting": ("", {UNET + "input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "inpainting, which reads more than text and noise"),
    "edm": ("", {"edm_mean": torch.zeros(4)}, "another noise schedule.*, which is not trained here"),
    "no VAE": ("first_stage_model.", {}, "this file has no VAE: use a copy"),
    "no second encoder": (SECOND, {}, r"no second text encoder \(OpenCLIP\): use a copy"),
    "no first encoder": ("conditioner.embedders.0.", {}, r"no first text encoder \(CLIP\): use a copy"),
    "a block missing": (UNET + "output_blocks.5.1.", {}, r"of the UNet's \d+ tensors are missing, first up_blocks.1.attentions.2"),
    "a projection of another width": (
        "",
        {SECOND + "text_projection": torch.zeros(48, 29)},
        "its text encoders give 80 and 71 numbers, but its UNet reads 80 and 72",
    ),
    "other words": ("", {SECOND + "token_embedding.weight": torch.zeros(600, 48)}, "knows 600 tokens, CLIP's tokenizer 49408"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_amiss_is_named_in_a_line(models, tmp_path, kind):
    drop, more, words = REFUSED[kind]
    file = tmp_path / "m.safetensors"
    save_file({n: t for n, t in load_file(models[1]).items() if not drop or not n.startswith(drop)} | more, file, metadata=SIZE)
    with pytest.raises(StudioError, match=words) as caught:
        load(file)
    assert "\n" not in str(caught.value) and "m.safetensors" in str(caught.value)


def test_the_bundled_configurations_build_the_published_sizes():
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    folder = CONFIGS / "sdxl"
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        text = CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(folder / "text_encoder_2"))
    assert [sum(p.numel() for p in module.parameters()) for module in (unet, text)] == [2_567_463_684, 694_659_840]


def test_the_picture_size_of_a_file_is_known_before_it_is_loaded(tmp_path):
    folder = tiny_sdxl(tmp_path / "base")
    plain = sdxl_to_single_file(folder)
    assert find_base(str(plain)).shape_px == (1024, 32)
    declared = sdxl_to_single_file(folder, metadata={"modelspec.resolution": "832x768"})
    assert find_base(str(declared)).shape_px == (768, 32)


def test_layers_are_called_as_readers_count_them(models):
    plain = load(models[1])
    layer = "unet.down_blocks.1.attentions.0.proj_in"
    assert card_of(sdxl, plain).kohya_name(layer) == "lora_unet_input_blocks_4_1_proj_in"
    plain.modules["unet"].register_to_config(layers_per_block=1)  # as KOALA's has
    own = card_of(sdxl, plain)
    assert own.kohya_name(layer) == "lora_unet_down_blocks_1_attentions_0_proj_in"
    assert own.kohya_name("text_encoder_2.x") == sdxl.card.kohya_name("text_encoder_2.x")


SMALLER = {  # changes of the UNet, as in models that were made smaller from XL
    "SSD-1B": {
        "transformer_layers_per_block": [1, [2, 2], [3, 3]],
        "reverse_transformer_layers_per_block": [[3, 3, 5], [2, 1, 1], 1],
        "mid_block_type": "UNetMidBlock2D",
    },
    "KOALA": {"transformer_layers_per_block": [1, 2, 3], "mid_block_type": None},
}


@pytest.mark.parametrize("name", SMALLER)
def test_smaller_models_made_from_it_are_read_and_written(models, tmp_path, name):
    from diffusers import UNet2DConditionModel

    folder = shutil.copytree(models[0], tmp_path / name)
    config = json.loads((folder / "unet" / "config.json").read_text())
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel.from_config(config | SMALLER[name]).save_pretrained(folder / "unet")
    file = sdxl_to_single_file(folder, metadata=SIZE)
    a, b = load(folder), load(file)
    states = [parts.modules["unet"].state_dict() for parts in (a, b)]
    assert states[0].keys() == states[1].keys() and all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert distance(outputs(sdxl, a, "a red disc"), outputs(sdxl, b, "a red disc")) < 1e-5
    written = sdxl.checkpoint(b)
    assert {n for n in load_file(file) if n.startswith(UNET)} == {n for n in written if n.startswith(UNET)}


def test_a_name_tells_v_prediction_where_nothing_else_does(models, tmp_path):
    assert load(change(models[1], tmp_path / "noobai-Vpred-1.0.safetensors")).facts.prediction_type == "v_prediction"
    said = change(models[1], tmp_path / "from-vpred.safetensors", metadata={"modelspec.prediction_type": "epsilon"})
    assert load(said).facts.prediction_type == "epsilon"
