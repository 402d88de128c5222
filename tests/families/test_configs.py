"""The bundled configurations and tokenizer are those of the published models, and need no network."""

import socket

import pytest

from studio.families.single_file import CONFIGS


@pytest.fixture
def no_network(monkeypatch):
    """Any use of a socket fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("touched the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "caption", "ids"),
    [
        ("sd15", "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("sd21", "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("sd15", "Hello, world!", [49406, 3306, 267, 1002, 256, 49407]),
    ],
)
def test_the_bundled_tokenizer_gives_clips_ids(no_network, name, caption, ids):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(CONFIGS / name / "tokenizer", local_files_only=True)
    assert tokenizer(caption).input_ids == ids
    padded = tokenizer(caption, padding="max_length", max_length=len(ids) + 2).input_ids
    assert padded[len(ids) :] == [0, 0] if name == "sd21" else [49407, 49407]
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)


@pytest.mark.parametrize(("name", "width", "layers"), [("sd15", 768, 12), ("sd21", 1024, 23)])
def test_the_bundled_configurations_build_the_published_sizes(name, width, layers):
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = CONFIGS / name
    assert DiffusionPipeline.load_config(folder, local_files_only=True)["_class_name"] == "StableDiffusionPipeline"
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    assert (text.config.hidden_size, text.config.num_hidden_layers) == (width, layers)
    counts = [sum(p.numel() for p in module.parameters()) for module in (unet, vae, text)]
    published = {"sd15": [859_520_964, 83_653_863, 123_060_480], "sd21": [865_910_724, 83_653_863, 340_387_840]}
    assert counts == published[name]
