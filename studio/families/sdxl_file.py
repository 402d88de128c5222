"""Stable Diffusion XL as one .safetensors file with Stability's own tensor names: recognised and loaded offline.

Sizes are read from the tensors' shapes. What shapes cannot tell is in assets/configs/sdxl; the tokenizers are those of 1.x and 2.x.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import StudioError
from studio.families import single_file
from studio.families.header import Header, read_header
from studio.families.sdxl_names import CLIP, OPEN_CLIP
from studio.families.signatures import identify
from studio.families.signs import CHECKPOINT
from studio.families.single_file import CONFIGS
from studio.families.unet_shapes import UNET, conditions, unet_config

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from torch import nn
    from transformers import CLIPTokenizer

TITLE = "Stable Diffusion XL"
FOLDER = CONFIGS / "sdxl"
ROOT = CLIP.removesuffix("text_model.")
TOKENIZERS = {"tokenizer": "sd15", "tokenizer_2": "sd21"}  # CLIP's vocabulary, padded with its end mark, and with token 0
OTHER_KINDS = {  # files that have the names of XL, and are no base model of it
    "refiner": "which only finishes what a base model began: choose the SDXL base model, or a model made from it",
    "inpainting": "which also reads a mask: choose its plain version",
    "another noise schedule": "which is not trained here: choose another model made from the SDXL base",
}


def is_sdxl(path: Path) -> bool:
    """Whether this is a checkpoint of Stable Diffusion XL, by its header; StudioError for those of its relatives."""
    kind = identify(path)
    if kind.what != CHECKPOINT or TITLE not in kind.title:
        return False
    for mark, way_out in OTHER_KINDS.items():
        if mark in kind.title:
            raise StudioError(f"{path}: this is {kind.title}, {way_out}")
    header = read_header(path)
    if not header.has(UNET + "input_blocks."):
        return False
    _check_texts(header)
    single_file.vae_of(header)
    return True


def _check_texts(header: Header) -> None:
    """StudioError where one of its text encoders is missing."""
    for root, what in ((ROOT, "first text encoder (CLIP)"), (OPEN_CLIP, "second text encoder (OpenCLIP)")):
        if not header.has(root):
            raise StudioError(f"{header.path}: this file has no {what}: use a copy of the model that has one, or its diffusers folder")


def load_sdxl(path: Path) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler]":
    """The modules in the precision they are stored in, both tokenizers and the noise schedule; StudioError where a tensor is amiss."""
    try:
        return _load(read_header(path))
    except StudioError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model of this kind has
        raise single_file.no_model(path, error) from error


def _load(header: Header) -> "tuple[dict[str, nn.Module], dict[str, CLIPTokenizer], DDIMScheduler]":
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    readers = {n: CLIPTokenizer.from_pretrained(CONFIGS / f / "tokenizer", local_files_only=True) for n, f in TOKENIZERS.items()}
    _check_texts(header)
    first, second, projection = _text_configs(header)
    for text in (first, second):
        single_file.check_text(header.path, text, len(readers["tokenizer"]))
    unet = unet_config(header, FOLDER) | conditions(header, projection[1])
    modules = single_file.unet_and_vae(header, unet, single_file.vae_config(header, FOLDER))
    state = single_file.clip_state(header, ROOT)
    modules["text_encoder"] = single_file.fill(header.path, "text encoder", lambda: CLIPTextModel(CLIPTextConfig(**first)), state)
    state = {f"text_model.{n}": t for n, t in single_file.open_clip_state(header, OPEN_CLIP, second["num_hidden_layers"]).items()}
    state["text_projection.weight"] = single_file.read_tensors(header.path, OPEN_CLIP + "text_projection")[OPEN_CLIP + "text_projection"].T
    modules["text_encoder_2"] = single_file.fill(
        header.path, "second text encoder", lambda: CLIPTextModelWithProjection(CLIPTextConfig(**second)), state
    )
    return modules, readers, single_file.schedule(header, FOLDER, modules, 1024)


def _text_configs(header: Header) -> tuple[dict, dict, tuple[int, ...]]:
    """Both text encoders' configurations with the file's own sizes, and the shape of the second one's projection [width, pooled]."""
    first, second = (single_file.bundled(FOLDER, f"{name}/config.json") for name in ("text_encoder", "text_encoder_2"))
    projection = header.shape(OPEN_CLIP + "text_projection")
    second |= {"num_hidden_layers": header.count(OPEN_CLIP + "transformer.resblocks."), "projection_dim": projection[1]}
    return first | single_file.clip_sizes(header, ROOT, first), second | single_file.open_clip_sizes(header, OPEN_CLIP), projection
