"""Each flow family computes what its own diffusers pipeline computes, and draws as that draws."""

import pytest
import torch

from studio import registry
from studio.export import whole
from studio.families import flow, packing, timesteps
from studio.families.base import FLOW, Denoising
from studio.families.timesteps import Timesteps
from studio.methods import full, lora
from studio.models.bases import find_base
from studio.sample.pair import make_scheduler
from studio.train.randomness import generator
from tests.fixtures.tiny_flow import MODELS, tiny

CPU = torch.device("cpu")
PROMPT = "a red disc"


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    """(family, its loaded base, its row in the table)."""
    row = MODELS[request.param]
    base = find_base(str(tiny(row.build, tmp_path_factory.mktemp("model") / "m")))
    assert base.family == row.family
    family = registry.family(base.family)
    parts = family.load(base.path, torch.float32, CPU)
    parts.facts.size_px = min(parts.facts.size_px, 32)
    return family, parts, row


def _random(parts, name, count=3):
    side = parts.facts.size_px // parts.facts.vae_scale
    return torch.randn(count, parts.facts.latent_channels, side, side, generator=generator(1, name))


def _unpacked(row, latents, parts):
    side = parts.facts.size_px // parts.facts.vae_scale
    if row.packed == 1:
        return latents.transpose(1, 2).unflatten(2, (side, side))
    return packing.unpack(latents, side, side) if row.packed else latents


def _drawn(model, monkeypatch, steps=3, **told):
    """(latents that the pipeline's scheduler ends with, what it received at each step), in our own layout."""
    family, parts, row = model
    pipe = family.pipeline(parts)
    pipe.set_progress_bar_config(disable=True)
    seen, step = [], pipe.scheduler.step

    def record(output, t, sample, **kwargs):
        after = step(output, t, sample, **kwargs)
        seen.append((_unpacked(row, output, parts), t, _unpacked(row, sample, parts), _unpacked(row, after[0], parts)))
        return after

    monkeypatch.setattr(pipe.scheduler, "step", record)
    told = {row.guidance: family.card.train_guidance or row.off, "prompt": PROMPT} | row.call | told
    size = parts.facts.size_px
    pipe(width=size, height=size, num_inference_steps=steps, generator=generator(0), output_type="latent", **told)
    return seen[-1][3], seen


def test_predict_is_what_the_pipeline_hands_to_its_scheduler(model, monkeypatch):
    family, parts, _ = model
    _, seen = _drawn(model, monkeypatch)
    cond = family.collate(family.encode_text(parts, [PROMPT]))
    assert len(seen) == 3
    for output, t, z_t, _ in seen:
        ours = family.predict(parts, z_t, t.expand(1) / 1000, cond, None)
        assert ours.shape == z_t.shape and (ours - output).abs().max() < 1e-5


def test_target_leads_the_scheduler_back_to_the_clean_latents(model):
    family, parts, _ = model
    z, eps = _random(parts, "z"), _random(parts, "eps")
    for sampler in ("euler", "dpm++2m"):
        scheduler = make_scheduler(family.card, parts, sampler)
        how = Denoising(scheduler, eps, 4, 1.0, [], lambda: None)
        ready = flow._ready(how, flow.noise_shift(parts, tuple(z.shape)), CPU)
        last = ready.timesteps[-1]
        t = ready.sigmas[-2].expand(3)
        ready.set_begin_index(len(ready.timesteps) - 1)
        z_t = family.add_noise(parts, z, eps, t)
        back = ready.step(family.target(parts, z, eps, t), last, z_t).prev_sample  # the last step goes to sigma 0
        assert (back - z).abs().max() < 1e-4, sampler
    assert torch.equal(family.weight(parts, t, 5.0), torch.ones(3))


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_it_draws_as_its_pipeline_draws(model, monkeypatch, guidance):
    family, parts, row = model
    told = {row.guidance: guidance if family.card.train_guidance else guidance - 1 + row.off}
    told |= {"negative_prompt": row.negative} if family.card.negative and guidance > 1 and row.negative else {}
    theirs, seen = _drawn(model, monkeypatch, **told)
    count = []
    how = Denoising(make_scheduler(family.card, parts, "euler"), seen[0][2], 3, guidance, [], lambda: count.append(1))
    cond = family.collate(family.encode_text(parts, [PROMPT]))
    negative = family.collate(getattr(family, "encode_negative", family.encode_text)(parts, [row.negative or ""]))
    with torch.no_grad():
        ours = family.denoise(parts, cond, negative, how)
    assert len(count) == 3 and (ours - theirs).abs().max() < 2e-4


def test_every_sampler_comes_to_much_the_same_picture(model):
    """With many steps all solve one and the same equation."""
    family, parts, _ = model
    cond = family.collate(family.encode_text(parts, [PROMPT]))
    noise, drawn = _random(parts, "noise", 1), {}
    for sampler in family.card.samplers:
        how = Denoising(make_scheduler(family.card, parts, sampler), noise, 16, 1.0, [], lambda: None)
        with torch.no_grad():
            drawn[sampler] = family.denoise(parts, cond, cond, how)
    spread = float((drawn["euler"] - noise).abs().max())
    assert all((z - drawn["euler"]).abs().max() < 0.15 * spread for z in drawn.values())


