"""Stable Diffusion XL (Podell 2023): a UNet conditioned on two text encoders, a pooled text, and each picture's size and crop."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import folder as model_folder
from studio.families import unet
from studio.families.base import Card, Cond, Denoising, Parts
from studio.families.base import stacked as collate
from studio.families.clip import num_tokens, read_penultimate
from studio.families.discrete import SAMPLERS, add_noise, draw, sample_t, target, told_of, weight
from studio.families.latents import check_channels, decode_image, encode_image
from studio.families.sdxl_names import PER_LEVEL, checkpoint, kohya_name

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "checkpoint", "collate", "decode_image", "encode_image", "num_tokens", "sample_t", "target", "weight"]

card = Card(
    key="sdxl",
    title="Stable Diffusion XL",
    licence="CreativeML OpenRAIL++-M, unless the model says otherwise",
    denoiser="unet",
    text_encoders=("text_encoder", "text_encoder_2"),
    targets=unet.TARGETS,
    te_targets=unet.TE_TARGETS,
    export_layouts=("kohya", "diffusers", "peft"),
    model_layouts=("model", "checkpoint"),
    samplers=SAMPLERS,
    kohya_name=kohya_name,
    presets="sd",
    words={"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
    file_shape_px=(1024, 32),
)


def card_of(parts: Parts) -> Card:
    """The card for this very base: where a UNet has other levels than XL's (KOALA), readers know its layers by diffusers' names alone."""
    is_plain = parts.modules["unet"].config.layers_per_block == PER_LEVEL - 1
    return card if is_plain else replace(card, kohya_name=partial(kohya_name, stability=False))


PIPELINES = {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"}
NUM_CONDITIONS = 6  # numbers of a picture's geometry; the refiner has five, one of them an aesthetic score
REFINER = "this is the SDXL refiner, which only finishes what a base model began: choose the SDXL base model, or a model made from it"


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder or a single checkpoint of this family; StudioError for the refiner."""
    if not path.is_dir():
        from studio.families import sdxl_file, unet_file

        return unet_file.recognise(path, is_xl=True) or sdxl_file.is_sdxl(path)
    index = model_folder.check_folder(path)
    if index.get("_class_name") not in PIPELINES:
        return False
    if index.get("requires_aesthetics_score") is True or index.get("text_encoder") in (None, [None, None]):
        raise StudioError(f"{path}: {REFINER}")
    return True


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder or a single .safetensors file, without network; StudioError if unusable."""
    zeros = True
    if path.is_dir():
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        classes = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        modules, tokenizers, scheduler = unet.load_folder(path, classes, dtype, device)
        zeros = model_folder.check_folder(path).get("force_zeros_for_empty_prompt") is not False
    else:
        from studio.families import sdxl_file, unet_file

        modules, tokenizers, scheduler = unet_file.load(path) or sdxl_file.load_sdxl(path)
    check_channels(path, modules["unet"], modules["vae"])
    _check_unet(path, modules)
    for module in modules.values():
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    facts = unet.facts(path, modules, scheduler, card.title, card.licence)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"zeros_for_empty": zeros})


def _check_unet(path: Path, modules: dict[str, Any]) -> None:
    """StudioError unless the UNet takes what the two text encoders and the geometry give."""
    config, second = modules["unet"].config, modules["text_encoder_2"].config
    if config.addition_embed_type != "text_time":
        raise StudioError(f"{path}: its UNet takes no pooled text and no picture sizes: this is no SDXL model")
    if modules["unet"].add_embedding.linear_1.in_features == second.projection_dim + (NUM_CONDITIONS - 1) * config.addition_time_embed_dim:
        raise StudioError(f"{path}: {REFINER}")
    widths = modules["text_encoder"].config.hidden_size + second.hidden_size
    pooled = second.projection_dim + NUM_CONDITIONS * config.addition_time_embed_dim
    wanted = modules["unet"].add_embedding.linear_1.in_features
    if (widths, pooled) != (config.cross_attention_dim, wanted):
        told = f"{widths} and {pooled} numbers, but its UNet reads {config.cross_attention_dim} and {wanted}"
        raise StudioError(f"{path}: its text encoders give {told}: use another copy of the model")


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "pooled": [P]} per caption; zeros for an empty one where the model was trained so; keeps gradients."""
    import torch

    hidden, whole = read_penultimate(parts, card.text_encoders, captions)
    embeds, pooled = torch.cat(hidden, dim=-1), whole[-1]
    if parts.extra["zeros_for_empty"]:
        told = torch.tensor([bool(c) for c in captions], device=embeds.device)
        embeds, pooled = torch.where(told[:, None, None], embeds, 0), torch.where(told[:, None], pooled, 0)
    return [{"embeds": e, "pooled": p} for e, p in zip(embeds, pooled, strict=True)]


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """The UNet's output [B, C, h, w] for noisy latents z_t at timesteps t [B], of pictures of this geometry [B, 6]; None = whole ones."""
    import torch

    if geometry is None:
        height, width = (side * parts.facts.vae_scale for side in z_t.shape[-2:])
        geometry = torch.tensor([(height, width, 0, 0, height, width)]).expand(len(z_t), -1)
    more = {"text_embeds": cond["pooled"], "time_ids": geometry.to(z_t)}
    return parts.modules["unet"](z_t, t, encoder_hidden_states=cond["embeds"], added_cond_kwargs=more, return_dict=False)[0]


def pipeline(parts: Parts) -> "StableDiffusionXLPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        **parts.modules,
        **parts.tokenizers,
        scheduler=parts.scheduler,
        force_zeros_for_empty_prompt=parts.extra["zeros_for_empty"],
        add_watermarker=False,
    )


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts, by the diffusers pipeline."""
    told = told_of({"embeds": "prompt_embeds", "pooled": "pooled_prompt_embeds"}, cond, negative)
    return draw(pipeline(parts), parts, how, **told, callback_on_step_end=lambda *_: how.tick() or {})


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (kohya `ss_*`, modelspec 1.0.1)."""
    v_prediction = parts.facts.prediction_type == "v_prediction"
    return {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": "False",
        "ss_clip_skip": "None",
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.prediction_type": "v" if v_prediction else "epsilon",
    }
