"""What other programs' files call the tensors of Stable Diffusion 1.x and 2.x: checkpoints (CompVis) and adapters (kohya)."""

import re
from typing import TYPE_CHECKING

from studio.families.base import Parts

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]

UNET, VAE, CLIP, OPEN_CLIP = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.model.",
)
UNET_ENDS = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0", "conv_out": "out.2", "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP_NAMES = (
    (r"^encoder\.layers\.", "transformer.resblocks."), (r"\.layer_norm(\d)\.", r".ln_\1."), (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."), (r"\.self_attn\.out_proj\.", ".attn.out_proj."), (r"^final_layer_norm\.", "ln_final."),
    (r"^embeddings\.token_embedding\.", "token_embedding."), (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
)  # fmt: skip


def kohya_name(layer: str) -> str:
    """What kohya's adapter files call a layer, `unet.…` or `text_encoder.…`."""
    component, _, path = layer.partition(".")
    return f"lora_unet_{path}".replace(".", "_") if component == "unet" else kohya_text_name("lora_te", path)


def kohya_text_name(prefix: str, path: str) -> str:
    """The same for a layer of a text encoder; every reader expects `text_model`, which transformers has dropped from CLIPTextModel."""
    return f"{prefix}_text_model_{path.removeprefix('text_model.')}".replace(".", "_")


def checkpoint(parts: Parts) -> "State":
    """All tensors of the base, as they are now, under the names of a single checkpoint file."""
    unet, vae, text = (parts.modules[name] for name in ("unet", "vae", "text_encoder"))
    own = flat_text(text)
    return unet_and_vae(unet, vae) | (open_clip(own, OPEN_CLIP) if is_open_clip(parts) else {CLIP + n: value for n, value in own.items()})


def unet_and_vae(unet: "nn.Module", vae: "nn.Module") -> "State":
    """The tensors of both."""
    per_level, attended = unet.config.layers_per_block + 1, [hasattr(block, "attentions") for block in unet.up_blocks]
    tensors = {UNET + unet_name(name, per_level, attended): value for name, value in unet.state_dict().items()}
    for name, value in vae.state_dict().items():
        own = _vae_name(name, len(vae.config.block_out_channels))
        is_product = ".mid.attn_1." in own and own.endswith(".weight") and value.ndim == 2
        tensors[VAE + own] = value[:, :, None, None] if is_product else value  # attention was made of 1x1 convolutions there
    return tensors


def flat_text(encoder: "nn.Module") -> "State":
    """A CLIP text encoder's tensors, without a leading `text_model.` and without what is computed."""
    flat = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    return {name: value for name, value in flat.items() if not name.endswith("position_ids")}


def is_open_clip(parts: Parts) -> bool:
    """Whether the text encoder is that of Stable Diffusion 2.x, by its activation."""
    return parts.modules["text_encoder"].config.hidden_act == "gelu"


def unet_name(name: str, per_level: int, attended: list[bool]) -> str:
    """The original name of a tensor of a UNet2DConditionModel; `attended` = which of its up blocks have attention."""
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if not found:
        start = next(s for s in UNET_ENDS if name.startswith(s + "."))
        rest = name[len(start) + 1 :]
        return f"{UNET_ENDS[start]}.{_resnet(rest) if '.resnets.' in name else rest}"
    way, level, kind, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * per_level}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        place = 2 if attended[level] else 1
        return f"output_blocks.{(level + 1) * per_level - 1}.{place}.{rest}"
    block = f"input_blocks.{1 + level * per_level + number}" if way == "down" else f"output_blocks.{level * per_level + number}"
    return f"{block}.0.{_resnet(rest)}" if kind == "resnets" else f"{block}.1.{rest}"


def _resnet(rest: str) -> str:
    first, _, last = rest.partition(".")
    return f"{RESNET[first]}.{last}"


def _vae_name(name: str, num_levels: int) -> str:
    """The original name of a tensor of an AutoencoderKL."""
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    found = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if found:
        side, way, level, kind, number, rest = found.groups()
        place = f"{side}.{way}.{int(level) if way == 'down' else num_levels - 1 - int(level)}"
        return f"{place}.block.{number}.{rest}" if kind == "resnets" else f"{place}.{way}sample.{rest}"
    found = re.match(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if not found:
        return name
    side, kind, number, rest = found.groups()
    if kind == "resnets":
        return f"{side}.mid.block_{int(number) + 1}.{rest}"
    start = next(s for s in VAE_ATTENTION if rest.startswith(s + "."))
    return f"{side}.mid.attn_1.{VAE_ATTENTION[start]}{rest[len(start) :]}"


def open_clip(flat: "State", prefix: str) -> "State":
    """A CLIP text encoder under OpenCLIP's names: q, k and v above each other in one tensor."""
    import torch

    tensors: State = {}
    for name, value in flat.items():
        if found := re.match(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            whole = torch.cat([flat[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            tensors[f"{prefix}transformer.resblocks.{found[1]}.attn.in_proj_{found[2]}"] = whole
        elif not re.search(r"\.[kv]_proj\.", name):
            own = name
            for old, new in OPEN_CLIP_NAMES:
                own = re.sub(old, new, own)
            tensors[prefix + own] = value
    return tensors
