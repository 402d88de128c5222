"""Encoders and autoencoders in files: told by their headers, found in a model's own file, beside it, and where ComfyUI keeps them."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from studio.errors import StudioError
from studio.families.file_layout import FileLayout, Need
from studio.families.header import Header, read_header
from studio.families.signatures import identify
from studio.families.signs import TEXT, VAE

FOLDERS = {"clip", "text_encoder", "text_encoders", "vae"}  # beside the folder of the denoisers, by whatever case
HEIGHT = 3  # folders above a denoiser's file whose folders are looked into
MAX_FILES = 300  # looked at
NUM_CLIP, MAX_T5, MIN_QWEN = 49408, 33_000, 151_646  # tokens: CLIP's; at most T5's (multilingual ones know more); at least Qwen's
DENOISER = "model.diffusion_model."


@dataclass(frozen=True)
class Kind:
    """A kind of piece: the tensor whose name betrays it, with what stands before it as the group."""

    title: str
    mark: re.Pattern
    folder: str  # where people keep it


KINDS = {
    "clip": Kind("CLIP text encoder", re.compile(r"(.*?)(?:text_model\.)?embeddings\.token_embedding\.weight"), "text_encoders"),
    "t5": Kind("T5 text encoder", re.compile(r"(.*?)encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight"), "text_encoders"),
    "qwen3": Kind("Qwen3 text encoder", re.compile(r"(.*?)(?:model\.)?layers\.0\.self_attn\.q_norm\.weight"), "text_encoders"),
    "qwen_vl": Kind(
        "Qwen2.5-VL text encoder", re.compile(r"(.*?)(?:model\.)?(?:language_model\.)?layers\.0\.self_attn\.q_proj\.bias"), "text_encoders"
    ),
    "kl": Kind("VAE", re.compile(r"(.*?)decoder\.conv_in\.weight"), "vae"),
    "kl_flux2": Kind("VAE", re.compile(r"(.*?)decoder\.conv_in\.weight"), "vae"),
    "qwen_vae": Kind("VAE", re.compile(r"(.*?)decoder\.(?:conv1|conv_in)\.weight"), "vae"),
}


@dataclass(frozen=True)
class Piece:
    """A component in a file."""

    kind: str
    path: Path
    root: str  # what its tensors' names begin with
    width: int  # of its vectors; of an autoencoder, the channels of its latents

    @property
    def header(self) -> Header:
        """What its file says before its data."""
        return read_header(self.path)


def pieces_in(path: Path) -> tuple[Piece, ...]:
    """All encoders and autoencoders in a file."""
    stat = path.stat()
    return _pieces_in(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _pieces_in(path: Path, size: int, time_ns: int) -> tuple[Piece, ...]:
    header, found = read_header(path), {}
    names = [name for name in header.shapes if not name.startswith(DENOISER)]
    for key, kind in KINDS.items():
        for name in names:
            if (match := kind.mark.fullmatch(name)) and (width := _width(key, header, match[1], name)):
                found[key, match[1]] = Piece(key, path, match[1], width)
    return tuple(found.values())


def _width(kind: str, header: Header, root: str, mark: str) -> int:
    """How wide a piece of this kind is; 0 where it is none."""
    shape, dims = header.shapes[mark], len(header.shapes[mark])
    if kind == "clip":
        return shape[1] if dims == 2 and shape[0] == NUM_CLIP else 0
    if kind == "t5":
        rows = _rows(header, root + "shared.weight", root + "encoder.embed_tokens.weight")
        again = root + "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"  # as multilingual ones have it
        return shape[1] if dims == 2 and 0 < rows <= MAX_T5 and again not in header.shapes else 0
    if kind in {"qwen3", "qwen_vl"}:
        tokens = [f"{root}{m}embed_tokens.weight" for m in ("", "model.", "language_model.", "model.language_model.")]
        sees, is_gemma = "visual." in header.text, "feedforward_layernorm" in header.text
        is_it = _rows(header, *tokens) >= MIN_QWEN and sees == (kind == "qwen_vl") and not is_gemma
        return next(header.shapes[t][1] for t in tokens if t in header.shapes) if is_it else 0
    has_statistics = root + "bn.running_mean" in header.shapes
    fits = {"kl": dims == 4 and not has_statistics, "kl_flux2": dims == 4 and has_statistics, "qwen_vae": dims == 5}
    return shape[1] if fits[kind] else 0


def _rows(header: Header, *names: str) -> int:
    return next((header.shapes[name][0] for name in names if len(header.shapes.get(name, ())) == 2), 0)


def find_pieces(path: Path, layout: FileLayout, has: "frozenset[str] | set[str]" = frozenset()) -> tuple[dict[str, Piece], list[Need]]:
    """(pieces by component, what is missing) for a denoiser's file: first those in it, then near it; `has` = found elsewhere already."""
    own = pieces_in(path)
    widths = layout.widths(read_header(path)) if own or not {need.component for need in layout.needs} <= has else {}
    near: list[Piece] | None = None
    found, missing = {}, []
    for need in layout.needs:
        wanted = (need.kind, widths.get(need.component))
        piece = next((p for p in own if (p.kind, p.width) == wanted), None)
        if piece is None and need.component not in has:
            near = pieces_near(path) if near is None else near
            fitting = [p for p in near if (p.kind, p.width) == wanted]
            piece = min(fitting, key=lambda p, hint=need.hint: _preference(p, hint), default=None)
        if piece is not None:
            found[need.component] = piece
        elif need.component not in has and not need.optional:
            missing.append(need)
    return found, missing


