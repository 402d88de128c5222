"""DoRA, LoHa, LoKr and OFT: what they attach to, what they leave behind, and that every file they write comes back equal."""

import warnings

import pytest
import torch

from studio import registry
from studio.errors import StudioError
from studio.export.formats import write_adapter
from studio.export.verify import outputs, verify
from studio.families import sd
from studio.methods import formulas
from studio.methods.describing import check_continued, describe_file
from studio.methods.foreign import Foreign
from studio.methods.layers import layers_of
from studio.store import read_tensors
from studio.train.randomness import generator

ALL = "attention+feed_forward+conv"
CASES = {
    "loha": ("loha", {"rank": 3, "targets": ALL}),
    "loha-text-alpha": ("loha", {"rank": 4, "targets": "attention", "text_encoder": True, "alpha": 2}),
    "lokr-parts": ("lokr", {"rank": 1, "targets": ALL, "alpha": 0.5}),
    "lokr-whole": ("lokr", {"rank": 4, "targets": "attention", "text_encoder": True, "alpha": 2}),
    "lokr-mixed": ("lokr", {"rank": 4, "targets": ALL, "alpha": 3}),
    "lokr-factor": ("lokr", {"rank": 3, "targets": ALL, "factor": 4}),
    "dora": ("dora", {"rank": 3, "targets": ALL, "alpha": 2}),
    "dora-text": ("dora", {"rank": 4, "targets": "attention", "text_encoder": True}),
    "oft": ("oft", {"block_size": 4, "targets": "attention+feed_forward"}),
    "oft-text": ("oft", {"block_size": 8, "targets": "attention", "text_encoder": True}),
}
FILES = [name for name in CASES if not name.startswith(("oft", "dora"))]


def attach(parts, kind, **settings):
    spec = registry.method(kind).Spec(**settings)
    return registry.method(kind).attach(parts, spec, sd.card, seed=0), spec


def trained(parts, name, size=0.1):
    """(method, settings, an adapter with weights as if it were trained)."""
    kind, settings = CASES[name]
    adapter, spec = attach(parts, kind, **settings)
    for number, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number, "weights")) * size)
    return registry.method(kind), spec, adapter


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_fresh_adapter_changes_nothing_and_learns(tiny_parts, name):
    base = outputs(sd, tiny_parts)
    kind, settings = CASES[name]
    adapter, _ = attach(tiny_parts, kind, **settings)
    assert equal(base, outputs(sd, tiny_parts))
    assert all(t.dtype == torch.float32 and t.requires_grad for t in adapter.state().values())
    out = sd.predict(tiny_parts, torch.ones(1, 4, 8, 8), torch.tensor([9]), sd.collate(sd.encode_text(tiny_parts, ["x"])))
    out.square().sum().backward()
    for group in adapter.groups():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in group["params"])


@pytest.mark.parametrize("name", CASES)
def test_detach_leaves_the_base_as_it_was(tiny_parts, name):
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in tiny_parts.modules.items()}
    base = outputs(sd, tiny_parts)
    _, _, adapter = trained(tiny_parts, name)
    assert not torch.equal(base[-1], outputs(sd, tiny_parts)[-1])
    with adapter.at([0.0]):
        assert equal(base, outputs(sd, tiny_parts))
    adapter.detach()
    for component, tensors in before.items():
        now = tiny_parts.modules[component].state_dict()
        assert list(now) == list(tensors) and all(torch.equal(now[k], v) for k, v in tensors.items())
        assert not hasattr(tiny_parts.modules[component], "peft_config")


@pytest.mark.parametrize("name", CASES)
def test_a_state_comes_back_and_the_seed_alone_decides_the_start(tiny_parts, name):
    kind, settings = CASES[name]
    first, _ = attach(tiny_parts, kind, **settings)
    start = {n: t.detach().clone() for n, t in first.state().items()}
    first.detach()
    torch.manual_seed(99)
    _, _, adapter = trained(tiny_parts, name)
    kept, drawn = {n: t.detach().clone() for n, t in adapter.state().items()}, outputs(sd, tiny_parts)
    adapter.detach()
    again, _ = attach(tiny_parts, kind, **settings)
    assert all(torch.equal(t, start[n]) for n, t in again.state().items())
    again.restore(kept)
    assert equal(drawn, outputs(sd, tiny_parts))
    with pytest.raises(StudioError, match="not of this run"):
        again.restore(dict(list(kept.items())[1:]))


