"""A base in numbers, told by its headers: its components, its pictures, and what an adapter on it would have. No torch here."""

import contextlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from studio.errors import StudioError
from studio.families.assembly import Assembly, assemble, pieces_of
from studio.families.base import Card
from studio.families.configured import component_headers, configuration, size_px, vae_scale
from studio.families.folder import component
from studio.families.header import Header, read_header
from studio.families.signs import TEXT_PARTS, VAE_PREFIX

# Values that the backward pass keeps are counted for Stable Diffusion 1.5, XL and FLUX.1 (flash attention, LoRA, one picture), times 1.3
# for casts and what an allocator rounds up; the embedded model's measured peak agrees with the same law.
UNET_VALUES, UNET_PARAMETERS, UNET_POWER = 135e3, 8.6e8, 0.56  # per latent position of Stable Diffusion 1.5; a power law of the parameters
TOKEN_VALUES = 19  # per token, block and width of a transformer
QUANTISED = re.compile(r"^(?!.*(time|embed)).*\.\d+\.")  # linear layers that may be kept in few bits: those inside numbered blocks
UNET_KEPT = 0.2  # share of a UNet's values that are kept with gradient checkpointing, the block being recomputed included
TEXT_TOKENS = 512  # beside the picture's, in transformers that read both together
LEVELS = 4  # of a UNet; in deeper ones more of the parameters work at fewer positions, by half for each further level
OUTSIDE = re.compile(r"mod|adaln|norm|embed|time|guidance|(^|\.)(txt|img|vector)_in\.", re.IGNORECASE)  # no adapter sits there unless asked
FUSED = re.compile(r"(qkv|in_proj|linear1|kv_linear)\.weight$")  # several layers above each other
ATTENTION = re.compile(r"attn|attention|qkv|to_[qkv]|to_out|linear1", re.IGNORECASE)


@dataclass(frozen=True)
class Sizes:
    """A base in numbers, by its headers."""

    denoiser: float  # numbers
    text_encoders: float
    vae: float
    side: float  # latent positions a side, of a picture of the base's own size
    size_px: int
    width: int = 0  # of a transformer; 0 = a UNet
    depth: int = 0  # its blocks
    patch: int = 2
    per_rank: dict[str, float] = field(default_factory=dict)  # group of layers -> numbers that a low-rank adapter of rank 1 has on it
    quantisable: float | None = None  # the denoiser's numbers that may be kept in few bits; None = not known, so all of them

    @property
    def total(self) -> float:
        """All numbers."""
        return self.denoiser + self.text_encoders + self.vae

    def values(self, px: int | None = None) -> float:
        """Values that the backward pass keeps of one picture of `px` a side."""
        side = self.side * (px or self.size_px) / self.size_px
        if self.width:
            return TOKEN_VALUES * self.width * self.depth * ((side / self.patch) ** 2 + TEXT_TOKENS)
        return UNET_VALUES * (self.denoiser / UNET_PARAMETERS) ** UNET_POWER * side * side

    @property
    def kept(self) -> float:
        """The share of them that gradient checkpointing keeps: the inputs of all blocks, and one block's own."""
        return 1 / TOKEN_VALUES + 1 / max(1, self.depth) if self.width else UNET_KEPT


def read_sizes(path: Path, card: Card) -> Sizes | None:
    """A base in numbers; None where its headers cannot be read. Of a denoiser's file, what belongs to it counts too."""
    found = assemble(path)
    place = found.folder if found and found.folder else path
    is_unet, px = card.denoiser == "unet", size_px(place, card.denoiser)
    if path.is_dir():
        headers = component_headers(component(path, card.denoiser))
        texts = sum(h.num_values for name in card.text_encoders for h in component_headers(path / name))
        vae = sum(h.num_values for h in component_headers(path / "vae"))
        denoiser = sum(h.num_values for h in headers)
    else:
        headers = []
        with contextlib.suppress(StudioError, OSError):
            headers = [read_header(path)]
            px = px if found else headers[0].told_px(card.file_px_by_tensor) or card.file_shape_px[0]
        denoiser, texts, vae = _parts(headers)
        if denoiser:
            texts, vae = (own or _of_pieces(path, found, names) for own, names in ((texts, card.text_encoders), (vae, ("vae",))))
    if not denoiser:
        return None
    config = configuration(component(place, card.denoiser) / "config.json") if place.is_dir() else {}
    scale = vae_scale(place) or 8
    side, adapted = px / scale, count_layers(headers, card)
    few = _quantisable(headers)
    if is_unet:
        levels = config.get("block_out_channels")
        deeper = max(0, len(levels) - LEVELS) if isinstance(levels, list) else 0
        return Sizes(denoiser, texts, vae, side * 2 ** (-deeper / 2), px, per_rank=adapted, quantisable=few)
    width, depth = _transformer(headers)
    own = config.get("patch_size")
    patch = max(card.patch, own if isinstance(own, int) and 0 < own <= 8 else 1)
    return Sizes(denoiser, texts, vae, side, px, width, depth, patch, adapted, few)


