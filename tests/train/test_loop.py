"""The loop: golden losses, exact resume, micro-batches, clipping, averages, and what it does with NaN."""

import json
import sys
from pathlib import Path

import pytest
import torch

from studio.errors import StudioError
from studio.train import checkpoint, loop
from studio.train.loop import train
from studio.train.objective import kept_loss, sample_losses
from tests.fixtures.runs import NoHooks, spec_for, training

SUBJECT = ("prior.class_noun=disc", "prior.count=5", "prior.steps=2")
GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"


@pytest.fixture()
def make(data, tiny_folder, fresh_parts, tmp_path):
    """Make a Training with the given settings in a folder of its own; a fresh base each time."""
    workspace, shapes = data

    def _make(*settings, folder="run", recipe="lora"):
        (tmp_path / folder).mkdir(exist_ok=True)
        return training(workspace, shapes, fresh_parts(), spec_for(shapes, tiny_folder, *settings, recipe=recipe), tmp_path / folder)

    return _make


def _state(run):
    return {name: tensor.detach().clone() for name, tensor in run.adapter.state().items()}


def _losses(run, hooks=None):
    losses = []
    train(run, hooks or NoHooks(), lambda kind, **v: losses.append(v["loss"]) if kind == "step" else None)
    return losses


def _fixed_loss(run):
    """Mean loss over the first batches' pictures, noise and times, without training."""
    with torch.no_grad():
        return float(torch.cat([sample_losses(run.family, run.parts, run.draw(step))[0] for step in range(8)]).mean())


def test_losses_are_the_golden_ones(make):
    """A change that is meant to compute the same must leave these as they are."""
    losses = _losses(make("method.targets=attention+feed_forward+conv", "data.caption_dropout=0.3"))
    assert losses == pytest.approx(json.loads(GOLDEN.read_text())["sd-lora"], rel=1e-4)


def test_two_equal_runs_are_bit_identical(make):
    first, second = make(folder="a"), make(folder="b")
    assert _losses(first) == _losses(second)
    assert all(torch.equal(t, _state(second)[n]) for n, t in _state(first).items())


@pytest.mark.parametrize(
    ("recipe", "stop_at", "settings"),
    [
        ("lora", 1, ()),
        ("lora", 3, ("data.flip=true", "data.turns=true", "data.colour=0.1")),
        ("lora", 5, ("method.text_encoder=true", "method.targets=attention", "train.micro_batch=3")),
        ("pivotal", 3, ("method.embedding_lr=0.1",)),
        ("textual-inversion", 3, ("train.micro_batch=3", "method.embedding_lr=0.5")),
        ("full", 3, ()),
        ("dreambooth-lora", 1, SUBJECT),
        ("dreambooth-lora", 5, (*SUBJECT, "prior.match=outputs", "train.micro_batch=3")),
        ("dreambooth-full", 3, (*SUBJECT, "prior.match=outputs")),
        ("loha", 3, ("train.micro_batch=3", "method.text_encoder=true", "method.targets=attention")),
        ("lokr", 3, ()),
        ("oft", 3, ("method.block_size=4",)),
    ],
)
def test_interrupted_equals_uninterrupted(make, stop_at, recipe, settings):
    whole = make(*settings, folder="whole", recipe=recipe)
    _losses(whole)
    broken = make(*settings, folder="broken", recipe=recipe)
    assert train(broken, NoHooks(stop_at), lambda kind, **v: None) == "stopped" and broken.step == stop_at
    again = make(*settings, folder="broken", recipe=recipe)
    assert again.restore() and again.step == stop_at
    assert train(again, NoHooks(), lambda kind, **v: None) == "finished"
    for name, tensor in _state(whole).items():
        assert torch.equal(tensor, again.adapter.state()[name])
        assert torch.equal(whole.average.tensors[name], again.average.tensors[name])
    for file in ("raw.safetensors", "ema.safetensors", "optimizer.safetensors"):
        assert (whole.folder / "resume/000006" / file).read_bytes() == (again.folder / "resume/000006" / file).read_bytes()


def test_a_subject_is_learned_with_its_words_beside_pictures_of_its_class(make):
    run = make(*SUBJECT, "data.caption_dropout=0", recipe="dreambooth-lora")
    ours, prior = run.draw(0), run.draw_prior(0)
    assert all("sks disc" in caption for caption in ours.captions) and set(prior.captions) == {"disc"}
    assert len(prior) == len(ours) and not torch.equal(prior.eps, ours.eps)
    seen = {file for step in range(8) for file in run.draw_prior(step).files}
    assert seen == {f"{n:05d}.png" for n in range(5)}


def test_the_prior_adds_its_weighted_loss(make):
    losses = {}
    for weight in (0, 1, 2):
        run = make(*SUBJECT, f"prior.weight={weight}", folder=f"weight{weight}", recipe="dreambooth-lora")
        losses[weight] = loop._accumulate(run)[0]
    assert losses[1] > losses[0] and losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_matching_outputs_costs_nothing_before_anything_is_learned_and_holds_the_class_afterwards(make):
    settings = (*SUBJECT, "prior.match=outputs", "data.caption_dropout=0", "train.steps=30", "method.lr=0.02")
    drift = {}
    for weight in (0.001, 30):
        run = make(*settings, f"prior.weight={weight}", folder=f"weight{weight}", recipe="dreambooth-lora")
        prior = run.draw_prior(0)
        assert not any("sks" in caption for caption in prior.captions) and torch.equal(prior.eps, run.draw(0).eps)
        assert float(kept_loss(run.family, run.parts, run.adapter, prior, 0, len(prior)).detach()) < 1e-12
        _losses(run)
        drift[weight] = float(kept_loss(run.family, run.parts, run.adapter, prior, 0, len(prior)).detach())
    assert drift[30] < 0.5 * drift[0.001]