def test_pictures_go_through_the_autoencoder_and_back(model):
    family, parts, _ = model
    size = parts.facts.size_px
    px = torch.rand(2, 3, size, size, generator=generator(3, "px")) * 2 - 1
    latent = family.encode_image(parts, px)
    side = size // parts.facts.vae_scale
    assert latent.mean.shape == (2, parts.facts.latent_channels, side, side)
    assert family.decode_image(parts, latent.mean).shape == px.shape


def test_a_batch_of_captions_says_what_each_says_alone(model):
    family, parts, _ = model
    captions = ["a red disc on a very long and winding road", "bar", ""]
    z, t = _random(parts, "z"), torch.tensor([0.2, 0.5, 0.8])
    conds = family.encode_text(parts, captions)
    assert all(not v.requires_grad for c in conds for v in c.values())
    together = family.predict(parts, z, t, family.collate(conds), None)
    for i, caption in enumerate(captions):
        alone = family.predict(parts, z[i : i + 1], t[i : i + 1], family.collate(family.encode_text(parts, [caption])), None)
        assert (alone - together[i : i + 1]).abs().max() < 1e-5


def test_long_captions_are_counted_and_cut(model):
    family, parts, _ = model
    (short, limit), (long, _) = (family.num_tokens(parts, text) for text in ("disc", "word " * 900))
    assert short <= limit < long
    first, second = family.encode_text(parts, ["word " * 900, "word " * 900 + "other"])
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_noise_levels_are_drawn_as_the_screen_shows_them(model):
    family, parts, _ = model
    assert parts.facts.prediction_type == FLOW and parts.facts.told_to_schedulers() == {}
    u, shape = (torch.arange(4000) + 0.5) / 4000, tuple(_random(parts, "z").shape)
    shift = flow.noise_shift(parts, shape)
    for how in (timesteps.AUTO, Timesteps("uniform"), Timesteps("logit-normal", 0.5), Timesteps("auto", 4.0)):
        t = family.sample_t(parts, u, shape, how)
        assert 0 < float(t.min()) and float(t.max()) < 1
        kind = family.card.timesteps if how.kind == "auto" else how.kind
        shown = timesteps.histogram(kind, shift if how.shift is None else how.shift)
        drawn = torch.histc(t, 20, 0, 1) / len(t)
        assert (drawn - torch.tensor(shown)).abs().max() < 2e-3


def test_base_and_adapted_share_a_pass(model):
    """One strength per picture, base, half and whole, is what each says alone, also where the model takes lists of pictures."""
    family, parts, _ = model
    spec = lora.Spec(rank=2, lr=0.01)
    adapter = lora.attach(parts, spec, family.card, 0)
    try:
        for number, tensor in enumerate(adapter.state().values()):
            tensor.data.normal_(0, 0.1, generator=generator(number))
        noise, strengths = _random(parts, "noise"), [0.0, 0.5, 1.0]
        cond, negative = (family.collate(family.encode_text(parts, [text] * 3)) for text in (PROMPT, ""))

        def draw(part, told):
            how = Denoising(make_scheduler(family.card, parts, "euler"), noise[part], 2, 3.0, [], lambda: None)
            with torch.no_grad(), adapter.at(told):
                return family.denoise(parts, *({k: v[part] for k, v in c.items()} for c in (cond, negative)), how)

        together = draw(slice(3), strengths)
        for i, strength in enumerate(strengths):
            assert (draw(slice(i, i + 1), [strength]) - together[i : i + 1]).abs().max() < 1e-4
        assert (together[0] - draw(slice(0, 1), [1.0])[0]).abs().max() > 1e-3
    finally:
        adapter.detach()


def test_a_tuned_model_leaves_as_a_folder_and_is_a_base_again(model, tmp_path):
    family, parts, row = model
    tuned = full.attach(parts, full.Spec(), family.card, 0)
    try:
        for number, tensor in enumerate(tuned.state().values()):
            tensor.data.add_(torch.randn(tensor.shape, generator=generator(number)) * 0.02)
        whole.write_whole(family, parts, tmp_path / "out", "model", {})
        found = whole.verify_whole(family, parts, tuned, tmp_path / "out", "model", tmp_path)
        assert found.layers == found.expected > 0 and found.max_difference == 0 < found.effect
        again = find_base(str(tmp_path / "out"))
        state = family.load(again.path, torch.float32, CPU).modules[family.card.denoiser].state_dict()
        ours = parts.modules[family.card.denoiser].state_dict()
        assert again.family == row.family and all(torch.equal(state[name], value) for name, value in ours.items())
    finally:
        tuned.detach()
