"""Full tuning: all weights are trained, the base comes back bit for bit, and strength is the way between the two."""

import pytest
import torch

from studio.errors import StudioError
from studio.export.verify import outputs
from studio.families import sd
from studio.methods import full
from studio.train.randomness import generator


def disturbed(parts):
    adapter = full.attach(parts, full.Spec(), sd.card, 0)
    for number, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number, "weights")).to(tensor.device) * 0.02)
    return adapter


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_every_weight_of_the_denoiser_is_trained_and_nothing_else(tiny_parts):
    adapter = full.attach(tiny_parts, full.Spec(lr=0.01), sd.card, 0)
    trained = {id(p) for group in adapter.groups() for p in group["params"]}
    assert trained == {id(p) for p in tiny_parts.modules["unet"].parameters()}
    assert all(p.requires_grad for p in tiny_parts.modules["unet"].parameters())
    assert not any(p.requires_grad for name in ("vae", "text_encoder") for p in tiny_parts.modules[name].parameters())


def test_the_base_comes_back_bit_for_bit(tiny_parts):
    base = outputs(sd, tiny_parts)
    adapter = disturbed(tiny_parts)
    tuned = outputs(sd, tiny_parts)
    assert not equal(base, tuned)
    with adapter.at([0.0, 0.0]):
        assert equal(base, outputs(sd, tiny_parts))
    assert equal(tuned, outputs(sd, tiny_parts))
    adapter.detach()
    assert equal(base, outputs(sd, tiny_parts)) and not any(p.requires_grad for p in tiny_parts.modules["unet"].parameters())


def test_strength_interpolates_the_weights(tiny_parts):
    adapter = disturbed(tiny_parts)
    name, tuned = next(iter(adapter.state().items()))
    first, tuned = adapter.first()[name], tuned.detach().clone()
    for strength in (0.5, 1.5):
        with adapter.at([strength]):
            assert torch.allclose(adapter.state()[name], first + strength * (tuned - first), atol=1e-7)
    assert torch.equal(adapter.state()[name], tuned)
    with pytest.raises(ValueError, match="one strength"), adapter.at([0.0, 1.0]):
        pass


def test_a_base_in_half_precision_is_tuned_in_whole_and_comes_back(tiny_folder):
    parts = sd.load(tiny_folder, torch.bfloat16, torch.device("cpu"))
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in parts.modules.items()}
    adapter = disturbed(parts)
    assert {p.dtype for p in adapter.state().values()} == {torch.float32} and parts.dtype == torch.float32
    assert all(out.isfinite().all() for out in outputs(sd, parts))
    adapter.detach()
    assert parts.dtype == torch.bfloat16
    for name, tensors in before.items():
        now = parts.modules[name].state_dict()
        assert all(now[k].dtype == v.dtype and torch.equal(now[k], v) for k, v in tensors.items())


def test_a_state_comes_back_and_another_models_is_refused(tiny_parts):
    adapter = disturbed(tiny_parts)
    kept, drawn = {n: t.detach().clone() for n, t in adapter.state().items()}, outputs(sd, tiny_parts)
    adapter.detach()
    again = full.attach(tiny_parts, full.Spec(), sd.card, 0)
    again.restore(kept)
    assert equal(drawn, outputs(sd, tiny_parts))
    with pytest.raises(StudioError, match="not of this base"):
        again.restore({n: t for n, t in list(kept.items())[1:]})
    with pytest.raises(StudioError, match="--base"):
        full.describe("a.safetensors", sd.card)
