"""LoRA: what it attaches to, what it leaves behind, and that every file it writes comes back equal."""

import pytest
import torch

from studio.errors import StudioError
from studio.export.formats import write_adapter
from studio.export.verify import outputs, verify
from studio.families import sd
from studio.methods import lora
from studio.train.randomness import generator

ALL = "attention+feed_forward+conv"
SPECS = {
    "attention": {"targets": "attention"},
    "alpha": {"targets": "attention", "alpha": 1.5},
    "conv": {"targets": ALL},
    "text": {"targets": "attention", "text_encoder": True, "alpha": 2},
    "rslora": {"targets": ALL, "text_encoder": True, "rslora": True},
}


def attach(parts, **settings):
    spec = lora.Spec(**{"rank": 4, **settings})
    return lora.attach(parts, spec, sd.card, seed=0), spec


def disturb(adapter, size=0.1):
    """Give the adapter weights as if it were trained."""
    for number, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number, "weights")) * size)


def test_a_fresh_adapter_changes_nothing(tiny_parts):
    base = outputs(sd, tiny_parts)
    attach(tiny_parts, targets=ALL, text_encoder=True)
    assert all(torch.equal(a, b) for a, b in zip(base, outputs(sd, tiny_parts), strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_detach_leaves_the_base_as_it_was(tiny_parts, name):
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in tiny_parts.modules.items()}
    base = outputs(sd, tiny_parts)
    adapter, _ = attach(tiny_parts, **SPECS[name])
    disturb(adapter)
    assert not torch.equal(base[-1], outputs(sd, tiny_parts)[-1])
    adapter.detach()
    for component, tensors in before.items():
        now = tiny_parts.modules[component].state_dict()
        assert list(now) == list(tensors) and all(torch.equal(now[k], v) for k, v in tensors.items())
        assert not hasattr(tiny_parts.modules[component], "peft_config")
    assert all(torch.equal(a, b) for a, b in zip(base, outputs(sd, tiny_parts), strict=True))


@pytest.mark.parametrize("layout", sd.card.export_layouts)
@pytest.mark.parametrize("name", SPECS)
def test_exports_load_in_plain_libraries_and_are_equal(tiny_parts, tmp_path, name, layout):
    adapter, spec = attach(tiny_parts, **SPECS[name])
    disturb(adapter)
    target = tmp_path / ("adapter" if layout == "peft" else "adapter.safetensors")
    state = adapter.state()
    write_adapter(target, lora.export(state, spec, layout, sd.card), {"a": "b"}, layout, lora.peft_configs(state, spec))
    found = verify(sd, tiny_parts, adapter, target, layout)
    assert found.layers == found.expected > 0
    assert found.max_difference < 1e-5 < 1e-3 < found.effect


def test_a_damaged_export_is_refused(tiny_parts, tmp_path):
    adapter, spec = attach(tiny_parts, targets="attention")
    disturb(adapter)
    tensors = lora.export(adapter.state(), spec, "kohya", sd.card)
    wrong = {n: t * 0.5 if n.endswith("lora_up.weight") else t for n, t in tensors.items()}
    write_adapter(tmp_path / "x.safetensors", wrong, {}, "kohya", {})
    with pytest.raises(StudioError, match="did not come back"):
        verify(sd, tiny_parts, adapter, tmp_path / "x.safetensors", "kohya")


def test_a_missing_layer_is_refused(tiny_parts, tmp_path):
    adapter, spec = attach(tiny_parts, targets="attention")
    disturb(adapter)
    tensors = lora.export(adapter.state(), spec, "kohya", sd.card)
    gone = next(n for n in tensors if n.endswith("lora_down.weight")).removesuffix(".lora_down.weight")
    write_adapter(tmp_path / "x.safetensors", {n: t for n, t in tensors.items() if not n.startswith(gone + ".")}, {}, "kohya", {})
    with pytest.raises(StudioError, match="did not come back"):
        verify(sd, tiny_parts, adapter, tmp_path / "x.safetensors", "kohya")


def test_kohya_names_and_alpha_are_the_fields(tiny_parts):
    adapter, spec = attach(tiny_parts, targets="attention", text_encoder=True, rank=4, rslora=True, alpha=2)
    tensors = lora.export(adapter.state(), spec, "kohya", sd.card)
    prefixes = {n.split(".")[0] for n in tensors}
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q" in prefixes
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj" in prefixes
    alphas = {float(t) for n, t in tensors.items() if n.endswith(".alpha")}
    assert alphas == {4.0}, "alpha / rank must give 2 / sqrt(4), which is how readers scale"


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_an_adapter_file_can_be_continued_under_another_alpha(tiny_parts, layout):
    adapter, spec = attach(tiny_parts, targets="attention", alpha=2)
    disturb(adapter)
    theirs = outputs(sd, tiny_parts)
    tensors = lora.export(adapter.state(), spec, layout, sd.card)
    adapter.detach()
    again, _ = attach(tiny_parts, targets="attention", alpha=4)
    again.load(tensors)
    assert (outputs(sd, tiny_parts)[-1] - theirs[-1]).abs().max() < 1e-5


def test_describe_reads_what_a_file_needs(tiny_parts, tmp_path):
    adapter, spec = attach(tiny_parts, targets=ALL, text_encoder=True, rank=3)
    write_adapter(tmp_path / "x.safetensors", lora.export(adapter.state(), spec, "kohya", sd.card), {}, "kohya", {})
    assert lora.describe(tmp_path / "x.safetensors", sd.card) == {"rank": 3, "targets": ALL, "text_encoder": True}


def test_strengths_apply_per_sample(tiny_parts):
    adapter, _ = attach(tiny_parts, targets=ALL)
    disturb(adapter)
    z = torch.randn(1, 4, 8, 8, generator=generator(5)).repeat(4, 1, 1, 1)
    t = torch.full((4,), 400)
    cond = sd.collate(sd.encode_text(tiny_parts, ["x"] * 4))
    with torch.no_grad():
        with adapter.at([0.0, 1.0]):
            mixed = sd.predict(tiny_parts, z, t, cond)
        with adapter.at([0.0]):
            base = sd.predict(tiny_parts, z, t, cond)
        adapted = sd.predict(tiny_parts, z, t, cond)
    assert torch.equal(mixed[0], base[0]) and torch.equal(mixed[2], base[2])
    assert torch.allclose(mixed[1], adapted[1], atol=1e-6) and torch.allclose(mixed[3], adapted[3], atol=1e-6)
    assert not torch.allclose(base, adapted, atol=1e-3)


def test_a_batch_that_does_not_divide_is_an_error(tiny_parts):
    adapter, _ = attach(tiny_parts, targets="attention")
    cond = sd.collate(sd.encode_text(tiny_parts, ["x"] * 3))
    with torch.no_grad(), adapter.at([0.0, 1.0]), pytest.raises(ValueError, match="does not divide"):
        sd.predict(tiny_parts, torch.randn(3, 4, 8, 8), torch.full((3,), 9), cond)
    with torch.no_grad():
        assert sd.predict(tiny_parts, torch.randn(3, 4, 8, 8), torch.full((3,), 9), cond).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": "nonsense"}, "matches no layer"),
        ({"targets": "attention+"}, "matches no layer"),
        ({"targets": "attention", "rank": 64}, "use at most 32"),
        ({"targets": "attention", "rank": 64, "text_encoder": True}, "use at most 32"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tiny_parts, settings, words):
    with pytest.raises(StudioError, match=words) as caught:
        attach(tiny_parts, **settings)
    assert "\n" not in str(caught.value)
    assert not any(hasattr(m, "peft_config") for m in tiny_parts.modules.values())


def test_same_seed_same_start(tiny_parts):
    first, _ = attach(tiny_parts, targets=ALL)
    state = {n: t.clone() for n, t in first.state().items()}
    first.detach()
    torch.manual_seed(99)
    second, _ = attach(tiny_parts, targets=ALL)
    assert all(torch.equal(t, state[n]) for n, t in second.state().items())


def test_combined_is_the_sum_of_the_members(tiny_parts):
    """Different ranks, layers, scales and strengths; on the denoiser's output and on every layer's weight."""
    specs = [lora.Spec(rank=4, alpha=2, targets=ALL), lora.Spec(rank=3, targets="attention", text_encoder=True, rslora=True)]
    members, deltas = [], {}
    for number, (spec, strength) in enumerate(zip(specs, (0.8, -0.5), strict=True)):
        adapter = lora.attach(tiny_parts, spec, sd.card, seed=number)
        disturb(adapter, 0.05 * (number + 1))
        members.append(({n: t.detach().clone() for n, t in adapter.state().items()}, spec, strength))
        for name, layer in adapter._layers.items():
            deltas[name] = deltas.get(name, 0) + strength * layer.get_delta_weight("default").detach()
        adapter.detach()
    both = lora.combine(tiny_parts, members, sd.card)
    assert both.num_layers == len(deltas) == len(both._layers)
    for name, layer in both._layers.items():
        assert (layer.get_delta_weight("default") - deltas[name]).abs().max() < 1e-6, name
    combined = outputs(sd, tiny_parts)
    both.detach()
    base = outputs(sd, tiny_parts)
    for name, delta in deltas.items():
        component, _, path = name.partition(".")
        tiny_parts.modules[component].get_submodule(path).weight.data += delta
    summed = outputs(sd, tiny_parts)
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(combined, summed, strict=True))
    assert (combined[-1] - base[-1]).abs().max() > 1e-2
