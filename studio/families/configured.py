"""What a model folder's configurations and headers say without anything being loaded: picture size, scale, multiples. No torch here."""

import contextlib
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.families.folder import component
from studio.families.header import Header, read_header
from studio.store import read_json

REFERENCE_PX = 512
USUAL_SCALE, SINGLE_FILE_MULTIPLE = 8, 64  # of Stable Diffusion, where nothing else is said
USUAL_SIDE = 128  # positions of the autoencoder that a transformer was made for, where nothing else is said


def configuration(path: Path) -> dict[str, Any]:
    """A configuration file's values; empty where it is missing or damaged."""
    with contextlib.suppress(StudioError, OSError):
        value = read_json(path) if path.is_file() else {}
        return value if isinstance(value, dict) else {}
    return {}


def component_headers(folder: Path) -> list[Header]:
    """The headers of a component's weights; of several variants (plain, fp16) of one alone. None where they cannot be read."""
    with contextlib.suppress(OSError, StudioError):
        files = sorted(folder.glob("*.safetensors"))
        plain = [f for f in files if "." not in f.stem]
        return [read_header(f) for f in plain or files]
    return []


def size_px(path: Path, denoiser: str) -> int:
    """The picture size a model was made for; 512 where its configurations do not say."""
    return own_size_px(path, denoiser) or REFERENCE_PX


def own_size_px(path: Path, denoiser: str) -> int | None:
    """The picture size that a model's configurations name; None where they do not, or it is a single file."""
    if path.is_dir():
        side, scale = sample_side(configuration(component(path, denoiser) / "config.json").get("sample_size")), vae_scale(path)
        if side and scale:
            return side * scale
        if denoiser == "transformer" and scale:
            own = configuration(path / "vae" / "config.json").get("sample_size")
            return own if isinstance(own, int) and 0 < own <= 4096 else USUAL_SIDE * scale
    return None


def sample_side(sample_size: Any) -> int:
    """The longer side that a configuration's `sample_size` names, a number or two; 0 where that is none of a model."""
    sides = sample_size if isinstance(sample_size, list | tuple) else [sample_size]
    return max((n for n in sides if type(n) is int and 0 < n <= 1024), default=0)


def pixel_multiple(path: Path, denoiser: str, tokens: int = 1) -> int:
    """What the sides of a training picture divide by, told by a model's configurations as its family tells it once it is loaded.

    `tokens` = positions of the autoencoder per side of a transformer's token, where its configuration does not say.
    """
    config = configuration(component(path, denoiser) / "config.json") if path.is_dir() else {}
    scale, levels = vae_scale(path) or USUAL_SCALE, config.get("block_out_channels")
    if isinstance(levels, list) and levels:
        whole = scale * 2 ** (len(levels) - 1)  # every halving is exact
        return whole if scale == 1 else max(scale, min(whole, size_px(path, denoiser) // 4))
    patch = config.get("patch_size")
    if not isinstance(patch, int) and not config:
        return SINGLE_FILE_MULTIPLE
    return scale * max(patch if isinstance(patch, int) and 0 < patch < 64 else 1, tokens)


def vae_scale(path: Path) -> int | None:
    """Pixels per position of the denoiser, by a model's configurations; 1 where it has no autoencoder, None where they do not say."""
    if path.is_dir() and not (path / "vae").is_dir():
        return 1
    config = configuration(path / "vae" / "config.json")
    halvings = config.get("temperal_downsample")  # of films: one entry for each halving, not for each level
    levels = [*halvings, True] if isinstance(halvings, list) else config.get("block_out_channels", config.get("encoder_block_out_channels"))
    return 2 ** (len(levels) - 1) if isinstance(levels, list) and 0 < len(levels) < 8 else None
