"""Adapters that no method here makes change the base as PEFT's own layers do: DoRA, Tucker's products, differences, several kinds."""

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from torch import nn

from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.families import sd
from studio.methods import formulas, loha, lokr
from studio.methods.describing import describe_file, is_foreign
from studio.methods.foreign import Foreign, find_changes
from studio.store import write_tensors
from studio.train.randomness import generator
from tests.methods.test_imports import flux, numbers, written

NAMES = {
    "lora_A.default.weight": "lora_A.weight",
    "lora_B.default.weight": "lora_B.weight",
    "lora_magnitude_vector.default.weight": "magnitude",
}
KINDS = {
    "DoRA": lambda: LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=["layer"]),
    "LoHa": lambda: LoHaConfig(r=3, alpha=6, use_effective_conv2d=True, target_modules=["layer"]),
    "LoKr": lambda: LoKrConfig(r=2, alpha=4, use_effective_conv2d=True, target_modules=["layer"]),
    "LoKr of two": lambda: LoKrConfig(r=1, alpha=2, decompose_both=True, decompose_factor=4, target_modules=["layer"]),
}
LAYERS = {"linear": lambda: nn.Linear(12, 20), "conv": lambda: nn.Conv2d(12, 20, 3, padding=1), "1x1": lambda: nn.Conv2d(12, 20, 1)}