def _preference(piece: Piece, hint: str) -> tuple:
    """Of several that fit: one whose name says so, whole numbers before 8 bits, the nearest name."""
    return not re.search(hint, piece.path.name, re.IGNORECASE), bool(identify(piece.path).quantised), piece.path.name, str(piece.path)


def say_missing(path: Path, layout: FileLayout, missing: list[Need]) -> str:
    """Which pieces are missing and where they may be put, on one line."""
    widths = layout.widths(read_header(path))
    told = []
    for need in missing:
        kind = KINDS[need.kind]
        unit = "channels" if kind.folder == "vae" else "wide"
        told.append(f"its {kind.title} ({widths[need.component]} {unit}; usually {need.usual})")
    where = " and ".join(sorted({KINDS[need.kind].folder for need in missing}))
    verb, them = ("is", "it") if len(told) == 1 else ("are", "them")
    return f"{' and '.join(told)} {verb} missing: put {them} beside the file, or into {where} next to the folder {path.parent.name}"


def find_vae(path: Path) -> Piece | None:
    """The autoencoder of a checkpoint of Stable Diffusion 1.x, 2.x or XL: its own, else one near it; None where there is none.

    Both kinds are alike but for what they compute, so that one near it also has to say of which it is, by `xl` in its name or not.
    """
    is_xl = " XL" in identify(path).title
    own = (p for p in pieces_in(path) if p.kind == "kl")
    near = (p for p in pieces_near(path) if (p.kind, p.width) == ("kl", 4) and ("xl" in p.path.name.lower()) == is_xl)
    return next(own, None) or next(near, None)


def pieces_near(path: Path) -> list[Piece]:
    """The pieces in the files beside this one, and in the folders of text encoders and autoencoders next to its own folder."""
    found = []
    for count, file in enumerate(_files(path)):
        if count == MAX_FILES:
            break
        with contextlib.suppress(StudioError, OSError):
            kind = identify(file)
            if kind.what in {TEXT, VAE} and not kind.shard and kind.is_readable:
                found += pieces_in(file)
    return found


def _files(path: Path) -> Iterator[Path]:
    folders = [path.parent]
    for above in path.parents[: HEIGHT + 1]:
        for folder in _folders(above):
            if folder.name.lower() in FOLDERS:
                folders += [folder, *_folders(folder)]
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(OSError):
            yield from (f for f in sorted(folder.iterdir()) if f.suffix == ".safetensors" and f != path and f.is_file())


def _folders(place: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [f for f in sorted(place.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    return []