@pytest.mark.parametrize("layout", ["lycoris", "peft"])
@pytest.mark.parametrize("name", FILES)
def test_exports_come_back_equal(tiny_parts, tmp_path, name, layout):
    method, spec, adapter = trained(tiny_parts, name)
    assert method.layouts(sd.card) == ("lycoris", "peft") and method.supports(sd.card) is None
    state = adapter.state()
    target = tmp_path / ("adapter" if layout == "peft" else "adapter.safetensors")
    write_adapter(target, method.export(state, spec, layout, sd.card), method.metadata(spec), layout, method.peft_configs(state, spec))
    found = verify(sd, tiny_parts, adapter, target, layout)
    assert found.layers == found.expected == len(layers_of(state))
    assert found.max_difference < 2e-5 < 1e-3 < found.effect


@pytest.mark.parametrize("name", ["dora", "dora-text", "oft", "oft-text"])
def test_what_is_written_for_peft_alone_comes_back_equal(tiny_parts, tmp_path, name):
    method, spec, adapter = trained(tiny_parts, name)
    assert method.layouts(sd.card) == ("peft",)
    state = adapter.state()
    with pytest.raises(StudioError, match="only export is peft"):
        method.export(state, spec, "kohya", sd.card)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*[Cc]ayley.*")
        write_adapter(tmp_path / "x", method.export(state, spec, "peft", sd.card), {}, "peft", method.peft_configs(state, spec))
        found = verify(sd, tiny_parts, adapter, tmp_path / "x", "peft")
    assert found.layers == found.expected > 0 and found.max_difference < 1e-5 < 1e-3 < found.effect


def test_oft_is_a_rotation(tiny_parts):
    """W R for every layer, with R the Cayley transforms of the trained skew-symmetric blocks, recomputed here; R Rᵀ = 1."""
    _, spec, adapter = trained(tiny_parts, "oft")
    ours, state = outputs(sd, tiny_parts), {n: t.detach().clone() for n, t in adapter.state().items()}
    adapter.detach()
    for name, numbers in state.items():
        b = spec.block_size
        rows, columns = torch.triu_indices(b, b, 1)
        skew = torch.zeros(len(numbers), b, b)
        skew[:, rows, columns] = numbers
        skew = skew - skew.mT
        turns = torch.linalg.solve(torch.eye(b) + skew, torch.eye(b) - skew, left=False)
        turn = torch.block_diag(*turns)
        assert (turn @ turn.T - torch.eye(len(turn))).abs().max() < 1e-5
        component, _, path = name.removesuffix(".oft_R.weight").partition(".")
        weight = tiny_parts.modules[component].get_submodule(path).weight
        weight.data = (weight.data.flatten(1) @ turn.T).reshape(weight.shape)
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(ours, outputs(sd, tiny_parts), strict=True))


@pytest.mark.parametrize("name", ["loha-text-alpha", "lokr-parts", "lokr-whole"])
def test_strength_scales_the_change_of_weights(tiny_parts, name):
    _, _, adapter = trained(tiny_parts, name)
    layers = adapter._layers.values()
    whole = [layer.get_delta_weight("default").detach().clone() for layer in layers]
    with adapter.at([0.25]):
        assert all(torch.allclose(layer.get_delta_weight("default"), 0.25 * d) for layer, d in zip(layers, whole, strict=True))
    assert equal([layer.get_delta_weight("default") for layer in layers], whole)


def test_a_dora_at_a_strength_lies_on_the_line_from_the_base(tiny_parts):
    """Its weights, by the formula, put into the base: the same pictures; magnitudes that are trained are not those of the base."""
    _, spec, adapter = trained(tiny_parts, "dora")
    with adapter.at([0.5, 0.5]):
        ours = outputs(sd, tiny_parts)
    state = {n: t.detach().clone() for n, t in adapter.state().items()}
    adapter.detach()
    for name in layers_of(state):
        layer = tiny_parts.modules["unet"].get_submodule(name.removeprefix("unet."))
        pair = {f"lora_{x}.weight": state[f"{name}.lora_{x}.weight"] for x in "AB"} | {"alpha": torch.tensor(2.0)}
        own = pair | {"magnitude": state[f"{name}.lora_magnitude_vector"]}
        assert (formulas.changed(layer.weight, own, 0.5) - formulas.changed(layer.weight, pair, 0.5)).abs().max() > 1e-3
        layer.weight.data = formulas.changed(layer.weight.data, own, 0.5)
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(ours, outputs(sd, tiny_parts), strict=True))


def test_a_fresh_dora_changes_nothing_in_half_precision_either(tiny_folder):
    parts = sd.load(tiny_folder, torch.bfloat16, torch.device("cpu"))
    base = outputs(sd, parts)
    adapter, _ = attach(parts, "dora", rank=3, targets=ALL, text_encoder=True)
    assert equal(base, outputs(sd, parts))
    assert all(t.dtype == torch.float32 for t in adapter.state().values())


