"""Stable Diffusion XL: its conditions are each picture's own, empty texts are read as its pipeline reads them, what is amiss is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import StudioError
from studio.families import editions, sdxl
from studio.methods import textual_inversion
from studio.models.bases import find_base
from studio.train.randomness import generator
from tests.fixtures.tiny import tiny_sd
from tests.fixtures.tiny_sdxl import tiny_sdxl

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "base")


@pytest.fixture(scope="module")
def parts(folder):
    return sdxl.load(folder, torch.float32, CPU)


@pytest.fixture()
def copy(folder, tmp_path):
    """A copy of the folder, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


def test_both_texts_and_the_pooled_one_are_the_pipelines(parts):
    theirs = sdxl.pipeline(parts).encode_prompt("a blue bar", device=CPU, negative_prompt="grey")
    ours = sdxl.collate(sdxl.encode_text(parts, ["a blue bar", "grey"]))
    for number, (name, i) in enumerate([("embeds", 0), ("embeds", 1), ("pooled", 0), ("pooled", 1)]):
        assert torch.allclose(ours[name][i : i + 1], theirs[number], atol=1e-6)


@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_text_is_read_as_the_pipeline_reads_none(parts, folder, tmp_path, zeros):
    own = parts if zeros else sdxl.load(tiny_sdxl(tmp_path / "base", zeros=False), torch.float32, CPU)
    _, negative, _, pooled = sdxl.pipeline(own).encode_prompt("a blue bar", device=CPU)
    (ours,) = sdxl.encode_text(own, [""])
    assert torch.allclose(ours["embeds"], negative[0], atol=1e-6) and torch.allclose(ours["pooled"], pooled[0], atol=1e-6)
    assert bool(ours["embeds"].abs().sum() == 0) is zeros


