"""UNets of Stable Diffusion 1.x, 2.x and XL in one .safetensors file that is no whole checkpoint: by diffusers' names, or alone.

Such a file is read as if it had the original names; text encoders and autoencoder are in it by diffusers' names, or near it.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import StudioError
from studio.families import piece_models, single_file
from studio.families.bundled import CONFIGS, TOKENIZERS
from studio.families.bundled import read as bundled
from studio.families.header import Header, read_header
from studio.families.pieces import Piece, pieces_in, pieces_near
from studio.families.sd_names import UNET, unet_name
from studio.families.signatures import identify
from studio.families.single_file import CLIP, OPEN_CLIP
from studio.families.tensors import read_tensors
from studio.families.unet_shapes import conditions, unet_config

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from torch import nn
    from transformers import CLIPTokenizer

    from studio.families.tensors import State

PREFIXES = ("unet.", UNET, "diffusion_model.", "")  # of a UNet in such a file
OURS, ORIGINAL = "down_blocks.0.resnets.0.conv1.weight", "input_blocks.0.0.weight"  # what every such UNet has, by whose names
WITHIN = {CLIP, OPEN_CLIP, "conditioner.embedders."}  # text encoders of whole checkpoints
OTHERS = ("vae.", "text_encoder", "first_stage_model.")  # that are no UNet
USUAL = {768: "clip_l.safetensors", 1024: "clip_h.safetensors", 1280: "clip_g.safetensors"}  # width -> what such a file is called
PUBLISHED = {2048: (768, 1280)}  # what XL's UNet reads -> how wide its text encoders are


@dataclass(frozen=True)
class UNetFile:
    """A UNet, where its text encoders are, and the published configurations of its kind."""

    path: Path
    header: Header  # as if the file had the original names
    prefix: str
    is_original: bool
    wanted: tuple[str, ...]  # names of its text encoders
    texts: dict[str, Piece]  # those that are there

    @property
    def folder(self) -> Path:
        """The published configurations."""
        return CONFIGS / ("sdxl" if len(self.wanted) > 1 else "sd21" if single_file.is_second(self.header) else "sd15")

    @property
    def reads(self) -> int:
        """How wide the texts are that the UNet reads."""
        return next(shape[1] for name, shape in self.header.shapes.items() if name.endswith("attn2.to_k.weight"))


def open_unet(path: Path) -> UNetFile | None:
    """What is known of a file with such a UNet; None for all others."""
    header = read_header(path)
    prefix, mark = next(((p, m) for p in PREFIXES for m in (OURS, ORIGINAL) if p + m in header.shapes), ("", ""))
    is_whole = mark == ORIGINAL and any(header.has(root) for root in WITHIN)
    if not mark or is_whole or not any(name.endswith("attn2.to_k.weight") for name in header.shapes):
        return None
    own = {n.removeprefix(prefix): s for n, s in header.shapes.items() if n.startswith(prefix) and not n.startswith(OTHERS)}
    shapes = {UNET + name: shape for name, shape in own.items()} if mark == ORIGINAL else _renamed(own)
    as_original = Header(path, shapes, header.metadata, header.dtypes)
    wanted = ("text_encoder", "text_encoder_2") if as_original.has(UNET + "label_emb.") else ("text_encoder",)
    bare = UNetFile(path, as_original, prefix, mark == ORIGINAL, wanted, {})
    return UNetFile(path, as_original, prefix, bare.is_original, wanted, _find_texts(bare))


def _renamed(own: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a UNet by diffusers' names, by the original ones; what is called otherwise keeps its name, as marks do."""
    names = Header(Path(), own, {})
    per_level = names.count("down_blocks.0.resnets.") + 1
    attended = [names.has(f"up_blocks.{level}.attentions.") for level in range(names.count("up_blocks."))]
    found = {}
    for name, shape in own.items():
        try:
            found[UNET + unet_name(name, per_level, attended)] = shape
        except (StopIteration, LookupError):  # if it is no mark, it is refused by name when the UNet is loaded
            found[name] = shape
    return found