def others_dora(parts, how):
    """A DoRA as kohya or PEFT names it, on linear layers and convolutions, of several ranks."""
    unet, file = parts.modules["unet"], {}
    names = [n for n, m in unet.named_modules() if n.endswith(("attn1.to_q", "attn1.to_out.0", "conv1", "proj_in"))]
    for i, name in enumerate(names):
        weight, rank = unet.get_submodule(name).weight, 2 + i % 2
        out, *rest = weight.shape
        ends = [1] * (len(rest) - 1)
        down, up = (torch.randn(s, generator=generator(i, w)) * 0.1 for s, w in (((rank, *rest), "down"), ((out, rank, *ends), "up")))
        length = torch.rand(out, generator=generator(i)) + 0.5
        if how == "kohya":
            key, shape = "lora_unet_" + name.replace(".", "_"), (out, 1, *ends)
            file |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.5)}
            file[f"{key}.dora_scale"] = length.view(shape)
        else:
            key, shape = f"base_model.model.unet.{name}" if how == "PEFT" else f"unet.{name}", (1, out, *ends) if ends else (out,)
            file |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up, f"{key}.lora_magnitude_vector": length.view(shape)}
    return file, len(names)


@pytest.mark.parametrize("how", ["kohya", "PEFT", "diffusers"])
def test_a_dora_of_others_is_continued_from_what_it_draws(tiny_parts, tmp_path, how):
    tensors, count = others_dora(tiny_parts, how)
    write_adapter(file := tmp_path / "x.safetensors", tensors, {}, "kohya", {})
    foreign = Foreign(tiny_parts, tensors)
    with foreign.at([1.0]):
        theirs = outputs(sd, tiny_parts)
    check_continued(file)
    with pytest.raises(StudioError, match="--recipe dora"):
        registry.method("lora").describe(file, sd.card)
    spec = describe_file(file, sd.card)
    assert (spec.kind, spec.rank) == ("dora", 3)
    adapter = registry.method("dora").attach(tiny_parts, spec.model_copy(update={"alpha": 7.0}), sd.card, 0)
    assert adapter.load(tensors) == f"{count}/{count} layers"
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(theirs, outputs(sd, tiny_parts), strict=True))
    adapter.detach()
    name = next(n for n in tensors if n.endswith(("dora_scale", "vector")))
    if how == "kohya":  # as LyCORIS' first files have it: a length for each input
        tensors[name] = torch.ones(1, tensors[name.replace("dora_scale", "lora_down.weight")].shape[1])
    else:
        del tensors[name]
    write_adapter(file, tensors, {}, "kohya", {})
    with pytest.raises(StudioError, match="cannot be continued here: merge it into its base"):
        check_continued(file)


def test_oft_has_no_strength_in_between(tiny_parts):
    method, _, adapter = trained(tiny_parts, "oft")
    assert method.refuses_strength(0.0) is None and method.refuses_strength(1.0) is None
    ours = outputs(sd, tiny_parts)
    with adapter.at([1.0, 1.0]):
        assert equal(ours, outputs(sd, tiny_parts))
    with pytest.raises(StudioError, match="only 0 .* and 1"), adapter.at([0.5]):
        pass
    assert equal(ours, outputs(sd, tiny_parts)) and all(t.requires_grad for t in adapter.state().values())


@pytest.mark.parametrize("name", FILES)
def test_a_file_can_be_opened_from_what_it_says_and_continued_under_another_alpha(tiny_parts, tmp_path, name):
    method, spec, adapter = trained(tiny_parts, name)
    theirs, tensors = outputs(sd, tiny_parts), method.export(adapter.state(), spec, "lycoris", sd.card)
    adapter.detach()
    file = tmp_path / "x.safetensors"
    for said in (method.metadata(spec), {}):
        write_adapter(file, tensors, said, "lycoris", {})
        told = method.describe(file, sd.card)
        assert told["targets"] == spec.targets and told["text_encoder"] == spec.text_encoder
        again = method.attach(tiny_parts, method.Spec(**told, alpha=7), sd.card, 1)
        again.load(read_tensors(file))
        assert all((a - b).abs().max() < 1e-5 for a, b in zip(theirs, outputs(sd, tiny_parts), strict=True))
        again.detach()


@pytest.mark.parametrize(("name", "part"), [("loha", "hada_w2_b"), ("lokr-mixed", "lokr_w1"), ("lokr-parts", "lokr_w2_a")])
def test_a_damaged_export_is_refused(tiny_parts, tmp_path, name, part):
    method, spec, adapter = trained(tiny_parts, name)
    tensors = method.export(adapter.state(), spec, "lycoris", sd.card)
    spoilt = {n: t * 0.5 if n.endswith(part) else t for n, t in tensors.items()}
    write_adapter(tmp_path / "x.safetensors", spoilt, {}, "lycoris", {})
    with pytest.raises(StudioError, match="did not come back"):
        verify(sd, tiny_parts, adapter, tmp_path / "x.safetensors", "lycoris")


