"""What others' adapter files call the layers of a model: each name to one of our layers, or to several that are one there."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from studio.families.sd_names import RESNET, unet_name

if TYPE_CHECKING:
    from torch import nn

QKV, ADDED = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
Rules = tuple[tuple[str, tuple[str, ...]], ...]  # (their name with {} for the block's number, ours)
MMDIT_ATTENTION: Rules = (
    ("double_blocks.{}.img_attn.qkv", tuple(f"transformer_blocks.{{}}.{n}" for n in QKV)),
    ("double_blocks.{}.txt_attn.qkv", tuple(f"transformer_blocks.{{}}.{n}" for n in ADDED)),
    ("double_blocks.{}.img_attn.proj", ("transformer_blocks.{}.attn.to_out.0",)),
    ("double_blocks.{}.txt_attn.proj", ("transformer_blocks.{}.attn.to_add_out",)),
    ("double_blocks.{}.processor.qkv1", tuple(f"transformer_blocks.{{}}.{n}" for n in QKV)),  # xlabs
    ("double_blocks.{}.processor.qkv2", tuple(f"transformer_blocks.{{}}.{n}" for n in ADDED)),
    ("double_blocks.{}.processor.proj1", ("transformer_blocks.{}.attn.to_out.0",)),
    ("double_blocks.{}.processor.proj2", ("transformer_blocks.{}.attn.to_add_out",)),
)
FLUX: Rules = (
    *MMDIT_ATTENTION,
    ("double_blocks.{}.img_mlp.0", ("transformer_blocks.{}.ff.net.0.proj",)),
    ("double_blocks.{}.img_mlp.2", ("transformer_blocks.{}.ff.net.2",)),
    ("double_blocks.{}.txt_mlp.0", ("transformer_blocks.{}.ff_context.net.0.proj",)),
    ("double_blocks.{}.txt_mlp.2", ("transformer_blocks.{}.ff_context.net.2",)),
    ("double_blocks.{}.img_mod.lin", ("transformer_blocks.{}.norm1.linear",)),
    ("double_blocks.{}.txt_mod.lin", ("transformer_blocks.{}.norm1_context.linear",)),
    ("single_blocks.{}.linear1", (*(f"single_transformer_blocks.{{}}.{n}" for n in QKV), "single_transformer_blocks.{}.proj_mlp")),
    ("single_blocks.{}.linear2", ("single_transformer_blocks.{}.proj_out",)),
    ("single_blocks.{}.modulation.lin", ("single_transformer_blocks.{}.norm.linear",)),
    ("single_blocks.{}.processor.qkv", tuple(f"single_transformer_blocks.{{}}.{n}" for n in QKV)),
    ("single_blocks.{}.processor.proj", ("single_transformer_blocks.{}.proj_out",)),
    ("img_in", ("x_embedder",)),
    ("txt_in", ("context_embedder",)),
    ("time_in.in_layer", ("time_text_embed.timestep_embedder.linear_1",)),
    ("time_in.out_layer", ("time_text_embed.timestep_embedder.linear_2",)),
    ("vector_in.in_layer", ("time_text_embed.text_embedder.linear_1",)),
    ("vector_in.out_layer", ("time_text_embed.text_embedder.linear_2",)),
    ("guidance_in.in_layer", ("time_text_embed.guidance_embedder.linear_1",)),
    ("guidance_in.out_layer", ("time_text_embed.guidance_embedder.linear_2",)),
    ("final_layer.linear", ("proj_out",)),
)
FLUX2: Rules = (
    *MMDIT_ATTENTION,
    ("double_blocks.{}.img_mlp.0", ("transformer_blocks.{}.ff.linear_in",)),
    ("double_blocks.{}.img_mlp.2", ("transformer_blocks.{}.ff.linear_out",)),
    ("double_blocks.{}.txt_mlp.0", ("transformer_blocks.{}.ff_context.linear_in",)),
    ("double_blocks.{}.txt_mlp.2", ("transformer_blocks.{}.ff_context.linear_out",)),
    ("single_blocks.{}.linear1", ("single_transformer_blocks.{}.attn.to_qkv_mlp_proj",)),
    ("single_blocks.{}.linear2", ("single_transformer_blocks.{}.attn.to_out",)),
    ("img_in", ("x_embedder",)),
    ("txt_in", ("context_embedder",)),
    ("final_layer.linear", ("proj_out",)),
    ("single_stream_modulation.lin", ("single_stream_modulation.linear",)),
    ("double_stream_modulation_img.lin", ("double_stream_modulation_img.linear",)),
    ("double_stream_modulation_txt.lin", ("double_stream_modulation_txt.linear",)),
)
SD3: Rules = (
    ("joint_blocks.{}.x_block.attn.qkv", tuple(f"transformer_blocks.{{}}.{n}" for n in QKV)),
    ("joint_blocks.{}.context_block.attn.qkv", tuple(f"transformer_blocks.{{}}.{n}" for n in ADDED)),
    ("joint_blocks.{}.x_block.attn.proj", ("transformer_blocks.{}.attn.to_out.0",)),
    ("joint_blocks.{}.context_block.attn.proj", ("transformer_blocks.{}.attn.to_add_out",)),
    ("joint_blocks.{}.x_block.attn2.qkv", tuple(f"transformer_blocks.{{}}.attn2.{n}" for n in ("to_q", "to_k", "to_v"))),
    ("joint_blocks.{}.x_block.attn2.proj", ("transformer_blocks.{}.attn2.to_out.0",)),
    ("joint_blocks.{}.x_block.mlp.fc1", ("transformer_blocks.{}.ff.net.0.proj",)),
    ("joint_blocks.{}.x_block.mlp.fc2", ("transformer_blocks.{}.ff.net.2",)),
    ("joint_blocks.{}.context_block.mlp.fc1", ("transformer_blocks.{}.ff_context.net.0.proj",)),
    ("joint_blocks.{}.context_block.mlp.fc2", ("transformer_blocks.{}.ff_context.net.2",)),
    ("joint_blocks.{}.x_block.adaLN_modulation.1", ("transformer_blocks.{}.norm1.linear",)),
    ("joint_blocks.{}.context_block.adaLN_modulation.1", ("transformer_blocks.{}.norm1_context.linear",)),
    ("context_embedder", ("context_embedder",)),
)
REFINED = ("layers", "noise_refiner", "context_refiner")  # lists of blocks of Lumina and its kin
LUMINA: Rules = tuple(
    (f"{part}.{{}}.{theirs}", tuple(f"{part}.{{}}.{n}" for n in ours))
    for part in REFINED
    for theirs, ours in (
        ("attention.qkv", QKV),
        ("attention.out", ("attn.to_out.0",)),
        *((f"feed_forward.w{i}", (f"feed_forward.linear_{i}",)) for i in (1, 2, 3)),
    )
)
Z_IMAGE: Rules = tuple(
    (f"{part}.{{}}.attention.{theirs}", tuple(f"{part}.{{}}.attention.{n}" for n in ours))
    for part in REFINED
    for theirs, ours in (("qkv", ("to_q", "to_k", "to_v")), ("out", ("to_out.0",)))
)
PIXART: Rules = (
    ("blocks.{}.attn.qkv", tuple(f"transformer_blocks.{{}}.attn1.{n}" for n in ("to_q", "to_k", "to_v"))),
    ("blocks.{}.attn.proj", ("transformer_blocks.{}.attn1.to_out.0",)),
    ("blocks.{}.cross_attn.q_linear", ("transformer_blocks.{}.attn2.to_q",)),
    ("blocks.{}.cross_attn.kv_linear", ("transformer_blocks.{}.attn2.to_k", "transformer_blocks.{}.attn2.to_v")),
    ("blocks.{}.cross_attn.proj", ("transformer_blocks.{}.attn2.to_out.0",)),
    ("blocks.{}.mlp.fc1", ("transformer_blocks.{}.ff.net.0.proj",)),
    ("blocks.{}.mlp.fc2", ("transformer_blocks.{}.ff.net.2",)),
)
RULES = {  # diffusers class of a denoiser -> what its original names are
    "FluxTransformer2DModel": FLUX, "ChromaTransformer2DModel": FLUX, "Flux2Transformer2DModel": FLUX2, "SD3Transformer2DModel": SD3,
    "ZImageTransformer2DModel": Z_IMAGE, "Lumina2Transformer2DModel": LUMINA, "PixArtTransformer2DModel": PIXART,
    "SanaTransformer2DModel": PIXART,
}  # fmt: skip


def layer_names(module: "nn.Module") -> dict[str, tuple[str, ...]]:
    """Every name of a layer of `module`, dots as underscores -> our layers, in order of their outputs where several are one there."""
    from torch import nn

    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding) or _is_norm(m)]
    layers = list(dict.fromkeys(n.removesuffix(".base_layer") for n in layers if ".lora_" not in n))
    found: dict[str, tuple[str, ...]] = {}
    for theirs, ours in RULES.get(type(module).__name__, ()):
        for name in [n for n in layers if re.fullmatch(_pattern(ours[0]), n)]:
            number = re.fullmatch(_pattern(ours[0]), name)
            filled = tuple(o.format(*number.groups()) for o in ours)
            if set(filled) <= set(layers):
                found[theirs.format(*number.groups()).replace(".", "_")] = filled
    for name in layers:
        for spelled in (name, *_unet_spelling(module)(name)):
            found[spelled.replace(".", "_")] = (name,)
        if name.endswith("to_out.0"):  # as diffusers wrote it in 2023
            found.setdefault(name.removesuffix(".0").replace(".", "_"), (name,))
    return found


def _is_norm(module: "nn.Module") -> bool:
    """Whether it is a normalisation with weights of its own, of which files of differences have some."""
    return type(module).__name__.endswith("Norm") and getattr(module, "weight", None) is not None


def _pattern(name: str) -> str:
    return re.escape(name).replace(r"\{\}", r"(\d+)")


def _unet_spelling(module: "nn.Module") -> Callable[[str], list[str]]:
    """The original (CompVis) name of a UNet's layer, which kohya's files for SDXL have."""
    if not hasattr(module, "up_blocks") or not hasattr(module, "config"):
        return lambda name: []
    per_level, attended = module.config.layers_per_block, [hasattr(block, "attentions") for block in module.up_blocks]
    if not isinstance(per_level, int):
        return lambda name: []

    def spell(name: str) -> list[str]:
        try:
            return [unet_name(name + ".weight", per_level + 1, attended).removesuffix(".weight")]
        except (StopIteration, KeyError):
            return []

    return spell


def are_original(names: list[str]) -> bool:
    """Whether any of a file's denoiser layers, dots as underscores, has a name as the model's makers gave it to those inside blocks."""
    inside = {theirs.replace(".", "_") for rules in RULES.values() for theirs, _ in rules if "{}" in theirs}
    return any(re.fullmatch(_pattern(theirs), name) for theirs in inside for name in names)


def our_endings(name: str, is_original: bool = True, suffixes: tuple[str, ...] = ()) -> list[str]:
    """How the names of our layers end that a denoiser layer of a file stands for, dots as underscores, without its base at hand.

    `is_original`: names outside blocks are the makers' too, as `img_in` is in FLUX; Qwen-Image calls one so here. `suffixes` = how layers
    of the base's family end, which tells Lumina's from Z-Image's, whose makers have equal names for layers that we call differently.
    """
    known = {rule for rules in RULES.values() for rule in rules if is_original or "{}" in rule[0]}
    found = sorted(rule for rule in known if re.fullmatch(_pattern(rule[0].replace(".", "_")), name))
    fitting = [ours for _, ours in found if any(o.endswith(s) for o in ours for s in suffixes)]
    for ours in (*fitting, *(ours for theirs, ours in found if (theirs, ours) not in LUMINA)):
        return ["_" + o.replace("{}", "0").replace(".", "_") for o in ours]
    for ours, theirs in RESNET.items():
        if name.endswith("_" + theirs.replace(".", "_")):
            return ["_resnets_0_" + ours]
    if re.fullmatch(r"input_blocks_\d+_0_op", name):
        return ["_blocks_0_downsamplers_0_conv"]
    if re.fullmatch(r"output_blocks_\d+_[12]_conv", name):
        return ["_blocks_0_upsamplers_0_conv"]
    return ["_" + re.sub(r"_processor_to_out$", "_to_out_0", name).replace("_processor_to_", "_to_")]
