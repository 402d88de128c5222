"""The family without text: which folders it reads, what it refuses and why, and that it draws as the plain pipeline does."""

import json
import shutil

import numpy
import pytest
import torch

from studio.errors import StudioError
from studio.families import ddpm
from studio.methods import lora
from studio.models.bases import find_base
from studio.sample.pair import Sampling, Shot, check_size, draw, settle_text
from studio.train.randomness import generator
from tests.fixtures.tiny import tiny_ddpm
from tests.methods.test_lora import disturb

CPU = torch.device("cpu")


def _load(folder):
    return ddpm.load(folder, torch.float32, CPU)


@pytest.fixture()
def parts(ddpm_folder):
    return _load(ddpm_folder)


@pytest.fixture()
def adapted(parts):
    adapter = lora.attach(parts, lora.Spec(rank=4, targets="attention+conv"), ddpm.card, 0)
    disturb(adapter, 0.2)
    return parts, adapter


def _sampling(**changes):
    return Sampling(**{"seed": 3, "steps": 6, "guidance": 1.0, "sampler": "ddpm", "width": 16, "height": 16, **changes})


def _draw(parts, adapter, *shots, batchable=True):
    made = [Shot(sampling=s, strength=x) for s, x in shots]
    return [numpy.asarray(p).astype(int) for p in draw(ddpm, parts, adapter, made, batchable)]


def test_the_folder_is_recognised_and_its_facts_are_read(ddpm_folder, tiny_folder):
    assert find_base(str(ddpm_folder)).family == "ddpm" and not ddpm.recognise(tiny_folder)
    facts = _load(ddpm_folder).facts
    channels = json.loads((ddpm_folder / "unet" / "config.json").read_text())["in_channels"]
    assert (facts.size_px, facts.vae_scale, facts.latent_channels, facts.pixel_multiple) == (16, 1, channels, 2)


def test_parts_that_lie_side_by_side_are_read_too(tmp_path):
    """As in the first models of this kind that were published."""
    folder = tiny_ddpm(tmp_path / "model")
    expected = _load(folder).modules["unet"].state_dict()
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    found = _load(folder).modules["unet"].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("unet", "words"),
    [
        ({"num_class_embeds": 5}, "draws by class numbers"),
        ({"class_embed_type": "timestep"}, "draws by class numbers"),
        ({"in_channels": 4, "out_channels": 4}, "reads 4 channels"),
        ({"out_channels": 6}, "predicts the variance too"),
        ({"out_channels": 4}, "this is no plain DDPM"),
        ({"sample_size": (16, 24)}, "24 x 16 px: only square ones"),
        ({"sample_size": None}, "does not say which picture size"),
        ({"sample_size": 15}, "does not divide by the 2"),
    ],
)
def test_other_unets_are_refused_in_a_sentence(tmp_path, unet, words):
    folder = tiny_ddpm(tmp_path / "model", unet=unet)
    with pytest.raises(StudioError, match=words):
        _load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction_type": "sample"}, "predicts 'sample'"),
        ({"variance_type": "learned_range"}, "expects a learned variance"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler, is not that of a DDPM"),
    ],
)
def test_other_noise_schedules_are_refused_in_a_sentence(tmp_path, change, words):
    folder = tiny_ddpm(tmp_path / "model")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(StudioError, match=words):
        _load(folder)


@pytest.mark.parametrize("pipeline", ["ScoreSdeVePipeline", "LDMPipeline", "KarrasVePipeline"])
def test_other_pipelines_are_refused_by_name(tmp_path, pipeline):
    folder = tiny_ddpm(tmp_path / "model")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, "unet": ["diffusers", "UNet2DModel"]}))
    with pytest.raises(StudioError, match=f"{pipeline} .*known are: .*DDPM"):
        find_base(str(folder))


