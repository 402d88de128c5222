"""Others' adapters come in under our names: layouts written here by hand, and equal to what diffusers' converters make of them."""

import re

import pytest
import torch

from studio.errors import StudioError
from studio.families import sd
from studio.families.import_names import RULES, layer_names
from studio.families.sd_names import unet_name
from studio.methods import imports, lora, targets
from studio.methods.foreign import put as foreign_put
from studio.store import write_tensors
from studio.train.randomness import generator

ALL = "attention+feed_forward+conv"


def numbers(*shape, key):
    return torch.randn(shape, generator=generator(key, "weights"))


def trained(parts, **settings):
    spec = lora.Spec(**{"rank": 4, "targets": ALL, **settings})
    adapter = lora.attach(parts, spec, sd.card, 0)
    for i, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(numbers(*tensor.shape, key=i) * 0.1)
    return adapter, spec


def pairs(state):
    for name in [n for n in state if n.endswith(".lora_A.weight")]:
        layer = name.removesuffix(".lora_A.weight")
        yield layer, state[name].detach().clone(), state[f"{layer}.lora_B.weight"].detach().clone()


def original(layer, parts):
    """A UNet's layer as CompVis named it."""
    unet = parts.modules["unet"]
    attended = [hasattr(block, "attentions") for block in unet.up_blocks]
    return unet_name(layer + ".weight", unet.config.layers_per_block + 1, attended).removesuffix(".weight")


def written(state, layout, parts, alpha):
    """The state as another program would have saved it: `alpha` in the file where the layout has one, in the up matrix elsewhere."""
    out = {}
    for layer, down, up in pairs(state):
        component, _, path = layer.partition(".")
        text = component == "text_encoder"
        flat = "text_model_" + path.removeprefix("text_model.").replace(".", "_") if text else path.replace(".", "_")
        scaled, folded = up / (alpha / down.shape[0]), {"lora_A.weight": down, "lora_B.weight": up}
        if layout in {"kohya", "kohya SAI", "lycoris", "onetrainer"}:
            if layout == "kohya SAI" and not text:
                flat = original(path, parts).replace(".", "_")
            prefix = {"lycoris": "lycoris", "onetrainer": "lora_transformer"}.get(layout, "lora_unet")
            key = f"lora_te1_{flat}" if text else f"{prefix}_{flat}"
            out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": scaled, f"{key}.alpha": torch.tensor(alpha)}
        elif layout == "diffusers of 2023":
            key = f"{component}.{path}".replace(".attn1.to_", ".attn1.processor.to_").replace(".attn2.to_", ".attn2.processor.to_")
            key = key.replace("processor.to_out.0", "processor.to_out")
            out |= {f"{key}_lora.down.weight": down, f"{key}_lora.up.weight": up}
        else:
            root = {"ai-toolkit": "diffusion_model", "PEFT": "base_model.model"}.get(layout, component)
            key = f"{component if text and layout != 'PEFT' else root}.{path}"
            out |= {f"{key}.{end}": tensor for end, tensor in folded.items()}
    return out


LAYOUTS = ("kohya", "kohya SAI", "lycoris", "onetrainer", "diffusers", "diffusers of 2023", "PEFT", "ai-toolkit")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_in_whole_and_equal(tiny_parts, tmp_path, layout):
    text = layout not in {"diffusers of 2023"}
    targets = "attention" if layout == "diffusers of 2023" else ALL
    adapter, spec = trained(tiny_parts, text_encoder=text, targets=targets)
    wanted = {n: t.clone() for n, t in adapter.state().items()}
    tensors = written(wanted, layout, tiny_parts, alpha=2.0)
    adapter.detach()
    file = tmp_path / "theirs.safetensors"
    write_tensors(file, tensors)
    told = lora.describe(file, sd.card)
    assert told["rank"] == 4 and told["text_encoder"] is text
    again = lora.attach(tiny_parts, lora.Spec(**told | {"alpha": 3.0}), sd.card, 1)
    found = again.load(tensors)
    count = len(wanted) // 2
    assert found == f"{count}/{count} layers"
    scale = again._spec.scale
    for layer, down, up in pairs(again.state()):
        if f"{layer}.lora_A.weight" in wanted:
            torch.testing.assert_close(
                up.flatten(1) @ down.flatten(1) * scale,
                wanted[f"{layer}.lora_B.weight"].flatten(1) @ wanted[f"{layer}.lora_A.weight"].flatten(1),
            )
        else:
            assert not up.any()  # a layer that the file has not begins afresh