def _find_texts(unet: UNetFile) -> dict[str, Piece]:
    """The text encoders in the file by diffusers' names, else those near it whose widths fit."""
    inside = {p.root.rstrip("."): p for p in pieces_in(unet.path) if p.kind == "clip" and p.root.rstrip(".") in unet.wanted}
    if inside.keys() == set(unet.wanted):
        return inside
    near = [p for p in pieces_near(unet.path) if p.kind == "clip"]
    first = [inside["text_encoder"]] if "text_encoder" in inside else near
    if len(unet.wanted) == 1:
        return next(({"text_encoder": p} for p in first if p.width == unet.reads), {})
    second = [inside["text_encoder_2"]] if "text_encoder_2" in inside else [p for p in near if _projects(p)]
    pairs = [(a, b) for a, b in product(first, second) if a != b and a.width + b.width == unet.reads and a.width <= b.width]
    return dict(zip(unet.wanted, pairs[0], strict=True)) if pairs else {}


def _projects(piece: Piece) -> bool:
    return piece.root + "text_projection.weight" in piece.header.shapes


def recognise(path: Path, is_xl: bool) -> bool:
    """Whether this is such a file of Stable Diffusion XL, or of 1.x and 2.x; StudioError where what belongs to it is nowhere near."""
    title = identify(path).title
    if title not in ({"Stable Diffusion XL"} if is_xl else {"Stable Diffusion 1.x", "Stable Diffusion 2.x"}):
        return False
    unet = open_unet(path)
    if unet is None:
        return False
    _check_texts(unet)
    single_file.vae_of(unet.header)
    return True


def _check_texts(unet: UNetFile) -> None:
    """StudioError, naming what may be put where, unless all text encoders are there."""
    if unet.texts.keys() == set(unet.wanted):
        return
    widths = (unet.reads,) if len(unet.wanted) == 1 else PUBLISHED.get(unet.reads, ())
    told = " and ".join(f"{width} wide; usually {USUAL.get(width, 'a CLIP')}" for width in widths) or f"{unet.reads} wide together"
    what = "no text encoder" if len(unet.wanted) == 1 else "not both text encoders"
    there = (
        f"put {'it' if len(unet.wanted) == 1 else 'them'} beside the file, or into text_encoders next to the folder {unet.path.parent.name}"
    )
    raise StudioError(
        f"{unet.path}: this file has {what} ({told}): {there}; or use a copy of the model that has all, or its diffusers folder"
    )


def load(path: Path) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler] | None":
    """The modules in the precision they are stored in, the tokenizers and the noise schedule; None where it is no such file.

    StudioError where a tensor is missing or does not fit.
    """
    unet = open_unet(path)
    if unet is None:
        return None
    _check_texts(unet)
    try:
        return _load(unet)
    except StudioError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model of this kind has
        raise single_file.no_model(path, error) from error


def _load(unet: UNetFile) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler]":
    import transformers

    classes = {"text_encoder": transformers.CLIPTextModel, "text_encoder_2": transformers.CLIPTextModelWithProjection}
    texts = {
        name: piece_models.make(piece, bundled(unet.folder, f"{name}/config.json"), classes[name], None)
        for name, piece in unet.texts.items()
    }
    config = unet_config(unet.header, unet.folder)
    if len(texts) > 1:
        config |= conditions(unet.header, texts["text_encoder_2"].config.projection_dim)
    modules = single_file.unet_and_vae(unet.header, config, single_file.vae_config(unet.header, unet.folder), _state(unet))
    kinds = ("clip", "open_clip") if len(texts) > 1 else ("open_clip" if single_file.is_second(unet.header) else "clip",)
    tokenizers = {name.replace("text_encoder", "tokenizer"): TOKENIZERS[kind]() for name, kind in zip(unet.wanted, kinds, strict=True)}
    size_px = 1024 if len(texts) > 1 else 512
    return modules | texts, tokenizers, single_file.schedule(unet.header, unet.folder, modules, size_px)


def _state(unet: UNetFile) -> "State":
    """The UNet's tensors: by the original names, or by diffusers'."""
    own = {n.removeprefix(unet.prefix): t for n, t in read_tensors(unet.path, unet.prefix).items() if not n.startswith(OTHERS)}
    marks = {name for name in unet.header.shapes if not name.startswith(UNET)} & {"v_pred", "ztsnr"}
    return {UNET + n: t for n, t in own.items()} if unet.is_original else {n: t for n, t in own.items() if n not in marks}
