"""Recorded steps: the same gradients as steps launched piece by piece, whatever comes between; on GPUs truly recorded."""

import pytest
import torch
from accelerate.state import AcceleratorState

from studio.device import pick_device
from studio.families import sd
from studio.jobs.processes import park
from studio.train import loop
from studio.train.recorded import Steps, compiled_blocks
from tests.fixtures.runs import NoHooks, spec_for, training

SUBJECT = ("prior.class_noun=disc", "prior.count=5", "prior.steps=2")


@pytest.fixture()
def make(data, tiny_folder, fresh_parts, tmp_path):
    """Make a Training with the given settings in a folder of its own; a fresh base each time."""
    workspace, shapes = data

    def _make(*settings, folder="run", recipe="lora", precision="fp32", device="cpu"):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        parts = fresh_parts() if (precision, device) == ("fp32", "cpu") else sd.load(tiny_folder, dtype, torch.device(device))
        (tmp_path / folder).mkdir(exist_ok=True)
        AcceleratorState._reset_state()  # accelerate knows one precision a process; a worker has no other
        return training(workspace, shapes, parts, spec_for(shapes, tiny_folder, *settings, recipe=recipe), tmp_path / folder, precision)

    yield _make
    AcceleratorState._reset_state()


class Again:
    """What records nothing: a start computes anew, into the places of the first results, as a replayed graph does."""

    def __init__(self, run):
        self.recorded = self.started = 0
        self._trained = list(run.adapter.state().values())

    def __call__(self, compute):
        self.recorded += 1
        first = compute()

        def start():
            self.started += 1
            before = [p.grad for p in self._trained]
            loss, gradients = compute()
            for p, gradient in zip(self._trained, before, strict=True):
                p.grad = gradient  # a graph does not know of them
            first[0].copy_(loss)
            for place, gradient in zip(first[1], gradients, strict=True):
                if place is not None:
                    place.copy_(gradient)

        return start, first


def _losses(run):
    told = []
    loop.train(run, NoHooks(), lambda kind, **v: told.append((kind, v.get("loss", v.get("message")))))
    return [value for kind, value in told if kind == "step"], [value for kind, value in told if kind == "warning"]


def _state(run):
    return {name: tensor.detach().cpu().clone() for name, tensor in run.adapter.state().items()}


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("lora", ()),
        ("lora", ("train.micro_batch=1", "data.caption_dropout=0.3")),
        ("lora", ("train.micro_batch=3", "train.max_grad_norm=0.01")),
        ("loha", ()),
        ("oft", ()),
        ("full", ()),
        ("dreambooth-lora", SUBJECT),
    ],
)
def test_recorded_steps_train_the_same(make, recipe, settings):
    plain, run = make(*settings, recipe=recipe, folder="a"), make(*settings, recipe=recipe, folder="b")
    recorder = Again(run)
    run.recorded = Steps(run, recorder)
    wanted, (losses, warnings) = _losses(plain)[0], _losses(run)
    assert losses == pytest.approx(wanted, rel=1e-6) and not warnings
    assert all(torch.allclose(ours, _state(plain)[name], atol=1e-6) for name, ours in _state(run).items())
    assert recorder.started >= len(losses) > recorder.recorded > 0, "each shape of batch once"


def test_in_half_precision_the_trained_tensors_stay_whole(make):
    plain, run = make(precision="bf16", folder="a"), make(precision="bf16", folder="b")
    run.recorded = Steps(run, Again(run))
    wanted, losses = _losses(plain)[0], _losses(run)[0]
    assert losses == pytest.approx(wanted, rel=0.05), "as under autocast, but for rounding"
    assert all(t.dtype == torch.float32 for t in run.adapter.state().values())
    before, after = make(precision="bf16", folder="c"), _state(run)
    moved = [not torch.equal(t, after[n]) for n, t in _state(before).items()]
    assert all(moved), "every tensor learned"


def test_where_recording_fails_steps_are_launched_one_by_one_and_that_is_said(make):
    plain, run = make(folder="a"), make(folder="b")

    def fail(compute):
        compute()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    run.recorded = Steps(run, fail)
    wanted, (losses, warnings) = _losses(plain)[0], _losses(run)
    assert losses == wanted and len(warnings) == 1 and "not permitted" in warnings[0] and "\n" not in warnings[0]
    assert run.recorded is None


def test_weights_that_moved_are_recorded_anew(make):
    run = make()
    recorder = Again(run)
    run.recorded = Steps(run, recorder)
    loop.optimizer_step(run)
    loop.optimizer_step(run)
    assert recorder.recorded == 1
    for parameter in run.adapter.state().values():
        parameter.data = parameter.data.clone()
    loop.optimizer_step(run)
    assert recorder.recorded == 2


def test_a_trained_text_encoder_is_not_recorded(make):
    run = make("method.text_encoder=true")
    recorder = Again(run)
    run.recorded = Steps(run, recorder)
    loop.optimizer_step(run)
    assert not recorder.recorded and not run.recorded.trouble


def test_only_while_recording_blocks_are_compiled(tiny_folder):
    unet = sd.load(tiny_folder, torch.float32, torch.device("cpu")).modules["unet"]

    def compiled():
        return {type(m).__name__ for m in unet.modules() if m._compiled_call_impl is not None}

    with compiled_blocks(unet):
        assert compiled() == {"BasicTransformerBlock", "ResnetBlock2D"}
    assert not compiled()


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", ["lora", "loha", "lokr", "full", "dreambooth-lora"])
def test_on_a_gpu_steps_are_truly_recorded(make, recipe):
    settings = SUBJECT if recipe == "dreambooth-lora" else ()
    device = pick_device()
    plain, run = (make(*settings, recipe=recipe, folder=f, precision="bf16", device=device) for f in "ab")
    run.recorded = Steps(run)
    wanted, (losses, warnings) = _losses(plain)[0], _losses(run)
    assert not warnings and losses == pytest.approx(wanted, rel=0.1)
    park.put_aside(run)()
    assert loop.optimizer_step(run)[0] > 0, "after the GPU was lent to others, too"


@pytest.mark.gpu
def test_on_a_gpu_recorded_steps_can_be_compiled(make):
    plain, run = (make(folder=f, precision="bf16", device=pick_device()) for f in "ab")
    run.recorded = Steps(run, compiled=True)
    wanted, (losses, warnings) = _losses(plain)[0], _losses(run)
    assert not warnings and losses == pytest.approx(wanted, rel=0.1)
