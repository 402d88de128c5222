"""Each family computes what its own diffusers pipeline computes."""

import pytest
import torch

from studio import registry
from studio.families.base import Denoising
from studio.models.bases import find_base
from studio.sample.pair import make_scheduler
from studio.train.randomness import generator
from tests.fixtures.families import MODELS

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    """(family, its loaded base, what its pipeline wants to be told): every row of the table."""
    row = MODELS[request.param]
    base = find_base(str(row.make(tmp_path_factory.mktemp("model"))))
    assert base.family == row.family
    family = registry.family(base.family)
    return family, family.load(base.path, torch.float32, CPU), row.call


@pytest.fixture(scope="module")
def loaded(model):
    """(family, its loaded base) of every row."""
    return model[:2]


@pytest.fixture()
def reads_text(loaded):
    """The same, of families that read text and work on latents."""
    if not loaded[0].card.text:
        pytest.skip("a family without text and latents")
    return loaded


def _latents(parts, count=3):
    side = parts.facts.size_px // parts.facts.vae_scale
    return torch.randn(count, parts.facts.latent_channels, side, side, generator=generator(1, "z"))


def test_predict_is_what_the_pipeline_hands_to_its_scheduler(model, monkeypatch):
    family, parts, told = model
    pipe = family.pipeline(parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = make_scheduler(family.card, parts, "ddim")
    seen = []
    step = pipe.scheduler.step

    def record(output, t, sample, **kwargs):
        seen.append((output.clone(), t, pipe.scheduler.scale_model_input(sample, t).clone()))
        return step(output, t, sample, **kwargs)

    monkeypatch.setattr(pipe.scheduler, "step", record)
    size = parts.facts.size_px
    if family.card.text:
        told = told | {"prompt": "a red disc", "width": size, "height": size, "guidance_scale": family.card.train_guidance or 1.0}
    pipe(**told, num_inference_steps=4, generator=generator(0))
    cond = family.collate(family.encode_text(parts, ["a red disc"]))
    assert len(seen) == 4
    for output, t, z_t in seen:
        ours = family.predict(parts, z_t, t.expand(1), cond, None)
        assert (ours - output).abs().max() < 1e-5


def test_target_leads_the_scheduler_back_to_the_clean_latents(loaded):
    family, parts = loaded
    z = _latents(parts).clamp(-1, 1)  # as pixels lie, to which some schedulers clip what they predict
    eps = torch.randn(z.shape, generator=generator(2, "eps"))
    for u in (0.02, 0.5, 0.95):
        t = family.sample_t(parts, torch.full((3,), u), tuple(z.shape))
        scheduler = make_scheduler(family.card, parts, "ddim")
        scheduler.set_timesteps(10)
        z_t = family.add_noise(parts, z, eps, t)
        assert torch.allclose(z_t, scheduler.add_noise(z, eps, t), atol=1e-6)
        back = scheduler.step(family.target(parts, z, eps, t), int(t[0]), z_t).pred_original_sample
        assert (back - z).abs().max() < 1e-4


def test_timesteps_cover_the_schedule_evenly(loaded):
    family, parts = loaded
    count = parts.facts.num_train_timesteps
    t = family.sample_t(parts, (torch.arange(count) + 0.5) / count, (count, 4, 2, 2))
    assert t.tolist() == list(range(count))
    assert family.sample_t(parts, torch.ones(1), (1, 4, 2, 2)).item() == count - 1


def test_min_snr_weights_follow_the_paper(loaded):
    family, parts = loaded
    t = torch.tensor([0, 300, 999])
    alpha_bar = parts.scheduler.alphas_cumprod[t]
    snr = alpha_bar / (1 - alpha_bar)
    divisor = snr if parts.facts.prediction_type == "epsilon" else snr + 1
    assert torch.allclose(family.weight(parts, t, 5.0), snr.clamp(max=5) / divisor, rtol=1e-4)
    assert torch.equal(family.weight(parts, t, 0.0), torch.ones(3))


def test_images_go_through_the_vae_and_back_at_the_right_scale(reads_text):
    family, parts = reads_text
    size, vae = parts.facts.size_px, parts.modules["vae"]
    px = torch.rand(2, 3, size, size, generator=generator(3, "px")) * 2 - 1
    latent = family.encode_image(parts, px)
    posterior = vae.encode(px).latent_dist
    assert torch.allclose(latent.mean, posterior.mean * vae.config.scaling_factor)
    assert torch.allclose(latent.std, posterior.std * vae.config.scaling_factor)
    assert torch.allclose(family.decode_image(parts, latent.mean), vae.decode(posterior.mean).sample.clamp(-1, 1), atol=1e-5)


def test_drawing_is_what_the_plain_pipeline_draws(model):
    """With guidance, and with a negative prompt as well as without."""
    family, parts, told = model
    if not family.card.text:
        pytest.skip("a family without text and latents")
    pipe, noise, size = family.pipeline(parts), _latents(parts, 1), parts.facts.size_px
    pipe.set_progress_bar_config(disable=True)
    for negative in (None, "grey"):
        conds = [family.collate(family.encode_text(parts, [text])) for text in ("a blue bar", negative or "")]
        ours = family.denoise(parts, *conds, Denoising(make_scheduler(family.card, parts, "ddim"), noise, 3, 4.0, [generator(0)], int))
        pipe.scheduler = make_scheduler(family.card, parts, "ddim")
        asked = {"prompt": "a blue bar", "width": size, "height": size, "guidance_scale": 4.0}
        asked |= {"negative_prompt": negative} if negative else {}
        theirs = pipe(**asked, **told, latents=noise, num_inference_steps=3, output_type="latent").images
        assert (ours - theirs).abs().max() < 1e-5


def test_long_captions_are_counted_and_cut(reads_text):
    family, parts = reads_text
    tokens, limit = family.num_tokens(parts, "word " * 500)
    assert tokens > limit
    assert family.encode_text(parts, ["word " * 500])[0]["embeds"].shape[0] == limit


def test_loading_needs_no_network_and_freezes_everything(loaded):
    _, parts = loaded
    assert not any(p.requires_grad for m in parts.modules.values() for p in m.parameters())
    assert not any(m.training for m in parts.modules.values())
