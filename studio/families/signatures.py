"""What a file of weights is, told by its header alone, and why one that is no base model is refused."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from studio.errors import StudioError
from studio.families import signs
from studio.families.adapter_names import AdapterKind, adapter_kind
from studio.families.editions import edits
from studio.families.header import Header, read_header
from studio.families.signs import ADAPTER, CHECKPOINT, CONTROL, EMBEDDING, OTHER, TEXT, UNKNOWN, VAE, Sign

READABLE = {"", "fp8", "scaled fp8"}
INTEGERS = re.compile(r"^[IU](8|16|32)$")  # precisions that no plain weight has
MIN_VECTOR = 8  # numbers of a word's vector
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
HAS_FAMILY = re.compile(r"Stable Diffusion (1|2|XL)|DDPM")  # titles that are read where a file has all
NOT_PLAIN = re.compile(r"inpainting|depth|Pix2Pix|upscaler|unCLIP|Control|LCM|GLIGEN")
WAY_OUT = {
    ADAPTER: "give the base model that it was made for, then drop it on Compare or continue it with --from",
    EMBEDDING: "give the base model that it was made for, then drop it on Compare",
    VAE: "give a whole model, or its transformer's file, which finds this part near it by itself",
    TEXT: "give a whole model, or its transformer's file, which finds this part near it by itself",
    CONTROL: "it steers a base model that lies elsewhere: give the one it steers",
    OTHER: "it draws nothing by itself: give a whole model",
}


@dataclass(frozen=True)
class Kind:
    """What a file is."""

    what: str  # checkpoint, vae, text_encoder, controlnet, adapter, embedding, other, unknown
    title: str  # in words
    edition: str = ""  # in words, where its name or metadata say of which it is
    parts: tuple[str, ...] = ()  # of a checkpoint: what it has beside the denoiser
    adapter: AdapterKind | None = None
    quantised: str = ""
    shard: str = ""  # "1 of 3"
    leftover: int = 0  # tensors of an adapter in a base's file

    @property
    def is_readable(self) -> bool:
        """Whether its weights can be read as plain numbers: as they are, or out of 8-bit floats."""
        return self.quantised in READABLE

    def words(self) -> str:
        """What it is, as it stands after "this is"."""
        text = self.edition or self.title
        if self.adapter:
            base = f" for {self.adapter.base}" if self.adapter.base else ""
            many = "" if self.adapter.num_layers == 1 else "s"
            text = f"an adapter ({self.adapter.kind}){base} in {self.adapter.layout} layout, {self.adapter.num_layers} layer{many}"
        if self.quantised:
            text += f", quantised ({self.quantised})"
        if self.leftover:
            text += f", with {self.leftover} tensor{'s' * (self.leftover > 1)} of an adapter left in it"
        return f"{text}, shard {self.shard}" if self.shard else text


def identify(path: Path) -> Kind:
    """What the .safetensors file at `path` is; StudioError if damaged. Read again only when the file has changed."""
    stat = path.stat()
    return _identify(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2000)
def _identify(path: Path, size: int, time_ns: int) -> Kind:
    return kind_of(read_header(path))


def kind_of(header: Header) -> Kind:
    """What a file with this header is."""
    shard = SHARD.search(header.path.stem)
    more = {"quantised": _quantised(header), "shard": f"{int(shard[1])} of {int(shard[2])}" if shard else ""}
    if found := adapter_kind(header):
        return Kind(ADAPTER, f"an adapter ({found.kind})", adapter=found, **more)
    if sign := _first(signs.OTHERS, header.text, header):
        return Kind(sign.what, sign.title, **more)
    names = signs.DENOISER_PREFIX.sub("", header.text)
    if sign := _first(signs.SIGNS, names, header):
        if len(mixed := [what for what, how in signs.DENOISERS.items() if re.search(how, names, re.MULTILINE)]) > 1:
            return Kind(CHECKPOINT, f"a file of mixed layouts ({' and '.join(mixed)})", **more)
        leftover = len(re.findall(signs.LEFTOVER, header.text, re.MULTILINE))
        return Kind(CHECKPOINT, sign.title, edits(sign.title, header), _parts(header), **more, leftover=leftover)
    if sign := _first(signs.VAES, signs.VAE_PREFIX.sub("", header.text), header):
        return Kind(VAE, sign.title, **more)
    if channels := _latent_channels(header):
        return Kind(
            VAE,
            f"a VAE alone, of {signs.LATENTS[channels]}" if channels in signs.LATENTS else f"a VAE alone, with {channels} latent channels",
            **more,
        )
    if _is_embedding(header):
        return Kind(EMBEDDING, "an embedding (textual inversion)", **more)
    sign = _first(signs.TEXTS, header.text, header)
    return Kind(TEXT, f"{sign.title} alone", **more) if sign else Kind(UNKNOWN, "a file of weights of an unknown kind", **more)


def _first(table: tuple[Sign, ...], names: str, header: Header) -> Sign | None:
    """The first sign that a file bears; `names` one a line."""

    def search(pattern: str) -> re.Match | None:
        return re.search(pattern, names, re.MULTILINE)

    for sign in table:
        if all(search(p) for p in sign.has) and not any(search(p) for p in sign.lacks) and _has_shape(sign, header):
            return sign
    return None


def _has_shape(sign: Sign, header: Header) -> bool:
    if sign.shape is None:
        return True
    pattern, axis, sizes = sign.shape
    named = (shape for name, shape in header.shapes.items() if re.search(pattern, signs.DENOISER_PREFIX.sub("", name)))
    return any(len(shape) > axis and shape[axis] in sizes for shape in named)


def _parts(header: Header) -> tuple[str, ...]:
    found = {"VAE": r"^(first_stage_model|vae)\.", "text encoder": signs.TEXT_PARTS}
    return tuple(part for part, pattern in found.items() if re.search(pattern, header.text, re.MULTILINE))


def _latent_channels(header: Header) -> int:
    """What the decoder of an autoencoder alone reads; 0 where the file is none."""
    for name in ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight", "vae.decoder.conv_in.weight"):
        shape = header.shapes.get(name, ())
        if len(shape) in {4, 5}:
            return shape[1]
    return 0


def _is_embedding(header: Header) -> bool:
    """A few small matrices of vectors: `emb_params`, `clip_l` and `clip_g`, or the word itself."""
    small = all(1 <= len(shape) <= 2 and shape[0] <= 8192 and shape[-1] >= MIN_VECTOR for shape in header.shapes.values())
    return 0 < len(header.shapes) <= 3 and small and not any("." in name.removeprefix("string_to_param.") for name in header.shapes)


def _quantised(header: Header) -> str:
    for pattern, title in signs.QUANTISED:
        if re.search(pattern, header.text, re.MULTILINE):
            return "4 or 8 bits, as ComfyUI packs them" if title == "scaled fp8" and _packed(header) else title
    if any(dtype.startswith("F8") for dtype in header.dtypes.values()):
        return "fp8"
    return "whole numbers" if _packed(header) else ""


def _packed(header: Header) -> bool:
    """Whether weights are stored as integers, several in one or scaled by blocks."""
    return any(name.endswith(".weight") and INTEGERS.match(dtype) and len(header.shapes[name]) > 1 for name, dtype in header.dtypes.items())


def refuse_other(path: Path) -> None:
    """StudioError, saying what it is and the way out, for a file that is no base model; nothing where it may be one."""
    kind = identify(path)
    if kind.shard:
        raise StudioError(f"{path}: this is {kind.words()}: give the folder that all shards of the model lie in")
    if "mixed layouts" in kind.title:
        raise StudioError(f"{path}: this is {kind.words()}: use another copy of the model")
    if kind.what == CHECKPOINT and NOT_PLAIN.search(kind.title):
        raise StudioError(f"{path}: this is {kind.words()}, which reads more than text and noise: use its plain version")
    if kind.what == CHECKPOINT and not kind.is_readable:
        raise StudioError(
            f"{path}: this is {kind.words()}, which is for drawing and cannot be trained on: fetch its bf16, fp16 or fp8 version"
        )
    if kind.what not in {CHECKPOINT, UNKNOWN}:
        raise StudioError(f"{path}: this is {kind.words()}, not a base model: {WAY_OUT[kind.what]}")
