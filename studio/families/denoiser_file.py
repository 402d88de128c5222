"""A transformer in one .safetensors file, in its makers' names or in diffusers': its tensors by our names."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.file_layout import prefix_of
from studio.families.header import read_header
from studio.families.import_names import REFINED, RULES
from studio.families.tensors import fill, read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

OTHERS = ("text_encoders.", "first_stage_model.", "vae.", "cond_stage_model.", "conditioner.", "model_ema.")  # that are no transformer
MORE_OF_FLUX = (  # beside the layers that adapters know: (their name with {} for a number, ours)
    ("double_blocks.{}.img_attn.norm.query_norm", "transformer_blocks.{}.attn.norm_q"),
    ("double_blocks.{}.img_attn.norm.key_norm", "transformer_blocks.{}.attn.norm_k"),
    ("double_blocks.{}.txt_attn.norm.query_norm", "transformer_blocks.{}.attn.norm_added_q"),
    ("double_blocks.{}.txt_attn.norm.key_norm", "transformer_blocks.{}.attn.norm_added_k"),
    ("single_blocks.{}.norm.query_norm", "single_transformer_blocks.{}.attn.norm_q"),
    ("single_blocks.{}.norm.key_norm", "single_transformer_blocks.{}.attn.norm_k"),
    ("distilled_guidance_layer.layers.{}.in_layer", "distilled_guidance_layer.layers.{}.linear_1"),
    ("distilled_guidance_layer.layers.{}.out_layer", "distilled_guidance_layer.layers.{}.linear_2"),
)
MORE_OF_Z_IMAGE = (
    *((f"{p}.{{}}.attention.{n}_norm", f"{p}.{{}}.attention.norm_{n}") for p in REFINED for n in "qk"),
    ("x_embedder", "all_x_embedder.2-1"),
    ("final_layer.linear", "all_final_layer.2-1.linear"),
    ("final_layer.adaLN_modulation.{}", "all_final_layer.2-1.adaLN_modulation.{}"),
)  # fmt: skip
MORE_OF_LUMINA = (
    *((f"{p}.{{}}.attention.{n}_norm", f"{p}.{{}}.attn.norm_{n}") for p in REFINED for n in "qk"),
    ("context_refiner.{}.attention_norm1", "context_refiner.{}.norm1"),
    *((f"{p}.{{}}.attention_norm1", f"{p}.{{}}.norm1.norm") for p in REFINED),
    *((f"{p}.{{}}.attention_norm2", f"{p}.{{}}.norm2") for p in REFINED),
    *((f"{p}.{{}}.adaLN_modulation.1", f"{p}.{{}}.norm1.linear") for p in REFINED),
    ("cap_embedder.{}", "time_caption_embed.caption_embedder.{}"),
    ("t_embedder.mlp.0", "time_caption_embed.timestep_embedder.linear_1"),
    ("t_embedder.mlp.2", "time_caption_embed.timestep_embedder.linear_2"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear_1"),
    ("final_layer.linear", "norm_out.linear_2"),
)
MORE_OF_FLUX2 = (
    *MORE_OF_FLUX,
    ("time_in.in_layer", "time_guidance_embed.timestep_embedder.linear_1"),
    ("time_in.out_layer", "time_guidance_embed.timestep_embedder.linear_2"),
)
MORE_OF_PIXART = (
    ("x_embedder.proj", "pos_embed.proj"),
    ("y_embedder.y_proj.fc1", "caption_projection.linear_1"),
    ("y_embedder.y_proj.fc2", "caption_projection.linear_2"),
    ("t_embedder.mlp.0", "adaln_single.emb.timestep_embedder.linear_1"),
    ("t_embedder.mlp.2", "adaln_single.emb.timestep_embedder.linear_2"),
    ("t_block.1", "adaln_single.linear"),
    ("final_layer.linear", "proj_out"),
    ("final_layer", ""),  # of which a table is left
    ("blocks.{}", "transformer_blocks.{}"),
)
MORE = {
    "Lumina2Transformer2DModel": MORE_OF_LUMINA,
    "ZImageTransformer2DModel": MORE_OF_Z_IMAGE,
    "Flux2Transformer2DModel": MORE_OF_FLUX2,
    "PixArtTransformer2DModel": MORE_OF_PIXART,
}
CONVERTERS = {  # a tensor of a file -> diffusers' own function for its kind
    "joint_blocks.0.x_block.attn.qkv.weight": "convert_sd3_transformer_checkpoint_to_diffusers",
    "blocks.0.mlp.inverted_conv.conv.weight": "convert_sana_transformer_to_diffusers",
}
UNREAD = {"norm_final.weight", "pos_embed", "y_embedder.y_embedding"}  # left over in files of Z-Image and PixArt


def load(path: Path, config: dict[str, Any], cls: Any, dtype: Any) -> "nn.Module":
    """The transformer of this configuration; StudioError unless every tensor fits."""
    from accelerate import init_empty_weights

    prefix = prefix_of(read_header(path))

    def make() -> "nn.Module":
        return cls.from_config(config)

    with init_empty_weights():
        shapes = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    theirs = {name.removeprefix(prefix): value for name, value in read_tensors(path, prefix, dtype).items()}
    if not prefix:
        theirs = {name: value for name, value in theirs.items() if not name.startswith(OTHERS)}
    converter = next((name for mark, name in CONVERTERS.items() if mark in theirs), None)
    return fill(path, "transformer", make, _convert(path, theirs, converter) if converter else _to_ours(theirs, shapes, cls.__name__))


def _convert(path: Path, state: "dict[str, Tensor]", converter: str) -> "dict[str, Tensor]":
    """Tensors by our names, as diffusers converts them; StudioError where one that it needs is missing."""
    from diffusers.loaders import single_file_utils

    left = dict(state)
    try:
        ours = getattr(single_file_utils, converter)(left)
    except LookupError as error:
        raise StudioError(f"{path}: tensor {str(error).strip(chr(39))[:200]} of its transformer is missing: fetch it again") from None
    return ours | left  # what it did not know is refused by name


def _to_ours(state: "dict[str, Tensor]", shapes: dict[str, tuple[int, ...]], kind: str) -> "dict[str, Tensor]":
    """Tensors by our names: renamed, fused ones taken apart by the rows that ours have, the last modulation's halves swapped."""
    import torch

    known = (*RULES.get(kind, ()), *((a, (b,)) for a, b in MORE.get(kind, MORE_OF_FLUX)))
    rules = [(re.compile(re.escape(a).replace(r"\{\}", r"(\d+)")), b) for a, b in known]
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        part = "weight" if part == "scale" else part
        if name == "final_layer.adaLN_modulation.1" and "norm_out.linear.weight" in shapes:  # shift and scale; diffusers: scale and shift
            ours[f"norm_out.linear.{part}"] = torch.cat(value.chunk(2)[::-1])
            continue
        found = next(((match, told) for rule, told in rules if (match := rule.fullmatch(name))), None)
        names = [f"{n.format(*found[0].groups())}.{part}".lstrip(".") for n in found[1]] if found else [f"{name}.{part}"]
        rows = [shapes[n][0] if n in shapes else 0 for n in names]
        if len(names) > 1 and sum(rows) == len(value):
            ours |= dict(zip(names, value.split(rows), strict=True))  # parts of what is mapped from the file, not copies
        elif key not in UNREAD:
            ours[names[0] if name else key] = value
    return ours
