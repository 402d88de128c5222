"""Stable Diffusion 3 and 3.5 (Esser 2024): a transformer over KL-VAE latents and texts of two CLIP towers and T5; rectified flow."""

import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components, flow
from studio.families.base import FLOW, Card, Cond, Denoising, Facts, Parts
from studio.families.base import stacked as collate
from studio.families.file_layout import COUNT, FileLayout, Need, Size, find_tensor
from studio.families.file_needs import CLIP_L, kl, t5
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.header import Header
from studio.families.latents import check_channels, decode_image, encode_image, vae_scale

if TYPE_CHECKING:
    from diffusers import StableDiffusion3Pipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]

ATTENTION = tuple(f"{attn}.{part}" for attn in ("attn", "attn2") for part in ("to_q", "to_k", "to_v", "to_out.0"))
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")  # of the text's side
PATCH = 2  # latent positions per side of a token


def _blocks(header: Header) -> dict[str, Any]:
    """What 3.5 has more: norms of queries and keys, a second attention in some blocks; and how large a picture has places."""
    names = header.text
    places = find_tensor(header, "pos_embed", "pos_embed.pos_embed")
    return {
        "dual_attention_layers": sorted({int(n) for n in re.findall(r"(?:joint|transformer)_blocks\.(\d+)\.(?:x_block\.)?attn2\.", names)}),
        "qk_norm": "rms_norm" if ".attn.ln_q." in names or ".attn.norm_q." in names else None,
        "pos_embed_max_size": math.isqrt(places[1]) if places else 192,
    }


card = Card(
    key="sd3",
    title="Stable Diffusion 3",
    titles=("Stable Diffusion 3",),
    licence="Stability AI Community License",
    denoiser="transformer",
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    targets={"attention": ATTENTION + ADDED, "feed_forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")},
    te_targets=(),
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    presets="flux",
    readers="ComfyUI, diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    guidance=4.5,
    file_shape_px=(1024, 16),
    file=FileLayout(
        lambda header: "sd3",
        (
            Size("num_layers", COUNT, ("joint_blocks.", "transformer_blocks.")),
            Size("in_channels", 1, ("x_embedder.proj.weight", "pos_embed.proj.weight")),
            Size("num_attention_heads", 0, ("x_embedder.proj.weight", "pos_embed.proj.weight"), per="attention_head_dim"),
            Size("joint_attention_dim", 1, ("context_embedder.weight",)),
            Size("caption_projection_dim", 0, ("context_embedder.weight",)),
            Size("pooled_projection_dim", 1, ("y_embedder.mlp.0.weight", "time_text_embed.text_embedder.linear_1.weight")),
        ),
        (
            replace(CLIP_L, share=Fraction(3, 8)),  # 768 and 1280 of 2048 pooled numbers
            Need(
                "text_encoder_2",
                "clip",
                "pooled_projection_dim",
                "clip_g.safetensors",
                "sdxl/text_encoder_2/config.json",
                Fraction(5, 8),
                ("tokenizer_2", "open_clip"),
            ),
            t5("text_encoder_3", "tokenizer_3", optional=True),
            kl("the VAE of Stable Diffusion 3", Fraction(1), hint="sd3"),
        ),
        lambda header, config: _blocks(header),
    ),
)

PIPELINES = {"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}
MAX_TOKENS = 256  # of T5, as the model was trained
CLIP_TOKENS = 77


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it; T5 may be left out. StudioError if unusable."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

    classes = {"transformer": SD3Transformer2DModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModelWithProjection}
    classes |= {"text_encoder_2": CLIPTextModelWithProjection}
    readers = {"tokenizer": CLIPTokenizer, "tokenizer_2": CLIPTokenizer}
    if components.has(path, "text_encoder_3"):
        classes, readers = classes | {"text_encoder_3": T5EncoderModel}, readers | {"tokenizer_3": T5Tokenizer}
    modules, tokenizers, rest = components.load(path, classes, readers, dtype, device)
    check_channels(path, modules["transformer"], modules["vae"])
    _check_texts(path, modules)
    scheduler = flow.load_scheduler(rest)
    patch = modules["transformer"].config.patch_size
    return Parts(modules, tokenizers, scheduler, _facts(modules, scheduler), device, dtype, path, {"patch": patch, "own_levels": True})


def _check_texts(path: Path, modules: dict) -> None:
    """StudioError unless the transformer reads what the text encoders write."""
    config = modules["transformer"].config
    pooled = sum(modules[name].config.projection_dim for name in ("text_encoder", "text_encoder_2"))
    widths = sum(modules[name].config.hidden_size for name in ("text_encoder", "text_encoder_2"))
    if pooled != config.pooled_projection_dim or widths > config.joint_attention_dim:
        told = f"{pooled} pooled numbers and {widths} others, but its transformer reads {config.pooled_projection_dim}"
        raise StudioError(f"{path}: its CLIP text encoders give {told} and {config.joint_attention_dim}: use another copy of the model")
    first, second = (modules[name].config.hidden_size for name in ("text_encoder", "text_encoder_2"))
    if first > second:  # their numbers are read side by side, in this order
        raise StudioError(
            f"{path}: its text_encoder is wider than its text_encoder_2 ({first}, {second}): the two are swapped: put them right"
        )
    if "text_encoder_3" in modules and modules["text_encoder_3"].config.d_model != config.joint_attention_dim:
        raise StudioError(f"{path}: its transformer and its text_encoder_3 are of different widths: put the T5 of this very model there")


def _facts(modules: dict, scheduler: Any) -> Facts:
    config, scale = modules["transformer"].config, vae_scale(modules["vae"])
    title = "Stable Diffusion 3.5" if config.qk_norm else card.title
    return Facts(
        size_px=config.sample_size * scale,
        pixel_multiple=config.patch_size * scale,
        vae_scale=scale,
        latent_channels=config.in_channels,
        prediction_type=FLOW,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        draw_multiple=config.patch_size * scale,
        title=title,
        licence=card.licence,
        note="" if "text_encoder_3" in modules else "this base comes without T5: long captions are read as far as CLIP reads them",
    )


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": CLIP's and T5's [L, D], "pooled": [P]} per caption, padded and cut as the pipeline does."""
    import torch

    with torch.no_grad():
        embeds, _, pooled, _ = pipeline(parts).encode_prompt(
            captions, None, None, device=parts.device, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS
        )
    return [{"embeds": e, "pooled": p} for e, p in zip(embeds, pooled, strict=True)]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its end mark, tokens that T5 reads); CLIP's, and what CLIP reads, where there is no T5."""
    has_t5 = "tokenizer_3" in parts.tokenizers
    tokenizer = parts.tokenizers["tokenizer_3" if has_t5 else "tokenizer"]
    return len(tokenizer(caption).input_ids), MAX_TOKENS if has_t5 else CLIP_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B], which this model is told in thousandths; `geometry` is not used."""
    return parts.modules["transformer"](
        hidden_states=z_t,
        timestep=(t.float() * parts.facts.num_train_timesteps),
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        pooled_projections=cond["pooled"].to(z_t.dtype),
        return_dict=False,
    )[0]


def pipeline(parts: Parts) -> "StableDiffusion3Pipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import StableDiffusion3Pipeline

    absent = {} if "text_encoder_3" in parts.modules else {"text_encoder_3": None, "tokenizer_3": None}
    return StableDiffusion3Pipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers, **absent)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts."""
    return flow.denoise(predict, parts, (cond, negative), how)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "stable-diffusion-3.5" if parts.modules["transformer"].config.qk_norm else "stable-diffusion-3"}
