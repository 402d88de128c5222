"""Stable Diffusion 1.x and 2.x (Rombach 2022): a UNet over KL-VAE latents, conditioned on CLIP text, epsilon or v prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import folder as model_folder
from studio.families import unet
from studio.families.base import Card, Cond, Denoising, Parts
from studio.families.base import stacked as collate
from studio.families.clip import num_tokens, read_texts
from studio.families.discrete import SAMPLERS, add_noise, draw, sample_t, target, told_of, weight
from studio.families.latents import check_channels, decode_image, encode_image
from studio.families.sd_names import checkpoint, kohya_name

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "checkpoint", "collate", "decode_image", "encode_image", "num_tokens", "sample_t", "target", "weight"]

card = Card(
    key="sd",
    title="Stable Diffusion 1.x / 2.x",
    licence="CreativeML OpenRAIL-M, unless the model says otherwise",
    denoiser="unet",
    text_encoders=("text_encoder",),
    targets=unet.TARGETS,
    te_targets=unet.TE_TARGETS,
    export_layouts=("kohya", "diffusers", "peft"),
    model_layouts=("model", "checkpoint"),
    samplers=SAMPLERS,
    kohya_name=kohya_name,
    words={"text_encoder": "emb_params"},
    file_px_by_tensor={"cond_stage_model.model.": 768},  # 2.x, of which those that predict v, the most, were trained so
)

PIPELINES = {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"}


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder or a single checkpoint of this family."""
    if path.is_dir():
        if model_folder.check_folder(path).get("_class_name") not in PIPELINES:
            return False
        file = path / "unet" / "config.json"
        if file.is_file() and model_folder.read_config(file).get("addition_embed_type"):
            told = "its UNet is that of Stable Diffusion XL, but its model_index.json that of 1.x or 2.x"
            raise StudioError(f"{path}: {told}: put the model_index.json of this very model there")
        return True
    from studio.families import single_file, unet_file

    return unet_file.recognise(path, is_xl=False) or single_file.is_sd(path)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder or a single .safetensors file, without network; StudioError if unusable."""
    if path.is_dir():
        from transformers import CLIPTextModel

        modules, tokenizers, scheduler = unet.load_folder(path, {"text_encoder": CLIPTextModel}, dtype, device)
    else:
        from studio.families import single_file, unet_file

        modules, tokenizers, scheduler = unet_file.load(path) or single_file.load_sd(path)
    check_channels(path, modules["unet"], modules["vae"])
    for module in modules.values():
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    title = "Stable Diffusion 2.x" if modules["unet"].config.cross_attention_dim == 1024 else "Stable Diffusion 1.x"
    facts = unet.facts(path, modules, scheduler, title, card.licence)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D]} per caption; keeps gradients."""
    return [{"embeds": e} for e in read_texts(parts, "text_encoder", captions)[0]]


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """The UNet's output [B, C, h, w] for noisy latents z_t at timesteps t [B]; `geometry` is not used by this family."""
    return parts.modules["unet"](z_t, t, encoder_hidden_states=cond["embeds"], return_dict=False)[0]


def pipeline(parts: Parts) -> "StableDiffusionPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        **{name: parts.modules[name] for name in ("unet", "vae", "text_encoder")},
        tokenizer=parts.tokenizers["tokenizer"],
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts, by the diffusers pipeline."""
    told = told_of({"embeds": "prompt_embeds"}, cond, negative)
    return draw(pipeline(parts), parts, how, **told, callback_on_step_end=lambda *_: how.tick() or {})


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (kohya `ss_*`, modelspec 1.0.1)."""
    v2 = parts.modules["unet"].config.cross_attention_dim == 1024
    v_prediction = parts.facts.prediction_type == "v_prediction"
    architecture = ("stable-diffusion-v2-768-v" if v_prediction else "stable-diffusion-v2-512") if v2 else "stable-diffusion-v1"
    return {
        "ss_base_model_version": "sd_v2" if v2 else "sd_v1",
        "ss_v2": str(v2),
        "ss_clip_skip": "None",
        "modelspec.architecture": architecture,
        "modelspec.prediction_type": "v" if v_prediction else "epsilon",
    }