def by_peft(kind, layer):
    """(its own weight, the adapter's tensors by part, the weight that PEFT merges) of a layer with random numbers on it."""
    holder = nn.ModuleDict({"layer": LAYERS[layer]()})
    weight = holder["layer"].weight.data.clone()
    inject_adapter_in_model(KINDS[kind](), holder, "default")
    own = {}
    for i, (name, tensor) in enumerate(holder["layer"].named_parameters()):
        if name.startswith("base_layer"):
            continue
        tensor.data = torch.randn(tensor.shape, generator=generator(i, "weights")).abs() * 0.5 + 0.1
        own[NAMES.get(name, name.removesuffix(".default"))] = tensor.data.clone()
    rank = KINDS[kind]().r
    holder["layer"].merge()
    return weight, own | {"alpha": torch.tensor(2.0 * rank)}, holder["layer"].base_layer.weight.data


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_formula_is_that_of_peft(kind, layer):
    weight, own, theirs = by_peft(kind, layer)
    assert formulas.known(own)
    torch.testing.assert_close(formulas.changed(weight, own, 1.0), theirs, rtol=1e-4, atol=1e-4)
    half = formulas.changed(weight, own, 0.5)
    torch.testing.assert_close(half, weight + 0.5 * (theirs - weight), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(formulas.changed(weight, own, 0.0), weight)
    assert (theirs - weight).abs().max() > 0.05


def test_magnitudes_of_inputs_are_those_of_columns():
    """LyCORIS' first files: |column i of W'| is dora_scale[i], whatever the product is."""
    weight, own = numbers(6, 4, 3, 3, key=1), {"lora_A.weight": numbers(2, 4, 3, 3, key=2), "lora_B.weight": numbers(6, 2, 1, 1, key=3)}
    own["dora_scale"] = numbers(1, 4, 1, 1, key=4).abs() + 0.5
    new = formulas.changed(weight, own, 1.0)
    torch.testing.assert_close(new.transpose(0, 1).flatten(1).norm(dim=1), own["dora_scale"].flatten())
    whole = weight + formulas.change(own, weight.shape)
    torch.testing.assert_close(new, whole * (own["dora_scale"] / whole.square().sum((0, 2, 3), keepdim=True).sqrt()))


def test_layers_that_are_one_there_get_their_own_outputs():
    module, key = flux(), "lora_unet_single_blocks_1_linear1"
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    weights = [module.get_submodule(f"single_transformer_blocks.1.{n}").weight.data for n in names]
    rows = sum(len(w) for w in weights)
    file = {f"{key}.lora_down.weight": numbers(3, 32, key=1), f"{key}.lora_up.weight": numbers(rows, 3, key=2)}
    file |= {f"{key}.alpha": torch.tensor(6.0), f"{key}.dora_scale": numbers(rows, 1, key=3).abs()}
    changes, found = find_changes(file, {"transformer": module})
    assert found.words() == "1/1 layers" and len(changes) == 4
    new = torch.cat([changes[f"transformer.single_transformer_blocks.1.{n}"].weight(w, 1.0) for n, w in zip(names, weights, strict=True)])
    own = {
        "lora_A.weight": file[f"{key}.lora_down.weight"],
        "lora_B.weight": file[f"{key}.lora_up.weight"] * 2,
        "dora_scale": file[f"{key}.dora_scale"],
    }
    torch.testing.assert_close(new, formulas.changed(torch.cat(weights), own, 1.0))
    with pytest.raises(StudioError, match="DoRA by inputs, of layers that are one there"):
        find_changes(file | {f"{key}.dora_scale": numbers(1, 32, key=3)}, {"transformer": module})
    kron = {f"{key}.lokr_w1": numbers(4, 4, key=5), f"{key}.lokr_w2": numbers(rows // 4, 8, key=6)}  # cannot be a LoKr of the parts
    changes, _ = find_changes(kron, {"transformer": module})
    got = torch.cat([c.weight(w, 1.0) - w for c, w in zip(changes.values(), weights, strict=True)])
    torch.testing.assert_close(got, torch.kron(kron[f"{key}.lokr_w1"], kron[f"{key}.lokr_w2"]))


def a_mixed_file(parts):
    """DoRA as kohya and as PEFT names it, LoHa, a difference with its bias, in one file; and the weights that it makes."""
    unet, file, wanted = parts.modules["unet"], {}, {}
    names = [n for n, m in unet.named_modules() if n.endswith(("attn1.to_q", "attn1.to_k", "attn2.to_q"))][:3] + ["conv_in"]
    for i, name in enumerate(names):
        layer, key = unet.get_submodule(name), "lora_unet_" + name.replace(".", "_")
        out, ins, *more = layer.weight.shape
        pair = {"lora_A.weight": numbers(2, ins, key=i), "lora_B.weight": numbers(out, 2, key=i + 50)}
        own = pair | {"dora_scale": numbers(out, 1, key=i + 90).abs()}
        if i == 1:
            own = pair | {"dora_scale": numbers(1, ins, key=i + 90).abs()}
        if i == 2:
            own = {
                f"hada_{n}": numbers(*s, key=i) for n, s in (("w1_a", (out, 2)), ("w1_b", (2, ins)), ("w2_a", (out, 2)), ("w2_b", (2, ins)))
            }
        if i == 3:
            own = {"diff": numbers(out, ins, *more, key=i), "diff_b": numbers(out, key=i + 1)}
            wanted[f"{name}.bias"] = layer.bias.data + own["diff_b"]
        wanted[f"{name}.weight"] = formulas.changed(layer.weight.data, own, 1.0)
        file |= {f"{key}.{p}".replace("lora_A", "lora_down").replace("lora_B", "lora_up"): t for p, t in own.items()}
    return file, wanted


def test_a_mixed_file_is_drawn_with_and_leaves_the_base_as_it_was(tiny_parts, tmp_path):
    file, wanted = a_mixed_file(tiny_parts)
    write_tensors(tmp_path / "x.safetensors", file)
    assert is_foreign(tmp_path / "x.safetensors")
    unet = tiny_parts.modules["unet"]
    before = {n: t.clone() for n, t in unet.state_dict().items()}
    bare = outputs(sd, tiny_parts)
    adapter = Foreign(tiny_parts, file)
    assert adapter.load({}) == "4/4 layers" and adapter.components == {"unet"}
    with adapter.at([1.0]):
        for name, value in unet.state_dict().items():
            torch.testing.assert_close(value, wanted.get(name, before[name]))
        whole = outputs(sd, tiny_parts)
    with adapter.at([0.0]):
        assert distance(outputs(sd, tiny_parts), bare) == 0
    assert all(torch.equal(t, before[n]) for n, t in unet.state_dict().items()) and distance(whole, bare) > 1e-3
    odd = {n: t for n, t in file.items() if ".lora_" in n} | {n: torch.ones(3, 1) for n in file if "dora" in n}
    with pytest.raises(StudioError, match="not of the shape"):
        Foreign(tiny_parts, odd)
    name = next(iter(file)).partition(".")[0]
    with (
        pytest.raises(StudioError, match="has no bias here"),
        Foreign(tiny_parts, file | {f"{name}.diff_b": torch.ones(len(file[f"{name}.lora_up.weight"]))}).at([1.0]),
    ):
        pass
    with pytest.raises(StudioError, match="NaN or infinite"):
        Foreign(tiny_parts, {n: t * float("nan") for n, t in file.items()})


@pytest.mark.parametrize("method, core", [(loha, "hada_t1"), (lokr, "lokr_t2")])
def test_files_with_cores_are_continued_as_the_plain_ones_they_equal(tiny_parts, tmp_path, method, core):
    unet, key, file = tiny_parts.modules["unet"], "lora_unet_{}", {}
    layers = [n for n, m in unet.named_modules() if isinstance(m, nn.Conv2d) and n.endswith(("conv1", "conv2"))]
    for i, name in enumerate(layers):
        out, ins = unet.get_submodule(name).weight.shape[:2]
        if method is loha:
            own = {f"hada_w{w}_{x}": numbers(2, side, key=i * 9 + w) for w in (1, 2) for x, side in (("a", out), ("b", ins))}
            own |= {f"hada_t{w}": numbers(2, 2, 3, 3, key=i * 9 + w + 4) for w in (1, 2)}
        else:
            own = {
                "lokr_w1": numbers(2, 2, key=i),
                "lokr_w2_a": numbers(2, out // 2, key=i + 40),
                "lokr_w2_b": numbers(2, ins // 2, key=i + 80),
            }
            own["lokr_t2"] = numbers(2, 2, 3, 3, key=i + 120)
        file |= {f"{key.format(name.replace('.', '_'))}.{p}": t for p, t in (own | {"alpha": torch.tensor(1.0)}).items()}
    path = tmp_path / "tucker.safetensors"
    write_tensors(path, file)
    assert any(core in n for n in file) and not is_foreign(path)
    spec = describe_file(path, sd.card)
    adapter = method.attach(tiny_parts, spec, sd.card, 0)
    try:
        assert adapter.load(file).startswith(f"{len(layers)}/")
        changes, _ = find_changes(file, tiny_parts.modules)
        for name in layers:
            layer = unet.get_submodule(name)
            wanted = changes[f"unet.{name}"].weight(layer.base_layer.weight.data, 1.0) - layer.base_layer.weight.data
            torch.testing.assert_close(layer.get_delta_weight("default"), wanted, rtol=1e-4, atol=1e-4)
    finally:
        adapter.detach()


def test_a_dora_by_inputs_is_not_continued_and_the_way_out_is_said(tiny_parts, tmp_path):
    state = {
        "unet.mid_block.attentions.0.proj_in.lora_A.weight": numbers(2, 8, key=1),
        "unet.mid_block.attentions.0.proj_in.lora_B.weight": numbers(8, 2, key=2),
    }
    tensors = written(state, "kohya", tiny_parts, alpha=2.0)
    write_tensors(tmp_path / "d.safetensors", tensors | {next(iter(tensors)).partition(".")[0] + ".dora_scale": torch.ones(1, 8)})
    with pytest.raises(StudioError, match=r"this is an adapter \(DoRA\).*, which cannot be continued here: merge it into its base"):
        describe_file(tmp_path / "d.safetensors", sd.card)


@pytest.mark.parametrize("name", [".default", ""])
def test_biases_beside_factors_and_differences_of_norms_are_taken_in_and_counted(tiny_parts, tmp_path, name):
    """PEFT's `lora_bias`, and LyCORIS' trained norms; whatever a file has is in the count."""
    from peft import LoraConfig, inject_adapter_in_model

    block = tiny_parts.modules["unet"].mid_block.attentions[0].transformer_blocks[0]
    layer, norm = block.attn1.to_out[0], block.norm1
    path = "mid_block.attentions.0.transformer_blocks.0"
    holder = nn.ModuleDict({"layer": nn.Linear(layer.in_features, layer.out_features)})
    holder["layer"].load_state_dict(layer.state_dict())
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=6, lora_bias=True, target_modules=["layer"]), holder)
    file = {}
    for i, (part, end) in enumerate((("lora_A", "weight"), ("lora_B", "weight"), ("lora_B", "bias"))):
        tensor = getattr(getattr(holder["layer"], part)["default"], end)
        tensor.data = numbers(*tensor.shape, key=i)
        file[f"unet.{path}.attn1.to_out.0.{part}{name}.{end}"] = tensor.data
    file |= {f"unet.{path}.attn1.to_out.0.alpha": torch.tensor(6.0)}
    flat = "lora_unet_" + path.replace(".", "_") + "_norm1"
    file |= {f"{flat}.w_norm": numbers(*norm.weight.shape, key=7), f"{flat}.b_norm": numbers(*norm.bias.shape, key=8)}
    write_tensors(tmp_path / "x.safetensors", file)
    assert is_foreign(tmp_path / "x.safetensors")
    adapter, x, plain = Foreign(tiny_parts, file), numbers(3, layer.in_features, key=9), norm.weight.data.clone()
    assert adapter.words() == "2/2 layers"
    with adapter.at([1.0]), torch.no_grad():
        torch.testing.assert_close(layer(x), holder["layer"](x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(norm.weight.data, plain + file[f"{flat}.w_norm"])
    assert torch.equal(norm.weight.data, plain)
