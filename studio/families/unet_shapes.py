"""The configuration of a UNet of Stable Diffusion 1.x, 2.x or XL: the published one with the sizes that its tensors' shapes tell."""

from pathlib import Path

from studio.errors import StudioError
from studio.families.bundled import read
from studio.families.header import Header
from studio.families.sd_names import UNET

HEAD_WIDTH = 64  # of the text encoders and of 2.x's UNet; 1.x's UNet has 8 heads at every width


def unet_config(header: Header, folder: Path) -> dict:
    """The bundled UNet configuration with the file's own widths, levels and text width. StudioError where it reads no text."""
    config = read(folder, "unet/config.json")
    num_blocks = header.count(UNET + "input_blocks.")
    downs = [i for i in range(1, num_blocks) if header.has(f"{UNET}input_blocks.{i}.0.op.")]
    per_level = downs[0] if downs else num_blocks
    firsts = [f"{UNET}input_blocks.{1 + level * per_level}." for level in range(len(downs) + 1)]
    widths = [header.shape(first + "0.out_layers.3.weight")[0] for first in firsts]
    attended = [header.has(first + "1.") for first in firsts]
    if not any(attended):
        raise StudioError(f"{header.path}: its UNet reads no text: this is no Stable Diffusion model")
    attention = firsts[attended.index(True)] + "1."
    per_depth = isinstance(config.get("transformer_layers_per_block"), list)
    config |= {
        "in_channels": header.shape(UNET + "input_blocks.0.0.weight")[1],
        "out_channels": header.shape(UNET + "out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": per_level - 1,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)],
        "cross_attention_dim": header.shape(attention + "transformer_blocks.0.attn2.to_k.weight")[1],
        **_depths(header, per_level, attended, per_depth),
        "use_linear_projection": len(header.shape(attention + "proj_in.weight")) == 2,
    }
    if isinstance(config["attention_head_dim"], list):  # the number of heads, despite its name
        config["attention_head_dim"] = [max(1, width // HEAD_WIDTH) for width in widths]
    return config


def conditions(header: Header, pooled: int) -> dict:
    """Of XL: how wide the pooled text and the six numbers of a picture's geometry are to the UNet."""
    width = header.shape(UNET + "label_emb.0.0.weight")[1]
    return {"projection_class_embeddings_input_dim": width, "addition_time_embed_dim": (width - pooled) // 6}


def _depths(header: Header, per_level: int, attended: list[bool], per_depth: bool) -> dict:
    """How many transformer blocks each block of the UNet has; smaller models made from XL (SSD-1B, Vega) have others on the way up."""

    def depth(block: str) -> int:
        return header.count(f"{UNET}{block}.1.transformer_blocks.") or 1

    def by_level(way: str, first: int, count: int, order: list[bool]) -> list[list[int]]:
        return [[depth(f"{way}.{first + i * per_level + j}") if a else 1 for j in range(count)] for i, a in enumerate(order)]

    down, up = by_level("input_blocks", 1, per_level - 1, attended), by_level("output_blocks", 0, per_level, attended[::-1])
    plain = [level[0] for level in down]
    is_plain = all(set(level) == {n} for n, level in (*zip(plain, down, strict=True), *zip(plain[::-1], up, strict=True)))
    config: dict = {"transformer_layers_per_block": plain if per_depth else plain[attended.index(True)]}
    if not is_plain:
        config = {"transformer_layers_per_block": [n if len(set(level)) == 1 else level for n, level in zip(plain, down, strict=True)]}
        config["reverse_transformer_layers_per_block"] = up
    if not header.has(f"{UNET}middle_block.1."):
        config["mid_block_type"] = "UNetMidBlock2D" if header.has(f"{UNET}middle_block.0.") else None
    return config
