"""The memory plan of a base: what training and drawing on it need, by its headers, and what is done so that it fits. No torch here."""

import contextlib
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.families.assembly import Assembly, assemble
from studio.families.base import Card
from studio.families.folder import component
from studio.families.header import Header, read_header
from studio.families.signatures import TEXT_PARTS, VAE_PREFIX
from studio.model_facts import GIB, Memory, component_headers, configuration, size_px, vae_scale

# Values that the backward pass keeps are counted for Stable Diffusion 1.5, XL and FLUX.1 (flash attention, LoRA, one picture), times 1.3
# for casts and what an allocator rounds up; the embedded model's measured peak agrees with the same law.
LIBRARIES_GIB = 0.4
UNET_VALUES, UNET_PARAMETERS, UNET_POWER = 135e3, 8.6e8, 0.56  # per latent position of Stable Diffusion 1.5; a power law of the parameters
TOKEN_VALUES = 19  # per token, block and width of a transformer
UNET_KEPT = 0.2  # share of a UNet's values that are kept with gradient checkpointing, the block being recomputed included
TEXT_TOKENS = 512  # beside the picture's, in transformers that read both together
LEVELS = 4  # of a UNet; in deeper ones more of the parameters work at fewer positions, by half for each further level
SINGLE_FILE_SIDE = 64  # latent positions a side of a single checkpoint
DRAWN_VALUES = 3 * 256  # per pixel: the widest feature maps of all are the autoencoder's at full size, three of 256 channels at once
WEIGHTS_FACTOR = 1.1  # of drawing: buffers, casts, what the allocator rounds up
RECORDED_SHARE = 0.9  # of the memory, at most, where steps are recorded: each shape of batch adds a little
BYTES_BY_BITS = {16: 2.0, 8: 1.07, 4: 0.57}  # per number of a quantised base, its scales and unquantised layers included
TRAINED_BYTES = {"adamw": 20, "adamw8bit": 14}  # per trained number: itself, gradient, average, two moments


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


@dataclass(frozen=True)
class Ask:
    """What of a run's settings decides its memory."""

    trained: float  # numbers
    micro_batch: int = 1
    size_px: int | None = None
    optimizer: str = "adamw"
    bytes_per_number: int = 2
    text_is_live: bool = False  # a text encoder is in the gradient
    checkpointing: str = "auto"  # auto, on, off
    offload: str = "auto"
    bits: str = "auto"  # auto, 16, 8, 4
    can_quantise: bool = False  # the extra is installed, and the device knows it
    recorded: str = "auto"
    previews: bool = True


@dataclass(frozen=True)
class Plan:
    """What is done, and what it needs."""

    checkpointing: bool
    offload: bool  # text encoders and autoencoder leave the device after caching; for pictures each comes back while it is needed
    bits: int  # of the frozen base's numbers: 16 (its own precision), 8, 4
    peak_gib: float
    parts_gib: dict[str, float]  # weights, encoders, training, activations, libraries
    fits: bool | None  # None = not known
    recorded: bool = False  # steps are recorded as CUDA graphs, whose memory is kept while pictures are drawn

    def record(self) -> dict[str, Any]:
        """As kept in a run's folder."""
        return asdict(self)

    def words(self) -> str:
        """What is done, on one line."""
        done = ["gradient checkpointing"] if self.checkpointing else []
        done += ["text encoders and autoencoder leave the device after caching"] if self.offload else []
        done += [f"base in {self.bits} bits"] if self.bits < 16 else []
        done += ["steps recorded"] if self.recorded else []
        return ", ".join(done) or "everything stays on the device, no gradient checkpointing"

    def details(self) -> str:
        """Where the memory goes, on one line."""
        return ", ".join(f"{name} {gib:.1f}" for name, gib in self.parts_gib.items() if gib >= 0.05) + " GiB"


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
        denoiser, texts, vae = _parts(headers)
        if found:
            texts, vae = (_of_pieces(found, names) for names in (card.text_encoders, ("vae",)))
    if not denoiser:
        return None
    config = configuration(component(place, card.denoiser) / "config.json") if place.is_dir() else {}
    scale = vae_scale(place) or 8
    side = px / scale if place.is_dir() else SINGLE_FILE_SIDE
    if is_unet:
        levels = config.get("block_out_channels")
        deeper = max(0, len(levels) - LEVELS) if isinstance(levels, list) else 0
        return Sizes(denoiser, texts, vae, side * 2 ** (-deeper / 2), px)
    width, depth = _transformer(headers)
    own = config.get("patch_size")
    patch = max(card.patch, own if isinstance(own, int) and 0 < own <= 8 else 1)
    return Sizes(denoiser, texts, vae, px / scale, px, width, depth, patch)


