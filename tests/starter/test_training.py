"""The starter's training: killed and resumed equals uninterrupted, the plan follows the step, the mathematics holds."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from studio.starter import build as B
from studio.starter import vae as V
from studio.starter.bench import Bench
from studio.starter.loop import Plan, fit, generator_at, lr_at, read_ema
from studio.starter.packages import TRAIN_STYLES
from studio.starter.pictures import Icon
from studio.starter.recipe import Recipe

TINY = Recipe(
    size_px=32,
    num_textures=12,
    num_crops=0,
    vae_widths=(8, 8, 8),
    vae_samples=64,
    text_width=32,
    vision_width=32,
    tower_layers=1,
    tower_samples=64,
    tower_batch=32,
    vision_samples=64,
    unet_widths=(32, 32),
    unet_batch=8,
    judge_samples=128,
    pixel_px=16,
    pixel_widths=(16, 32),
    pixel_samples=32,
)


class Killed(Exception):
    """Stands for SIGKILL: raised right after a state was written."""


def fit_line(plan, folder, stop_after=None):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)

    def loss_at(step):
        return (model(torch.randn(8, 4, generator=generator_at(plan.seed, step))) - 1).square().mean()

    def progress(text):
        if stop_after and f"step {stop_after}/" in text:
            raise Killed

    folder.mkdir(exist_ok=True)
    fit(model, loss_at, plan, folder / "state.safetensors", progress)


def test_a_killed_training_continues_to_the_same_bytes(tmp_path):
    plan = Plan(steps=20, batch=8, lr=1e-2, warmup_steps=3, save_every=5)
    fit_line(plan, tmp_path / "whole")
    with pytest.raises(Killed):
        fit_line(plan, tmp_path / "killed", stop_after=10)
    assert read_ema(tmp_path / "killed" / "state.safetensors")[1] == 10
    fit_line(plan, tmp_path / "killed")
    whole, killed = ((tmp_path / n / "state.safetensors").read_bytes() for n in ("whole", "killed"))
    assert whole == killed


def test_the_learning_rate_is_a_function_of_the_share_of_the_plan():
    plan = Plan(steps=1000, batch=1, lr=1.0, hold=0.6, warmup_steps=100)
    assert lr_at(0, plan) == pytest.approx(0.01) and lr_at(600, plan) == 1.0
    assert lr_at(800, plan) == pytest.approx(0.05 + 0.95 * 0.5) and lr_at(1000, plan) == pytest.approx(0.05)
    longer = dataclasses.replace(plan, steps=2000)
    assert lr_at(1000, longer) == 1.0


def make_work(folder):
    """Lay out a work folder whose pictures are drawn here and whose tokenizer is the shipped one."""
    shipped = B.Path(__file__).parents[2] / "assets" / "starter" / "tokenizer"
    (folder / "tokenizer").mkdir(parents=True)
    for file in shipped.iterdir():
        (folder / "tokenizer" / file.name).write_bytes(file.read_bytes())
    rng = np.random.default_rng(0)
    styles = [s.word for s in TRAIN_STYLES[:2]] + ["openmoji", "flat"]
    icons = [Icon(style, name, name, True) for style in styles for name in ("star", "key", "bell")]
    rgba = rng.integers(0, 256, (len(icons), 128, 128, 4), dtype=np.uint8)
    save_file({"rgba": rgba}, folder / "pictures.safetensors")
    (folder / "pictures.json").write_text(json.dumps([dataclasses.asdict(i) for i in icons]))
    (folder / "tags.json").write_text(json.dumps({"star": ["night"], "key": ["lock", "metal"], "bell": []}))
    keys = B.keys(TINY, 64)
    done = {name: {"key": keys[name], "figures": {}} for name in ("pictures", "tokenizer")}
    B.write_json(folder / "manifest.json", done)


def run_build(folder, stop_at=None):
    log = []

    def progress(text):
        log.append(text)
        if stop_at and text.startswith(stop_at):
            raise Killed

    figures = B.build(Bench(folder, TINY, 64, "cpu", progress), folder / "out", until="pixel")
    return figures, log


def test_a_killed_build_continues_to_the_same_weights_and_skips_what_is_done(tmp_path):
    make_work(tmp_path / "whole")
    make_work(tmp_path / "killed")
    figures, _ = run_build(tmp_path / "whole")
    assert figures["unet"]["samples"] == 64 and figures["latents"]["latents"] == 6 * 7
    with pytest.raises(Killed):
        run_build(tmp_path / "killed", stop_at="unet: step")
    _, log = run_build(tmp_path / "killed")
    assert not any(line.startswith(("vae: started", "towers: started", "latents: started")) for line in log)
    for part in ("vae/diffusion_pytorch_model", "latents", "unet/state", "judge/judge", "vision/model", "pixel/state"):
        whole, killed = ((tmp_path / n / f"{part}.safetensors").read_bytes() for n in ("whole", "killed"))
        assert whole == killed, part
    _, log = run_build(tmp_path / "killed")
    assert log == []
    words = json.loads((tmp_path / "whole" / "vocabulary" / "vision_encoder" / "vocabulary.json").read_text("utf-8"))
    assert words["names"] == {"star": ["night"], "key": ["lock", "metal"], "bell": []}
    assert 0 < words["threshold"] <= 1 and words["scale"] > 1 and len(words["calibration"]) == 2
    assert {"openmoji_top5", "brain-mri_unknown", "satellite_unknown"} <= set(figures["vocabulary"])


def test_new_blocks_add_nothing_where_training_goes_on_from_a_finished_model(tmp_path):
    from studio.starter import unet as U

    small, larger = (U.make_unet(dataclasses.replace(TINY, size_px=64, unet_attention_side=side)).eval() for side in (8, 16))
    small.save_pretrained(tmp_path / "unet")
    U.begin(larger, tmp_path)
    assert sum(p.numel() for p in larger.parameters()) > sum(p.numel() for p in small.parameters())
    z, t, text = torch.randn(2, 4, 16, 16), torch.tensor([10, 700]), torch.randn(2, 5, TINY.text_width)
    with torch.no_grad():
        before, after = (net(z, t, encoder_hidden_states=text).sample for net in (small, larger))
    assert torch.allclose(before, after, atol=1e-5)


def test_the_pixel_base_goes_on_from_a_finished_model(tmp_path):
    from studio.starter import pixel as X

    torch.manual_seed(5)
    finished = X.make_pixel_unet(TINY)
    finished.save_pretrained(tmp_path / "model" / "pixel" / "unet")
    bench = Bench(tmp_path, dataclasses.replace(TINY, pixel_samples=0), 0, "cpu", print, tmp_path / "model")
    gone_on = X.train_pixel(torch.zeros(4, TINY.pixel_px, TINY.pixel_px, 3, dtype=torch.uint8), tmp_path, bench)
    assert all(torch.equal(p, dict(gone_on.named_parameters())[n]) for n, p in finished.named_parameters())


def test_a_build_from_a_finished_model_is_another_build(tmp_path):
    shipped = B.Path(__file__).parents[2] / "assets" / "starter"
    fresh, further = B.keys(TINY, 64), B.keys(TINY, 64, shipped)
    assert not set(fresh.values()) & set(further.values())


def test_another_sample_budget_repeats_the_unet_only():
    before, after = B.keys(TINY, 64), B.keys(TINY, 128)
    assert {name for name in before if before[name] != after[name]} == {"unet"}
    changed = B.keys(dataclasses.replace(TINY, vae_samples=65), 64)
    assert {name for name in before if before[name] != changed[name]} == {"vae", "latents", "unet"}


def test_folding_the_normalisation_leaves_the_decoder_as_it_was():
    torch.manual_seed(0)
    vae = V.make_vae(32, (8, 8, 8)).eval()
    rgb = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    before, z = V.reconstruct(vae, rgb), V.encode(vae, rgb)
    with torch.no_grad():
        std = vae.encode(V.to_pixels(rgb)).latent_dist.std.mean((0, 2, 3))
    V.fold_normalisation(vae, z)
    after = V.encode(vae, rgb)
    assert torch.allclose(after.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(after.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert (V.reconstruct(vae, rgb).int() - before.int()).abs().max() <= 1
    with torch.no_grad():
        folded = vae.encode(V.to_pixels(rgb)).latent_dist.std.mean((0, 2, 3))
    assert torch.allclose(folded, std / z.std((0, 2, 3)), rtol=1e-3)


def test_min_snr_weights_fall_on_both_ends():
    from studio.starter.unet import make_scheduler, min_snr_weights

    weights = min_snr_weights(make_scheduler(), torch.tensor([1, 250, 999]))
    assert weights[1] > weights[0] and weights[1] > weights[2]
