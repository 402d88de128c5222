"""Each family computes what its own diffusers pipeline computes."""

import pytest
import torch

from studio import registry
from studio.models import find_base
from studio.sample.pair import make_scheduler
from studio.train.randomness import generator
from tests.fixtures.tiny import tiny_ddpm, tiny_sd

CPU = torch.device("cpu")


KINDS = ["sd epsilon", "sd v_prediction", "ddpm epsilon", "ddpm v_prediction", "ddpm grey"]


def _load(folder):
    base = find_base(str(folder))
    family = registry.family(base.family)
    return family, family.load(base.path, torch.float32, CPU)


@pytest.fixture(scope="module", params=KINDS)
def loaded(request, tmp_path_factory):
    """Every family, for each kind of prediction, and where it has them for each kind of picture."""
    family, kind = request.param.split()
    folder, options = tmp_path_factory.mktemp("model"), {"channels": 1} if kind == "grey" else {"prediction_type": kind}
    return _load({"sd": tiny_sd, "ddpm": tiny_ddpm}[family](folder, **options))


@pytest.fixture(scope="module")
def loaded_sd(sd_folder):
    return _load(sd_folder)


def _latents(parts, count=3):
    side = parts.facts.size_px // parts.facts.vae_scale
    return torch.randn(count, parts.facts.latent_channels, side, side, generator=generator(1, "z"))


def test_predict_is_what_the_pipeline_hands_to_its_scheduler(loaded, monkeypatch):
    family, parts = loaded
    pipe = family.pipeline(parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = make_scheduler(family.card, parts, "ddim")
    seen = []
    step = pipe.scheduler.step

    def record(output, t, sample, **kwargs):
        seen.append((output.clone(), t, pipe.scheduler.scale_model_input(sample, t).clone()))
        return step(output, t, sample, **kwargs)

    monkeypatch.setattr(pipe.scheduler, "step", record)
    size, told = parts.facts.size_px, {}
    if family.card.text:
        told = {"prompt": "a red disc", "width": size, "height": size, "guidance_scale": family.card.train_guidance or 1.0}
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


def test_images_go_through_the_vae_and_back_at_the_right_scale(loaded_sd):
    family, parts = loaded_sd
    size, vae = parts.facts.size_px, parts.modules["vae"]
    px = torch.rand(2, 3, size, size, generator=generator(3, "px")) * 2 - 1
    latent = family.encode_image(parts, px)
    posterior = vae.encode(px).latent_dist
    assert torch.allclose(latent.mean, posterior.mean * vae.config.scaling_factor)
    assert torch.allclose(latent.std, posterior.std * vae.config.scaling_factor)
    assert torch.allclose(family.decode_image(parts, latent.mean), vae.decode(posterior.mean).sample.clamp(-1, 1), atol=1e-5)


def test_text_is_encoded_as_the_pipeline_encodes_it(loaded_sd):
    family, parts = loaded_sd
    theirs, negative = family.pipeline(parts).encode_prompt("a blue bar", CPU, 1, True, "grey")
    ours = family.collate(family.encode_text(parts, ["a blue bar", "grey"]))["embeds"]
    assert torch.allclose(ours[:1], theirs, atol=1e-6) and torch.allclose(ours[1:], negative, atol=1e-6)


def test_long_captions_are_counted_and_cut(loaded_sd):
    family, parts = loaded_sd
    tokens, limit = family.num_tokens(parts, "word " * 500)
    assert tokens > limit
    assert family.encode_text(parts, ["word " * 500])[0]["embeds"].shape[0] == limit


def test_loading_needs_no_network_and_freezes_everything(loaded):
    _, parts = loaded
    assert not any(p.requires_grad for m in parts.modules.values() for p in m.parameters())
    assert not any(m.training for m in parts.modules.values())