def test_micro_batches_add_up_to_the_batch(make):
    lr = "method.lr=0.0001"  # Adam turns rounding of near-zero gradients into whole steps of this size
    whole, cut = make(lr, folder="whole"), make(lr, "train.micro_batch=1", folder="cut")
    assert _losses(whole) == pytest.approx(_losses(cut), rel=1e-5)
    assert all(torch.allclose(t, _state(cut)[n], atol=1e-5) for n, t in _state(whole).items())


def test_training_lowers_the_loss_on_what_it_sees(make):
    losses = _losses(make("train.steps=60", "train.batch_size=8", "method.targets=attention+feed_forward+conv"))
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_of_whole_models_the_best_and_the_last_snapshot_stay(make):
    class Scores(NoHooks):
        def evaluate(self, step, ema):
            return {"held_out": {"log_ratio": {1: -0.1, 2: -0.5, 3: -0.2}.get(step, -0.3), "num_images": 1}}

    run = make("train.snapshot_every=1", recipe="full")
    _losses(run, Scores())
    assert checkpoint.whole_steps(run.folder / "snapshots") == [2, 6]


def test_moments_in_8_bits_resume_exactly(make):
    pytest.importorskip("bitsandbytes")
    settings = ("train.optimizer=adamw8bit",)
    whole = make(*settings, folder="whole", recipe="full")
    _losses(whole)
    assert any(
        t.dtype == torch.uint8 for p in whole.adapter.state().values() for t in whole.optimizer.state[p].values() if torch.is_tensor(t)
    )
    train(make(*settings, folder="broken", recipe="full"), NoHooks(3), lambda kind, **v: None)
    again = make(*settings, folder="broken", recipe="full")
    assert again.restore() and again.step == 3
    _losses(again)
    assert all(torch.equal(t, again.adapter.state()[name]) for name, t in _state(whole).items())


def test_a_missing_optimizer_is_told(make, monkeypatch):
    for name in ("bitsandbytes", "bitsandbytes.optim"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StudioError, match="adamw8bit needs the package bitsandbytes"):
        make("train.optimizer=adamw8bit")


def test_clipping_clips(make, monkeypatch):
    run = make("train.max_grad_norm=0.001")
    grads = []
    step = run.optimizer.step
    params = [p for g in run.optimizer.param_groups for p in g["params"]]
    monkeypatch.setattr(run.optimizer, "step", lambda: (grads.append(torch.cat([p.grad.flatten() for p in params]).norm().item()), step()))
    norms = [loop.optimizer_step(run)[1] for _ in range(2)]
    assert min(norms) > 0.002 and max(grads) <= 0.00101


def test_without_averaging_the_average_is_the_adapter(make):
    run = make("train.ema_decay=0")
    _losses(run)
    assert all(torch.equal(t, run.average.tensors[n]) for n, t in _state(run).items())


def test_only_the_adapter_is_trained(make):
    run = make("method.targets=attention")
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in run.parts.modules.items()}
    start = _state(run)
    _losses(run)
    for name, tensors in before.items():
        now = run.parts.modules[name].state_dict()
        assert all(torch.equal(now[k], v) for k, v in tensors.items() if "lora_" not in k)
    assert all(not torch.equal(t, start[n]) for n, t in _state(run).items())


def test_textual_inversion_trains_its_word_and_nothing_else(make):
    run = make("train.steps=60", "train.batch_size=8", "method.embedding_lr=0.05", "method.num_vectors=8", recipe="textual-inversion")
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in run.parts.modules.items()}
    first = _fixed_loss(run)
    _losses(run)
    assert _fixed_loss(run) < first
    assert all(caption.startswith("<shapes>") for caption in run.draw(0).captions if caption)
    for name, tensors in before.items():
        now = run.parts.modules[name].state_dict()
        assert all(torch.equal(now[k], v) for k, v in tensors.items() if not k.endswith("token_embedding.new"))


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_stops_before_the_weights_change(make, monkeypatch, where):
    run = make()
    loop.optimizer_step(run)
    run.step = 1
    kept = _state(run)
    real = loop.batch_loss
    if where == "loss":
        monkeypatch.setattr(loop, "batch_loss", lambda *a: real(*a) * float("nan"))
    else:
        next(iter(run.adapter.state().values())).register_hook(lambda g: g * float("inf"))
    with pytest.raises(StudioError, match=r"step 2: the loss is no longer a number.*pictures: .*lower learning rate \(method.lr\)"):
        train(run, NoHooks(), lambda kind, **v: None)
    assert all(torch.equal(t, kept[n]) for n, t in _state(run).items())
    assert all(t.isfinite().all() for t in run.average.tensors.values())


def test_an_average_and_optimizer_come_back_from_a_resume_point(make):
    run = make()
    train(run, NoHooks(stop_at=2), lambda kind, **v: None)
    other = make(folder="run")
    other.restore()
    assert other.step == 2 and all(torch.equal(t, other.average.tensors[n]) for n, t in run.average.tensors.items())
    a, b = (r.optimizer.state_dict()["state"] for r in (run, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(torch.as_tensor(a[i][k]), torch.as_tensor(b[i][k])) for i in a for k in ("exp_avg", "exp_avg_sq", "step"))
