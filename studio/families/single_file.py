"""Stable Diffusion 1.x and 2.x as one .safetensors file with the original (CompVis) tensor names: recognised and loaded offline.

Sizes are read from the tensors' shapes. What shapes cannot tell (activations, norms, noise schedule, tokenizer) is in assets/configs.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.store import ASSETS

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    State = dict[str, Tensor]

CONFIGS = ASSETS / "configs"
UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
ADAPTER = re.compile(r"lora[_.]|hada_w|lokr_w|oft_|dora_scale")
HEAD_WIDTH = 64  # of Stable Diffusion 2's UNet and of both text encoders
PREDICTION_TYPES = {"epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}


@dataclass(frozen=True)
class Header:
    """What a .safetensors file says before its data: tensor shapes and metadata."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]

    def has(self, prefix: str) -> bool:
        """Whether any tensor's name starts so."""
        return any(key.startswith(prefix) for key in self.shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor; StudioError if the file lacks it."""
        if key not in self.shapes:
            raise StudioError(f"{self.path}: tensor {key} is missing: fetch the model again")
        return self.shapes[key]

    def count(self, prefix: str) -> int:
        """One more than the largest number after `prefix` in the tensors' names, so that a gap shows up as missing tensors."""
        numbers = [key[len(prefix) :].split(".")[0] for key in self.shapes if key.startswith(prefix)]
        return 1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)


def read_header(path: Path) -> Header:
    """The header of a .safetensors file, read without its data and without torch; StudioError if damaged or cut short."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            return Header(path, shapes, file.metadata() or {})
    except SafetensorError as error:
        raise StudioError(f"{path}: not a whole .safetensors file ({error}): fetch it again") from None


def is_sd(path: Path) -> bool:
    """Whether this is a Stable Diffusion 1.x or 2.x checkpoint, by its header; StudioError if damaged or an adapter."""
    header = read_header(path)
    if not header.has(UNET + "input_blocks."):
        _refuse_adapter(header)
        return False
    has_class_input = header.has(UNET + "label_emb.")  # SDXL, the upscaler and unCLIP
    return not has_class_input and (header.has(CLIP) or header.has(OPEN_CLIP))


def _refuse_adapter(header: Header) -> None:
    if any(ADAPTER.search(key) for key in header.shapes):
        raise StudioError(f"{header.path}: this is an adapter (LoRA), not a base model: give the base model that it was made for")
    if len(header.shapes) <= 2 and all(len(shape) <= 2 for shape in header.shapes.values()):
        raise StudioError(f"{header.path}: this is an embedding (textual inversion), not a base model: give the base model that it was made for")


def load_sd(path: Path) -> "tuple[dict[str, nn.Module], CLIPTokenizer, DDIMScheduler]":
    """The modules unet, vae and text_encoder, each in the precision it is stored in, the tokenizer and the noise schedule.

    The prediction type is what the file declares (`modelspec.prediction_type`, or a tensor named `v_pred`), else epsilon for 1.x,
    and for 2.x, whose epsilon and v checkpoints have equal shapes, what the UNet is seen to do. StudioError if a tensor is missing.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as original
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    header = read_header(path)
    folder = CONFIGS / ("sd21" if header.has(OPEN_CLIP) else "sd15")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    unet, vae, text = _unet_config(header, folder), _vae_config(header, folder), _text_config(header, folder)
    if text["vocab_size"] != len(tokenizer):
        raise StudioError(
            f"{path}: its text encoder knows {text['vocab_size']} tokens, CLIP's tokenizer {len(tokenizer)}: "
            "give this model as a diffusers folder, which brings its own tokenizer"
        )
    if text["hidden_size"] != unet["cross_attention_dim"]:
        raise StudioError(
            f"{path}: the text encoder's width {text['hidden_size']} is not the {unet['cross_attention_dim']} that the UNet reads: "
            "use another copy of the model"
        )
    fill = _Filler(path)
    modules = {
        "unet": fill("UNet", lambda: UNet2DConditionModel.from_config(unet), lambda s: original.convert_ldm_unet_checkpoint(s, unet), UNET),
        "vae": fill("VAE", lambda: AutoencoderKL.from_config(vae), lambda s: original.convert_ldm_vae_checkpoint(s, vae), VAE),
        "text_encoder": fill("text encoder", lambda: CLIPTextModel(CLIPTextConfig(**text)), _text_names(text), OPEN_CLIP if header.has(OPEN_CLIP) else CLIP),
    }
    return modules, tokenizer, _scheduler(header, folder, modules["unet"], len(vae["block_out_channels"]))