def test_what_does_not_match_is_listed(tiny_parts):
    adapter, _ = trained(tiny_parts, targets="attention")
    tensors = written(adapter.state(), "kohya", tiny_parts, alpha=4.0)
    more = {"lora_unet_up_blocks_9_attentions_0_proj_in.lora_down.weight": torch.ones(4, 8),
            "lora_unet_up_blocks_9_attentions_0_proj_in.lora_up.weight": torch.ones(8, 4)}  # fmt: skip
    count = adapter.num_layers
    with pytest.raises(StudioError, match=rf"{count}/{count + 1} layers; not on this base: lora_unet_up_blocks_9\S+ \(no such layer\)"):
        adapter.load(tensors | more)
    assert adapter.load(tensors | more, partly=True).startswith(f"{count}/{count + 1} layers; not on this base: lora_unet_up_blocks_9")
    with pytest.raises(StudioError, match="none of its 1 layers is on this base model"):
        adapter.load(more, partly=True)
    first = next(n for n in tensors if n.endswith(".alpha")).removesuffix(".alpha")
    with pytest.raises(StudioError, match="of a kind that is not read"):
        adapter.load(tensors | {f"{first}.dora_scale": torch.ones(4, 1)})
    other = {f"{first}.lora_up.weight": torch.ones(7, 4)}
    with pytest.raises(StudioError, match="7 outputs there"):
        adapter.load(tensors | other)


def test_mixed_ranks_and_smaller_targets_are_taken_in(tiny_parts):
    adapter, _ = trained(tiny_parts, targets="attention", rank=8)
    state = {}
    for i, (layer, down, up) in enumerate(pairs(adapter.state())):
        rank = (2, 4, 8)[i % 3]
        if i != 5:
            state |= {f"{layer}.lora_A.weight": down[:rank], f"{layer}.lora_B.weight": up[:, :rank]}
    assert adapter.load(written(state, "kohya", tiny_parts, alpha=4.0)).endswith(f"{adapter.num_layers - 1} layers")
    for layer, down, up in pairs(adapter.state()):
        if f"{layer}.lora_A.weight" not in state:
            assert not up.any() and down.any()
            continue
        a, b = state[f"{layer}.lora_A.weight"], state[f"{layer}.lora_B.weight"]
        torch.testing.assert_close(up.flatten(1) @ down.flatten(1), b.flatten(1) @ a.flatten(1) * 1.0)
        assert down.flatten(1).any(1).all()  # rows beyond the file's rank can learn


def test_a_convolution_in_three_factors_is_put_together(tiny_parts):
    conv = tiny_parts.modules["unet"].conv_in
    down, mid, up = numbers(3, conv.in_channels, 1, 1, key=1), numbers(3, 3, 3, 3, key=2), numbers(conv.out_channels, 3, 1, 1, key=3)
    key = "lora_unet_conv_in"
    found = imports.rename(
        {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up}, tiny_parts.modules
    )
    own = found.tensors["unet.conv_in"]
    x = numbers(1, conv.in_channels, 6, 6, key=4)
    conv2d = torch.nn.functional.conv2d
    expected = conv2d(conv2d(conv2d(x, down), mid, padding=1), up)
    torch.testing.assert_close(conv2d(conv2d(x, own["lora_A.weight"], padding=1), own["lora_B.weight"]), expected, rtol=1e-4, atol=1e-4)


def test_alphas_are_taken_from_what_lies_beside(tiny_parts, tmp_path):
    tensors = {"unet.x.lora_A.weight": torch.ones(4, 8), "unet.x.lora_B.weight": torch.ones(8, 4), "unet.y.lora_A.weight": torch.ones(4, 8)}
    said = imports.said_by({"lora_adapter_metadata": '{"unet.r": 4, "unet.lora_alpha": 2, "unet.alpha_pattern": {"y": 6}}'})
    out = imports.add_alphas(tensors, said)
    assert float(out["unet.x.alpha"]) == 2 and float(out["unet.y.alpha"]) == 6
    (tmp_path / "c.json").write_text('{"r": 4, "lora_alpha": 8, "use_rslora": true}')
    out = imports.add_alphas({"base_model.model.x.lora_A.weight": torch.ones(4, 8)}, imports.said_by({}, tmp_path / "c.json"))
    assert float(out["base_model.model.x.alpha"]) == 16  # alpha / sqrt(rank) as alpha / rank
    for odd in ("[]", "{", '{"a": 1}', "[" * 100_000, '{"unet.lora_alpha": "x"}', '{"unet.lora_alpha": true}'):
        assert imports.add_alphas(tensors, imports.said_by({"lora_adapter_metadata": odd})).keys() == tensors.keys()