def test_a_missing_layer_is_refused(tiny_parts, tmp_path):
    method, spec, adapter = trained(tiny_parts, "loha")
    tensors = method.export(adapter.state(), spec, "lycoris", sd.card)
    gone = next(iter(tensors)).partition(".")[0]
    write_adapter(tmp_path / "x.safetensors", {n: t for n, t in tensors.items() if not n.startswith(gone + ".")}, {}, "lycoris", {})
    with pytest.raises(StudioError, match="did not come back"):
        verify(sd, tiny_parts, adapter, tmp_path / "x.safetensors", "lycoris")


def test_names_and_shapes_are_those_of_lycoris(tiny_parts):
    method, spec, adapter = trained(tiny_parts, "loha")
    tensors = method.export(adapter.state(), spec, "lycoris", sd.card)
    linear = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    assert {n: tuple(t.shape) for n, t in tensors.items() if n.startswith(linear + ".")} == {
        f"{linear}.hada_w1_a": (64, 3), f"{linear}.hada_w1_b": (3, 64), f"{linear}.hada_w2_a": (64, 3), f"{linear}.hada_w2_b": (3, 64),
        f"{linear}.alpha": (),
    }  # fmt: skip
    assert tuple(tensors["lora_unet_down_blocks_0_resnets_0_conv1.hada_w1_b"].shape) == (3, 32 * 9)
    adapter.detach()
    method, spec, adapter = trained(tiny_parts, "lokr-whole")
    tensors = method.export(adapter.state(), spec, "lycoris", sd.card)
    assert tuple(tensors[f"{linear}.lokr_w1"].shape) == tuple(tensors[f"{linear}.lokr_w2"].shape) == (8, 8)
    assert float(tensors[f"{linear}.alpha"]) == spec.rank, "without a rank the scale is in w1"
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lokr_w1" in tensors


def test_the_formula_is_the_papers(tiny_parts):
    """On numbers small enough to be seen through."""
    one, two = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])
    assert torch.equal(
        formulas.change({"lokr_w1": one, "lokr_w2": two, "alpha": torch.tensor(9.0)}, (2, 2)), torch.tensor([[3.0, 6], [4, 8]])
    )
    loha = {"hada_w1_a": two, "hada_w1_b": one, "hada_w2_a": two, "hada_w2_b": one, "alpha": torch.tensor(0.5)}
    assert torch.equal(formulas.change(loha, (2, 2)), torch.tensor([[9.0, 36], [16, 64]]) / 2)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("loha", {"targets": "nonsense"}, "matches no layer"),
        ("lokr", {"targets": "attention+"}, "matches no layer"),
        ("oft", {"targets": "to_nothing"}, "matches no layer"),
        ("loha", {"targets": "attention", "rank": 64}, "use at most 32"),
        ("lokr", {"targets": "attention", "rank": 5}, "use at most 4"),
        ("oft", {"targets": "attention", "block_size": 7}, "does not divide .* use 2, 4, 8, 16, 32"),
        ("oft", {"targets": "attention", "block_size": 1024}, "does not divide"),
        ("oft", {"targets": ALL, "block_size": 8}, "several pixels: use attention"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tiny_parts, kind, settings, words):
    with pytest.raises(StudioError, match=words) as caught:
        attach(tiny_parts, kind, **settings)
    assert "\n" not in str(caught.value)
    assert not any(hasattr(m, "peft_config") for m in tiny_parts.modules.values())


def test_files_of_another_kind_are_told(tiny_parts, tmp_path):
    method, spec, adapter = trained(tiny_parts, "loha")
    file = tmp_path / "x.safetensors"
    tensors = method.export(adapter.state(), spec, "lycoris", sd.card)
    write_adapter(file, tensors, {}, "lycoris", {})
    for kind, words in (
        ("lora", "no LoRA layers"),
        ("dora", "no DoRA in this file"),
        ("lokr", "no LoKr layers"),
        ("oft", "continued from its run"),
    ):
        with pytest.raises(StudioError, match=words):
            registry.method(kind).describe(file, sd.card)
    write_adapter(file, tensors | {next(iter(tensors)).partition(".")[0] + ".dora_scale": torch.zeros(1)}, {}, "lycoris", {})
    with pytest.raises(StudioError, match="dora_scale.*cannot be continued here: merge it into its base"):
        method.describe(file, sd.card)
    adapter.detach()
    again, _ = attach(tiny_parts, "loha", rank=2, targets=ALL)
    with pytest.raises(StudioError, match="same rank"):
        again.load(tensors)


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr", "oft"])
def test_a_base_without_layers_to_adapt_is_refused_in_a_sentence(kind):
    from dataclasses import replace

    assert "names no layers" in registry.method(kind).supports(replace(sd.card, targets={}))
    assert registry.method(kind).layouts(replace(sd.card, export_layouts=("peft",))) == ("peft",)
