"""Base and adapted from the same noise: exact, in one pass, and saying how they were made."""

import numpy
import pytest
from PIL import Image
from pydantic import ValidationError

from studio.errors import StudioError
from studio.families import sd
from studio.sample.pair import Sampling, Shot, check_size, draw
from studio.sample.pictures import make_grid, read_settings, write_png
from tests.methods.test_lora import attach, disturb


def _sampling(**changes):
    return Sampling(**{"prompt": "a red disc", "seed": 3, "steps": 4, "guidance": 3.0, "width": 16, "height": 16, **changes})


def _draw(parts, adapter, *shots, batchable=True):
    made = [Shot(sampling=s, strength=x) for s, x in shots]
    return [numpy.asarray(p).astype(int) for p in draw(sd, parts, adapter, made, batchable)]


@pytest.fixture()
def adapted(tiny_parts):
    adapter, _ = attach(tiny_parts, targets="attention+feed_forward+conv", text_encoder=True)
    disturb(adapter, 0.2)
    return tiny_parts, adapter


@pytest.mark.parametrize("sampler", sd.card.samplers)
def test_one_pass_gives_what_single_passes_give(adapted, sampler):
    parts, adapter = adapted
    s = _sampling(sampler=sampler)
    base, half, full = _draw(parts, adapter, (s, 0.0), (s, 0.5), (s, 1.0))
    for strength, picture in ((0.0, base), (0.5, half), (1.0, full)):
        (alone,) = _draw(parts, adapter, (s, strength))
        assert abs(alone - picture).max() <= 1
    assert abs(base - full).max() > 8 and abs(half - full).max() > 2


def test_strength_zero_is_the_untouched_base(adapted):
    parts, adapter = adapted
    (with_adapter,) = _draw(parts, adapter, (_sampling(), 0.0))
    adapter.detach()
    (without,) = _draw(parts, None, (_sampling(), 0.0))
    assert (with_adapter == without).all()


def test_sequential_passes_where_batching_is_not_exact(adapted):
    parts, adapter = adapted
    shots = [(_sampling(seed=i), x) for i in range(2) for x in (0.0, 1.0)]
    for a, b in zip(_draw(parts, adapter, *shots), _draw(parts, adapter, *shots, batchable=False), strict=True):
        assert abs(a - b).max() <= 1


def test_the_seed_and_every_setting_count(adapted):
    parts, adapter = adapted
    (reference,) = _draw(parts, adapter, (_sampling(), 1.0))
    (again,) = _draw(parts, adapter, (_sampling(), 1.0))
    assert (reference == again).all()
    for change in ({"seed": 4}, {"prompt": "a blue bar"}, {"negative": "grey"}, {"guidance": 6.0}, {"steps": 7}, {"sampler": "euler"}):
        (other,) = _draw(parts, adapter, (_sampling(**change), 1.0))
        assert (other != reference).any(), change


def test_it_draws_what_the_plain_pipeline_draws(adapted):
    from studio.train.randomness import generator

    parts, adapter = adapted
    (ours,) = _draw(parts, adapter, (_sampling(sampler="ddim"), 1.0))
    pipe = sd.pipeline(parts)
    pipe.set_progress_bar_config(disable=True)
    import torch

    noise = torch.randn(4, 8, 8, generator=generator(3, "noise"))[None]
    theirs = pipe("a red disc", latents=noise, num_inference_steps=4, guidance_scale=3.0, width=16, height=16).images[0]
    assert abs(numpy.asarray(theirs).astype(int) - ours).max() <= 1


def test_pictures_say_how_they_were_made(tmp_path):
    picture = Image.new("RGB", (8, 8), "red")
    settings = {**_sampling(prompt='Größe 東京 "quoted"').model_dump(), "strength": 0.5}
    write_png(tmp_path / "x.png", picture, settings)
    assert settings.items() <= read_settings(tmp_path / "x.png").items()
    picture.save(tmp_path / "plain.png")
    assert read_settings(tmp_path / "plain.png") == {}


def test_a_grid_shows_every_picture_crisp():
    rows = [[Image.new("RGB", (64, 64), c) for c in ("red", "lime")], [Image.new("RGB", (64, 64), c) for c in ("blue", "white")]]
    colours = {c for _, c in make_grid(rows, ["base", "adapted"]).getcolors(1 << 20)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)} <= colours


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 10**6}, {"guidance": float("nan")}, {"guidance": -1}, {"seed": -1}, {"width": 0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        _sampling(**wrong)


def test_control_characters_do_not_reach_the_model():
    assert _sampling(prompt="a\x00red\x1b[31m\ndisc").prompt == "a red [31m disc"


def test_unknown_samplers_and_odd_sizes_are_refused(tiny_parts):
    with pytest.raises(StudioError, match="there are: ddim, dpm"):
        _draw(tiny_parts, None, (_sampling(sampler="magic"), 0.0))
    with pytest.raises(StudioError, match="multiples of 2"):
        check_size(tiny_parts, 17, 16)