def flux():
    from diffusers import FluxTransformer2DModel

    heads = {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
    return FluxTransformer2DModel(**heads, in_channels=4, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8])


def flux2():
    from diffusers import Flux2Transformer2DModel

    heads = {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
    return Flux2Transformer2DModel(**heads, in_channels=4, joint_attention_dim=16, timestep_guidance_channels=16, axes_dims_rope=[4] * 4)


def z_image():
    from diffusers import ZImageTransformer2DModel

    sizes = {"in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 16}
    return ZImageTransformer2DModel(**sizes, axes_dims=[8, 4, 4], axes_lens=[32, 32, 32])


def foreign(module, spell):
    """A LoRA of rank 3, alpha 6, on layers of the original model behind `module`, where `spell` gives a key for their dotted name."""
    out = {}
    for i, (name, ours) in enumerate(sorted(layer_names(module).items())):
        rule = next((found.groups() and t.format(*found.groups()) for t, found in matches(name, module)), None)
        if rule is None or "processor" in rule or not (key := spell(rule)):
            continue
        weights = [module.get_submodule(n).weight for n in ours]
        down, up = numbers(3, weights[0].shape[1], key=i), numbers(sum(w.shape[0] for w in weights), 3, key=i + 500)
        out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(6.0)}
    return out


def matches(name, module):
    for theirs, _ in RULES[type(module).__name__]:
        if "{}" in theirs and (found := re.fullmatch(theirs.replace(".", "_").replace("{}", r"(\d+)"), name)):
            yield theirs, found


def test_kohya_flux_files_are_read_as_diffusers_reads_them():
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    module = flux()
    tensors = foreign(module, lambda name: "lora_unet_" + name.replace(".", "_"))
    fused = {n: t for n, t in tensors.items() if "linear1" in n}  # diffusers knows the full model's width alone here
    assert len(fused) == 3 * 2
    same(module, {n: t for n, t in tensors.items() if n not in fused}, _convert_kohya_flux_lora_to_diffusers)
    found = imports.rename(fused, {"transformer": module})
    own = [found.tensors[f"transformer.single_transformer_blocks.1.{n}"] for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    key = "lora_unet_single_blocks_1_linear1"
    whole = fused[f"{key}.lora_up.weight"] @ fused[f"{key}.lora_down.weight"] * 2
    torch.testing.assert_close(torch.cat([o["lora_B.weight"] @ o["lora_A.weight"] for o in own]), whole)


def test_ai_toolkit_flux2_files_are_read_as_diffusers_reads_them():
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_flux2_lora_to_diffusers as convert

    tensors = foreign(flux2(), "diffusion_model.{}".format)
    folded = {n: t * (2 if n.endswith("up.weight") else 1) for n, t in tensors.items() if not n.endswith("alpha")}
    same(flux2(), tensors, lambda _: convert(folded))


def test_z_image_files_with_fused_attention_are_read_exactly():
    module = z_image()
    tensors = foreign(module, "diffusion_model.{}".format)
    found = imports.rename(tensors, {"transformer": module})
    assert not found.unmatched and len(found.tensors) == 4 * 4
    qkv = "diffusion_model.layers.1.attention.qkv"
    whole = tensors[f"{qkv}.lora_up.weight"] @ tensors[f"{qkv}.lora_down.weight"] * 2
    parts = [found.tensors[f"transformer.layers.1.attention.to_{x}"] for x in "qkv"]
    torch.testing.assert_close(torch.cat([p["lora_B.weight"] @ p["lora_A.weight"] for p in parts]), whole)


def test_xlabs_flux_files_are_read_as_diffusers_reads_them():
    from diffusers.loaders.lora_conversion_utils import _convert_xlabs_flux_lora_to_diffusers

    tensors = {}
    for i in range(2):
        for name, rows in (("qkv_lora1", 96), ("qkv_lora2", 96), ("proj_lora1", 32), ("proj_lora2", 32)):
            key = f"double_blocks.{i}.processor.{name}"
            tensors |= {f"{key}.down.weight": numbers(3, 32, key=i + rows), f"{key}.up.weight": numbers(rows, 3, key=i + rows + 7)}
    same(flux(), tensors, _convert_xlabs_flux_lora_to_diffusers)


def same(module, tensors, convert):
    """Every layer is found, and its product is that of diffusers' converter."""
    found = imports.rename(tensors, {"transformer": module})
    assert not found.unmatched and found.matched
    theirs = convert({n: t.clone() for n, t in tensors.items()})
    layers = {n.removesuffix(".lora_A.weight").removeprefix("transformer.") for n in theirs if n.endswith(".lora_A.weight")}
    assert {n.removeprefix("transformer.") for n in found.tensors} == layers
    for layer in layers:
        a, b = (next(t for n, t in theirs.items() if n.removeprefix("transformer.") == f"{layer}.lora_{x}.weight") for x in "AB")
        own = found.tensors[f"transformer.{layer}"]
        torch.testing.assert_close(own["lora_B.weight"] @ own["lora_A.weight"], b @ a)


SPELLED = {  # what stands before and after a layer's name -> the same in plain names
    "PEFT with the adapter's name": ("unet.{}.lora_{}.default_0.weight", "AB"),
    "a name with a dash": ("unet.{}.lora_{}.my-style.weight", "AB"),
    "without weight": ("unet.{}.lora_{}", "AB"),
    "of 2023": ("unet.{}.lora_linear_layer.{}.weight", ("down", "up")),
    "the original root": ("model.diffusion_model.{}.lora_{}.weight", "AB"),
    "distributed": ("module.unet.{}.lora_{}.weight", "AB"),
}


@pytest.mark.parametrize("spelled", SPELLED)
def test_other_spellings_of_a_part_are_read(tiny_parts, tmp_path, spelled):
    name, ends = SPELLED[spelled]
    adapter, _ = trained(tiny_parts, targets="attention")
    wanted = {n: t.detach().clone() for n, t in adapter.state().items()}
    adapter.detach()
    file = tmp_path / "x.safetensors"
    tensors = {name.format(layer.partition(".")[2], end): t for layer, *pair in pairs(wanted) for end, t in zip(ends, pair, strict=True)}
    write_tensors(file, tensors)
    again = lora.attach(tiny_parts, lora.Spec(**lora.describe(file, sd.card)), sd.card, 1)
    assert again.load(tensors) == f"{len(wanted) // 2}/{len(wanted) // 2} layers"
    assert all(torch.equal(t, wanted[n]) for n, t in again.state().items())
    again.detach()


def test_two_adapters_in_one_file_are_told(tiny_parts):
    layer = "unet.mid_block.attentions.0.proj_in.lora_{}.{}.weight"
    tensors = {layer.format(x, name): torch.ones(2, 2) for x in "AB" for name in ("default_0", "default_1")}
    with pytest.raises(StudioError, match=r"proj_in is there twice, as of two adapters in one file"):
        imports.rename(tensors, tiny_parts.modules)


def test_numbers_that_mean_nothing_are_told(tiny_parts):
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    width = tiny_parts.modules["unet"].mid_block.attentions[0].proj_in.weight.shape[0]
    plain = {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": torch.ones(width, 2)}
    for more, reason in (
        ({f"{layer}.alpha": torch.ones(2)}, "an alpha of 2 numbers"),
        ({f"{layer}.alpha": torch.ones(0)}, "an alpha of 0 numbers"),
        ({n: t.to(torch.int8) for n, t in plain.items()}, "whole numbers, packed"),
    ):
        for put in (None, foreign_put):
            with pytest.raises(StudioError, match=reason):
                imports.rename(plain | more, tiny_parts.modules, put)
    for alpha in (torch.tensor(4), torch.tensor([4.0]), torch.tensor([[4.0]]).bfloat16()):
        own = imports.rename(plain | {f"{layer}.alpha": alpha}, tiny_parts.modules).tensors["unet.mid_block.attentions.0.proj_in"]
        assert torch.equal(own["lora_B.weight"].flatten(), torch.full([2 * width], 2.0))


def test_alphas_by_expressions_are_refused():
    tensors = {"unet.x.y.lora_A.weight": torch.ones(4, 8), "unet.x.y.lora_B.weight": torch.ones(8, 4)}
    with pytest.raises(StudioError, match=r"alpha_pattern '\.\*y' is an expression"):
        imports.add_alphas(tensors, {"lora_alpha": 4, "alpha_pattern": {".*y": 2}})
    own = {"base_model.model.x.y.lora_A.weight": torch.ones(4, 8), "base_model.model.z.x.y.lora_A.weight": torch.ones(4, 8)}
    out = imports.add_alphas(own, {"lora_alpha": 4, "alpha_pattern": {"^x.y": 2}})
    assert float(out["base_model.model.x.y.alpha"]) == 2 and float(out["base_model.model.z.x.y.alpha"]) == 4


def qwen_image():
    from diffusers import QwenImageTransformer2DModel

    heads = {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
    return QwenImageTransformer2DModel(**heads, in_channels=16, out_channels=4, joint_attention_dim=16, axes_dims_rope=(4, 4, 8))


@pytest.mark.parametrize("make", [flux, flux2, z_image, qwen_image])
def test_a_file_on_every_layer_finds_targets_that_pick_them_all(make):
    from studio import registry

    module, card = make(), registry.family(make.__name__).card
    names = [n for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)]
    told = targets.where([f"lora_unet_{n.replace('.', '_')}" for n in names], card)
    assert targets.find_targets(module, told["targets"], card.targets) == names


def test_a_convolution_in_groups_is_refused_in_a_sentence():
    from torch import nn

    module = nn.ModuleDict({"conv_depth": nn.Conv2d(8, 8, 3, groups=8), "conv_point": nn.Conv2d(8, 8, 1)})
    with pytest.raises(StudioError, match="method.targets: conv_depth is a convolution in groups, .*: leave conv_depth out"):
        targets.find_targets(module, "conv_point+conv_depth", {})
    assert targets.find_targets(module, "conv_point", {}) == ["conv_point"]


def test_lumina_files_in_its_makers_names_are_read_exactly_and_continued():
    from diffusers import Lumina2Transformer2DModel

    from studio.families import lumina2

    sizes = {"in_channels": 4, "hidden_size": 32, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 2, "num_kv_heads": 2}
    module = Lumina2Transformer2DModel(**sizes, axes_dim_rope=(8, 4, 4), cap_feat_dim=16, multiple_of=8)
    tensors = foreign(module, "diffusion_model.{}".format)
    qkv = {n: t for n, t in tensors.items() if ".qkv." in n}
    found, key = imports.rename(qkv, {"transformer": module}), "diffusion_model.layers.1.attention.qkv"
    own = [found.tensors[f"transformer.layers.1.attn.to_{x}"] for x in "qkv"]
    whole = qkv[f"{key}.lora_up.weight"] @ qkv[f"{key}.lora_down.weight"] * 2
    torch.testing.assert_close(torch.cat([o["lora_B.weight"] @ o["lora_A.weight"] for o in own]), whole)
    for spelled in ("diffusion_model.{}".format, lambda name: "lora_unet_" + name.replace(".", "_")):
        layers = {name.partition(".lora_")[0].removesuffix(".alpha") for name in foreign(module, spelled)}
        told = targets.where(sorted(layers), lumina2.card)
        assert told["targets"] == "attention+feed_forward"
        picked = targets.find_targets(module, told["targets"], lumina2.card.targets)
        assert {f"transformer.{name}" for name in picked} == imports.rename(
            foreign(module, spelled), {"transformer": module}
        ).tensors.keys()


EARLY = {  # what stands before a text encoder's layers, how they are called, what follows
    "to_q_lora": ("text_encoder.text_model.", ("to_q", "to_out"), "_lora.{}.weight"),
    "q_proj_lora": ("text_encoder.text_model.", ("q_proj", "out_proj"), "_lora.{}.weight"),
    "bare": ("text_model.", ("q_proj", "out_proj"), ".lora_linear_layer.{}.weight"),
}


@pytest.mark.parametrize("how", EARLY)
def test_text_encoders_as_scripts_of_2023_saved_them_are_continued(tiny_parts, tmp_path, how):
    root, (q, out), end = EARLY[how]
    tensors = {}
    for name, layer in tiny_parts.modules["text_encoder"].named_modules():
        if name.endswith(("q_proj", "out_proj")):
            key = root + name.removeprefix("text_model.").replace("q_proj", q).replace("out_proj", out)
            rows, columns = layer.weight.shape
            tensors |= {key + end.format("down"): numbers(2, columns, key=1), key + end.format("up"): numbers(rows, 2, key=2)}
    write_tensors(tmp_path / "x.safetensors", tensors)
    spec = lora.Spec(**lora.describe(tmp_path / "x.safetensors", sd.card))
    adapter = lora.attach(tiny_parts, spec, sd.card, 1)
    assert adapter.load(tensors) == f"{len(tensors) // 2}/{len(tensors) // 2} layers" and spec.text_encoder
    adapter.detach()