def _of_pieces(found: Assembly, names: tuple[str, ...]) -> float:
    """Numbers in these components of a model whose denoiser is one file."""
    total = 0.0
    for name in names:
        if piece := found.pieces.get(name):
            total += sum(math.prod(shape) for key, shape in piece.header.shapes.items() if key.startswith(piece.root))
        elif found.rest:
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
            if found := re.search(r"(\w*(?:blocks|layers))\.(\d+)\.", name):
                blocks.add(found.groups())
            if len(shape) == 2 and re.search(r"(to_q|qkv|to_qkv_mlp_proj)\.weight$", name):
                widths[shape[1]] += 1
    return (widths.most_common(1) or [(1024, 0)])[0][0], max(1, len(blocks))


def plan(sizes: Sizes, ask: Ask, here: Memory) -> Plan:
    """The plan that costs the least time of those that fit; where none does, the smallest, which says so."""
    on_gpu = here.where != "this machine"
    offloads = {"on": [True], "off": [False]}.get(ask.offload, [on_gpu and not ask.text_is_live])
    checkpoints = {"on": [True], "off": [False]}.get(ask.checkpointing, [False, True])
    bits = [int(ask.bits)] if ask.bits != "auto" else [16, 8, 4] if ask.can_quantise else [16]
    tried = [_weigh(sizes, ask, here, c, o and on_gpu, b) for b in bits for o in offloads for c in checkpoints]
    chosen = next((p for p in tried if p.fits), tried[-1])
    return _record(chosen, sizes, ask, here) if on_gpu else chosen


def _record(plan: Plan, sizes: Sizes, ask: Ask, here: Memory) -> Plan:
    """A plan with its steps recorded, where that can be and there is room: what they keep stays while the rest comes for previews."""
    can = ask.recorded != "off" and not (ask.text_is_live or plan.checkpointing or plan.bits < 16)
    drawing = _drawing_gib(sizes, ask)
    visiting = (sizes.text_encoders + sizes.vae) * ask.bytes_per_number / GIB if plan.offload and ask.previews else 0.0
    peak = round(plan.peak_gib + drawing + visiting, 3)
    if not can or (ask.recorded == "auto" and peak > here.total_gib * RECORDED_SHARE):
        return plan
    return replace(
        plan,
        recorded=True,
        peak_gib=peak,
        parts_gib=plan.parts_gib | {"previews": round(drawing + visiting, 3)},
        fits=peak <= here.total_gib,
    )


def _drawing_gib(sizes: Sizes, ask: Ask) -> float:
    """What drawing a picture takes beside the weights; 0 without previews, or in the space of pixels."""
    return DRAWN_VALUES * (ask.size_px or sizes.size_px) ** 2 * ask.bytes_per_number / GIB if ask.previews and sizes.vae else 0.0


def _weigh(sizes: Sizes, ask: Ask, here: Memory, checkpointing: bool, offload: bool, bits: int) -> Plan:
    each = ask.bytes_per_number if bits == 16 else BYTES_BY_BITS[bits]
    base = sizes.denoiser * each / GIB
    others = (sizes.text_encoders + sizes.vae) * ask.bytes_per_number / GIB
    values = sizes.values(ask.size_px) * (sizes.kept if checkpointing else 1)
    activations = values * ask.micro_batch * ask.bytes_per_number / GIB
    training = ask.trained * TRAINED_BYTES[ask.optimizer] / GIB
    drawing = _drawing_gib(sizes, ask)
    live = sizes.text_encoders * ask.bytes_per_number / GIB if ask.text_is_live else 0.0
    resident = live if offload else others
    peak = LIBRARIES_GIB + max(base + resident + training + max(activations, drawing), (others + drawing) if offload else 0.0)
    parts = {"base": base, "encoders": resident, "training": training, "activations": max(activations, drawing), "libraries": LIBRARIES_GIB}
    rounded = {name: round(gib, 3) for name, gib in parts.items()}
    return Plan(checkpointing, offload, bits, round(peak, 3), rounded, peak <= here.total_gib)


def needs_gib(path: Path, card: Card, here: Memory) -> float | None:
    """About how much memory training a LoRA on this model takes with a micro-batch of 1; None where its size cannot be told."""
    sizes = read_sizes(path, card)
    if sizes is None:
        return None
    from studio.methods.layers import LARGE, SHARE, SHARE_OF_LARGE

    trained = sizes.denoiser * (SHARE_OF_LARGE if sizes.denoiser > LARGE else SHARE)
    return plan(sizes, Ask(trained, bytes_per_number=here.bytes_per_number), here).peak_gib


def drawing_bytes(weights: float, width: int, height: int, count: int, bytes_per_value: int) -> int:
    """Memory that drawing `count` pictures at once needs; `weights`: values still to be loaded, 0 when they are there."""
    return round((WEIGHTS_FACTOR * weights + DRAWN_VALUES * width * height * count) * bytes_per_value)


def draws_by_parts(sizes: Sizes, px: int, count: int, bytes_per_value: int, free_bytes: float) -> bool:
    """Whether pictures are drawn with one component on the device at a time, because all at once do not fit."""
    return drawing_bytes(sizes.total, px, px, count, bytes_per_value) > free_bytes