def test_sizes_and_crops_reach_the_unet_as_the_pipeline_hands_them(parts, monkeypatch):
    pipe, seen = sdxl.pipeline(parts), []
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.register_forward_pre_hook(lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    try:
        asked = {"original_size": (40, 24), "crops_coords_top_left": (3, 5), "target_size": (16, 16), "width": 16, "height": 16}
        pipe("a red disc", **asked, num_inference_steps=1, guidance_scale=1.0)
    finally:
        pipe.unet._forward_pre_hooks.clear()
        pipe.unet._forward_pre_hooks_with_kwargs.clear()
    (z_t, t), kwargs = seen[0]
    theirs = parts.modules["unet"](z_t, t, **kwargs)[0]
    cond = sdxl.collate(sdxl.encode_text(parts, ["a red disc"]))
    ours = sdxl.predict(parts, z_t, t.expand(1), cond, torch.tensor([[40, 24, 3, 5, 16, 16]]))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert (sdxl.predict(parts, z_t, t.expand(1), cond) - theirs).abs().max() > 1e-5, "the sizes change nothing"


def test_training_takes_each_pictures_own_size_and_crop(parts, tmp_path):
    """The centre of a wide picture, and of the same picture mirrored, where what lay right of the crop lies left of it."""
    from PIL import Image

    from studio.dataset.intake import create_dataset
    from studio.encode.build import Encoder, encode_dataset
    from studio.encode.cache import Cache
    from studio.recipes import Choice, resolve
    from studio.store import Workspace
    from studio.train.objective import draw_batch, sample_losses

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = generator(1)
    for n in range(3):
        noise = torch.randint(256, (24, 33, 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(pictures / f"{n}.png")
    workspace = Workspace.at(tmp_path / "workspace")
    data = create_dataset(workspace, "wide", [pictures])
    spec = resolve(Choice(data, find_base(str(parts.source)), settings=["data.flip=true", "data.crops=2", "train.batch_size=2"]))
    encoded = encode_dataset(data, Encoder(sdxl, parts, "tiny", Cache(tmp_path / "cache")), spec, False, lambda done, total: None)
    for item in encoded.train:
        (_, _, top, left, height, width), mirrored = item.geometry[0], item.geometry[1]
        assert item.geometry[0][:2] == (24, 33) and (width, height) == item.bucket
        resized_w = round(33 * max(width / 33, height / 24))
        assert mirrored == (24, 33, top, resized_w - left - width, height, width)
    batch = draw_batch(encoded.train[:2], encoded, spec, 0, 0.0)
    assert batch.geometry.shape == (2, 6) and batch.geometry[0, :2].tolist() == [24, 33]
    with torch.no_grad():
        told = sample_losses(sdxl, parts, batch)[0]
        batch.geometry = batch.geometry + 8
        assert not torch.equal(told, sample_losses(sdxl, parts, batch)[0])


def _edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _refiner(folder):
    _edit(
        folder / "model_index.json",
        _class_name="StableDiffusionXLImg2ImgPipeline",
        text_encoder=[None, None],
        requires_aesthetics_score=True,
    )


def _other_vae(folder):
    _edit(folder / "vae" / "config.json", latent_channels=16)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    wide = {"encoder.conv_out.weight": 0, "encoder.conv_out.bias": 0, "quant_conv.weight": 0, "quant_conv.bias": 0}
    state = load_file(file)
    for name in wide:
        state[name] = (
            state[name].repeat(4, *([4] if name == "quant_conv.weight" else [1]), *[1] * (state[name].ndim - 2))[:32]
            if state[name].ndim > 1
            else state[name].repeat(4)
        )
    state["post_quant_conv.weight"], state["post_quant_conv.bias"] = torch.zeros(16, 16, 1, 1), torch.zeros(16)
    state["decoder.conv_in.weight"] = state["decoder.conv_in.weight"].repeat(1, 4, 1, 1)
    save_file({k: v.contiguous() for k, v in state.items()}, file, metadata={"format": "pt"})


def _one_encoder(folder):
    shutil.rmtree(folder / "text_encoder_2")


def _no_projection(folder):
    file = folder / "text_encoder_2" / "model.safetensors"
    state = load_file(file)
    del state["text_projection.weight"]
    save_file(state, file, metadata={"format": "pt"})


def _cut(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _other_second_encoder(folder):
    shutil.rmtree(folder / "text_encoder")
    shutil.copytree(folder / "text_encoder_2", folder / "text_encoder")


def _edm(folder):
    _edit(folder / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler")


DAMAGE = {
    "refiner": (_refiner, "refiner, which only finishes .*: choose the SDXL base model"),
    "a VAE of another family": (_other_vae, r"its VAE has 16 latent channels, its unet reads 4: use the VAE that belongs to it"),
    "a missing encoder": (_one_encoder, "its folder text_encoder_2 is missing: fetch the model again, whole"),
    "an encoder without its projection": (_no_projection, r"text_encoder_2: 1 tensors are missing, first text_projection"),
    "a cut file": (_cut, "unet/diffusion_pytorch_model.safetensors: not a whole .safetensors file .*: fetch it again"),
    "an encoder twice": (_other_second_encoder, "its text encoders give 96 and 72 numbers, but its UNet reads 80 and 72"),
    "a schedule of another kind": (_edm, "its noise schedule, EDMEulerScheduler, is not of discrete timesteps"),
    "code": (lambda f: _edit(f / "text_encoder_2" / "config.json", auto_map={"AutoModel": "x.Y"}), "asks for code"),
    "a class by a list": (lambda f: _edit(f / "unet" / "config.json", _class_name=["x", "Y"]), "names a custom class"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_amiss_is_named_in_a_line(copy, kind):
    damage, words = DAMAGE[kind]
    damage(copy)
    with pytest.raises(StudioError, match=words) as caught:
        sdxl.load(find_base(str(copy)).path, torch.float32, CPU)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_a_unet_of_another_kind_is_refused(copy, tmp_path):
    shutil.rmtree(copy / "unet")
    shutil.copytree(tiny_sd(tmp_path / "sd") / "unet", copy / "unet")
    with pytest.raises(StudioError, match="takes no pooled text and no picture sizes"):
        sdxl.load(copy, torch.float32, CPU)


def test_half_precision_leaves_a_vae_that_asks_for_it_in_single(folder):
    parts = sdxl.load(folder, torch.float16, CPU)
    sdxl.encode_image(parts, torch.zeros(1, 3, 16, 16))
    assert parts.modules["vae"].dtype == torch.float32 and parts.modules["unet"].dtype == torch.float16


def test_the_file_of_a_word_holds_it_for_both_text_encoders(parts, tmp_path):
    spec = textual_inversion.Spec(token="<thing>", initial_words="picture", num_vectors=2)
    word = textual_inversion.attach(parts, spec, sdxl.card, 0)
    try:
        tensors = {n: t.clone() for n, t in textual_inversion.export(word.state(), spec, "embedding", sdxl.card).items()}
        assert {n: tuple(t.shape) for n, t in tensors.items()} == {"clip_l": (2, 32), "clip_g": (2, 48)}
        word.load({n: t + 1 for n, t in tensors.items()})
        assert all(torch.equal(a, b + 1) for a, b in zip(word.state().values(), tensors.values(), strict=True))
        for wrong, words in (
            ({"clip_l": tensors["clip_l"]}, "give one with clip_l and clip_g"),
            (tensors | {"clip_g": torch.zeros(2, 32)}, "2 of 48"),
        ):
            with pytest.raises(StudioError, match=words):
                word.load(wrong)
        file = tmp_path / "thing.safetensors"
        save_file(tensors, file)
        assert textual_inversion.describe(file, sdxl.card) == {"num_vectors": 2}
        save_file({"emb_params": torch.zeros(2, 32)}, file)
        with pytest.raises(StudioError, match="give one with clip_l and clip_g"):
            textual_inversion.describe(file, sdxl.card)
    finally:
        word.detach()


@pytest.mark.parametrize(
    ("name", "solver", "mark"),
    [
        ("sdxl-turbo", "EulerDiscreteScheduler", "turbo"),
        ("plain", "LCMScheduler", "LCMScheduler"),
        ("DreamXL_Lightning-v2", "EulerDiscreteScheduler", "Lightning"),
        ("hyperrealism", "EulerDiscreteScheduler", ""),
        ("plain", "EulerDiscreteScheduler", ""),
    ],
)
def test_a_model_distilled_to_few_steps_is_said_to_be_one(folder, tmp_path, name, solver, mark):
    copy = shutil.copytree(folder, tmp_path / name)
    _edit(copy / "scheduler" / "scheduler_config.json", _class_name=solver)
    said = editions.note(copy)
    assert f"({mark})" in said and "model it was made from" in said if mark else said == ""