def count_layers(headers: list[Header], card: Card) -> dict[str, float]:
    """Numbers of an adapter of rank 1 on each group of a family's layers; in files with their makers' names, of what seem to be those."""
    ours, theirs = Counter(), Counter()
    ends = {"." + suffix + ".weight": group for group, suffixes in card.targets.items() for suffix in suffixes}
    for name, shape in ((name, shape) for header in headers for name, shape in header.shapes.items()):
        if not name.endswith(".weight") or len(shape) < 2 or re.match(rf"{VAE_PREFIX.pattern}|{TEXT_PARTS}", name):
            continue
        rows, columns = shape[0], math.prod(shape[1:])
        if group := next((g for end, g in ends.items() if name.endswith(end)), None):
            ours[group] += rows + columns
        elif len(shape) == 2 and re.search(r"\.\d+\.", name) and not OUTSIDE.search(name):
            parts = max(1, round(rows / columns)) if FUSED.search(name) else 1
            theirs["attention" if ATTENTION.search(name) else "feed_forward"] += rows + parts * columns
    return dict(ours or {group: theirs[group] for group in card.targets if theirs[group]})


def _quantisable(headers: list[Header]) -> float:
    """Numbers in linear layers of a denoiser's blocks."""
    names = ((name, shape) for header in headers for name, shape in header.shapes.items() if name.endswith(".weight") and len(shape) == 2)
    others = re.compile(rf"{VAE_PREFIX.pattern}|{TEXT_PARTS}|^model_ema\.")
    return sum(math.prod(s) for n, s in names if QUANTISED.match(n.removesuffix(".weight")) and not others.match(n))


def _of_pieces(path: Path, found: Assembly | None, names: tuple[str, ...]) -> float:
    """Numbers in these components of a model whose denoiser is one file."""
    total, pieces = 0.0, pieces_of(path)
    for name in names:
        if piece := pieces.get(name):
            total += sum(math.prod(shape) for key, shape in piece.header.shapes.items() if key.startswith(piece.root))
        elif found and found.rest:
            total += sum(h.num_values for h in component_headers(found.rest / name))
    return total


def _parts(headers: list[Header]) -> tuple[float, float, float]:
    """Numbers of (denoiser, text encoders, autoencoder) in single files."""
    counts = Counter()
    for header in headers:
        for name, shape in header.shapes.items():
            prefixes = (("vae", VAE_PREFIX.pattern), ("text", TEXT_PARTS), ("ema", r"^model_ema\."))
            counts[next((part for part, prefix in prefixes if re.match(prefix, name)), "")] += math.prod(shape)
    return counts[""], counts["text"], counts["vae"]


def _transformer(headers: list[Header]) -> tuple[int, int]:
    """(width, number of blocks) of a transformer: the commonest input of its attention, and how many numbered blocks it has."""
    widths, blocks = Counter(), set()
    for header in headers:
        for name, shape in header.shapes.items():
            if re.match(rf"{VAE_PREFIX.pattern}|{TEXT_PARTS}", name):
                continue
            if found := re.search(r"(?<!guidance_layer\.)\b(\w*(?:blocks|layers|refiner))\.(\d+)\.", name):
                blocks.add(found.groups())
            if len(shape) == 2 and re.search(r"(to_q|qkv|to_qkv_mlp_proj)\.weight$", name):
                widths[shape[1]] += 1
    return (widths.most_common(1) or [(1024, 0)])[0][0], max(1, len(blocks))