def test_weights_that_are_missing_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_ddpm(tmp_path / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_out.weight"]
    save_file(tensors, file)
    with pytest.raises(StudioError, match=r"1 tensors of its UNet are missing, first conv_out\.weight"):
        _load(folder)
    shutil.rmtree(folder / "unet")
    with pytest.raises(StudioError, match="no diffusion_pytorch_model"):
        _load(folder)


@pytest.mark.parametrize("schedule", ["sigmoid", "squaredcos_cap_v2"])
def test_every_solver_follows_the_noise_schedule_of_the_base(tmp_path, schedule):
    from studio.sample.pair import make_scheduler

    folder = tiny_ddpm(tmp_path / "model")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"beta_schedule": schedule}))
    parts = _load(folder)
    for sampler in ddpm.card.samplers:
        ours = make_scheduler(ddpm.card, parts, sampler).alphas_cumprod
        assert torch.allclose(ours, parts.scheduler.alphas_cumprod, atol=1e-6), sampler


def test_pictures_are_pixels_and_grey_is_luma(parts):
    px = torch.rand(2, 3, 16, 16, generator=generator(3, "px")) * 2 - 1
    latent = ddpm.encode_image(parts, px)
    back = ddpm.decode_image(parts, latent.mean)
    assert latent.std is None and back.shape == px.shape
    if parts.facts.latent_channels == 3:
        assert torch.equal(latent.mean, px) and torch.equal(back, px)
    else:
        assert torch.allclose(latent.mean[:, 0], 0.299 * px[:, 0] + 0.587 * px[:, 1] + 0.114 * px[:, 2], atol=1e-6)
        assert torch.equal(back[:, 0], back[:, 2])
        assert torch.allclose(ddpm.encode_image(parts, back).mean, latent.mean, atol=1e-6)


@pytest.mark.parametrize("sampler", ddpm.card.samplers)
def test_base_and_adapted_share_a_pass_and_their_noise(adapted, sampler):
    parts, adapter = adapted
    shots = [(_sampling(sampler=sampler, seed=seed), x) for seed in (3, 4) for x in (0.0, 1.0)]
    together = _draw(parts, adapter, *shots)
    for shot, picture in zip(shots, together, strict=True):
        (alone,) = _draw(parts, adapter, shot)
        assert abs(alone - picture).max() <= 1
    for alone, picture in zip(_draw(parts, adapter, *shots, batchable=False), together, strict=True):
        assert abs(alone - picture).max() <= 1
    base, changed, other, _ = together
    assert abs(base - changed).max() > 4 and (base != other).any()


def test_ancestral_noise_is_the_same_for_base_and_adapted(parts):
    """With an adapter that does nothing, both are equal though every step draws noise."""
    adapter = lora.attach(parts, lora.Spec(rank=4, targets="attention+conv"), ddpm.card, 0)
    base, same = _draw(parts, adapter, (_sampling(), 0.0), (_sampling(), 1.0))
    assert abs(base - same).max() <= 1
    adapter.detach()
    (plain,) = _draw(parts, None, (_sampling(), 0.0))
    assert abs(base - plain).max() <= 1


def test_it_draws_what_the_plain_pipelines_draw(ddpm_folder, parts):
    from diffusers import DDIMPipeline, DDPMPipeline

    for sampler, kind in (("ddpm", DDPMPipeline), ("ddim", DDIMPipeline)):
        ours = _draw(parts, None, *((_sampling(sampler=sampler, seed=seed), 0.0) for seed in (3, 8)))
        pipe = kind.from_pretrained(ddpm_folder, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        images = pipe(batch_size=2, generator=[generator(seed, "noise") for seed in (3, 8)], num_inference_steps=6).images
        for image, picture in zip(images, ours, strict=True):
            theirs = numpy.asarray(image.convert("RGB")).astype(int)
            assert abs(theirs - picture).max() <= 1, sampler


def test_sizes_follow_the_unet(parts):
    check_size(parts, 24, 16)
    with pytest.raises(StudioError, match="multiples of 2"):
        check_size(parts, 17, 16)
    (wide,) = _draw(parts, None, (_sampling(width=24), 0.0))
    assert wide.shape == (16, 24, 3)


def test_text_and_guidance_are_refused():
    for told in ({"prompt": "a cat"}, {"negative": "blue"}, {"guidance": 3.0}):
        with pytest.raises(StudioError, match="reads no text"):
            settle_text(ddpm.card, **{"prompt": "", "negative": "", "guidance": None, **told})
    assert settle_text(ddpm.card, " ", "", None) == settle_text(ddpm.card, "", "", 1.0) == 1.0
