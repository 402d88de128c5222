"""PixArt-Sigma (Chen 2024): a transformer over KL-VAE latents that reads T5 texts by cross attention, epsilon prediction."""

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components
from studio.families.base import Card, Cond, Denoising, Facts, Parts
from studio.families.base import stacked as collate
from studio.families.discrete import SAMPLERS, add_noise, draw, load_schedule, sample_t, target, told_of, weight
from studio.families.file_layout import COUNT, FileLayout, Size, find_tensor
from studio.families.file_needs import kl, t5
from studio.families.header import Header
from studio.families.latents import check_channels, decode_image, encode_image, vae_scale

if TYPE_CHECKING:
    from diffusers import PixArtSigmaPipeline
    from torch import Tensor

MAX_TOKENS = 300  # of T5, as the model was trained
__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]


ALPHA = "this is PixArt-Alpha, which is not trained here: use PixArt-Sigma"


def _places(header: Header, config: dict[str, Any]) -> dict[str, Any]:
    """How large a picture it was made for, by its places; StudioError for PixArt-Alpha, which reads fewer tokens, or sizes too."""
    captions = find_tensor(header, "y_embedder.y_embedding")
    if (captions and captions[0] < MAX_TOKENS) or re.search(r"(csize_embedder|resolution_embedder)\.", header.text):
        raise StudioError(f"{header.path}: {ALPHA}")
    places = find_tensor(header, "pos_embed")
    side = math.isqrt(places[1]) * config["patch_size"] if places else header.declared_px and header.declared_px // 8
    side = side or config["sample_size"]
    return {"sample_size": side, "interpolation_scale": max(side // 64, 1)}


card = Card(
    key="pixart",
    title="PixArt-Sigma",
    titles=("PixArt",),
    licence="CreativeML OpenRAIL++-M, unless the model says otherwise",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={
        "attention": (
            "attn1.to_q",
            "attn1.to_k",
            "attn1.to_v",
            "attn1.to_out.0",
            "attn2.to_q",
            "attn2.to_k",
            "attn2.to_v",
            "attn2.to_out.0",
        ),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    },
    te_targets=(),
    export_layouts=("diffusers", "peft"),
    samplers=SAMPLERS,
    presets="sd",
    readers="ComfyUI",
    file_shape_px=(1024, 16),
    file=FileLayout(
        lambda header: "pixart",
        (
            Size("num_layers", COUNT, ("blocks.", "transformer_blocks.")),
            Size("in_channels", 1, ("x_embedder.proj.weight", "pos_embed.proj.weight")),
            Size("out_channels", 0, ("final_layer.linear.weight", "proj_out.weight"), per=4),
            Size("caption_channels", 1, ("y_embedder.y_proj.fc1.weight", "caption_projection.linear_1.weight")),
            Size("cross_attention_dim", 0, ("x_embedder.proj.weight", "pos_embed.proj.weight")),
            Size("num_attention_heads", 0, ("x_embedder.proj.weight", "pos_embed.proj.weight"), per="attention_head_dim"),
        ),
        (t5("text_encoder", "tokenizer", "caption_channels"), kl("the VAE of Stable Diffusion XL", Fraction(1), "xl|pixart")),
        lambda header, config: _places(header, config),
    ),
    export_note="diffusers' own pipeline has no loader for adapters of PixArt: there, and in your own Python, use peft.",
)

PIPELINES = {"PixArtSigmaPipeline"}


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKL, PixArtTransformer2DModel
    from transformers import T5EncoderModel, T5Tokenizer

    classes = {"transformer": PixArtTransformer2DModel, "vae": AutoencoderKL, "text_encoder": T5EncoderModel}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": T5Tokenizer}, dtype, device)
    check_channels(path, modules["transformer"], modules["vae"])
    if modules["transformer"].use_additional_conditions:
        raise StudioError(f"{path}: its transformer also reads picture sizes, as PixArt-Alpha's does: use PixArt-Sigma")
    if modules["transformer"].config.caption_channels != modules["text_encoder"].config.d_model:
        raise StudioError(f"{path}: its transformer and its text_encoder are of different widths: put the T5 of this very model there")
    scheduler = load_schedule(rest)
    return Parts(modules, tokenizers, scheduler, _facts(modules, scheduler), device, dtype, path)


def _facts(modules: dict, scheduler: Any) -> Facts:
    config, scale = modules["transformer"].config, vae_scale(modules["vae"])
    return Facts(
        size_px=config.sample_size * scale,
        pixel_multiple=config.patch_size * scale,
        vae_scale=scale,
        latent_channels=config.in_channels,
        prediction_type=scheduler.config.prediction_type,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        draw_multiple=config.patch_size * scale,
        title=card.title,
        licence=card.licence,
    )


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "mask": [L]} per caption, in small letters, padded and cut as the pipeline does."""
    import torch

    with torch.no_grad():
        embeds, mask, _, _ = pipeline(parts).encode_prompt(captions, False, device=parts.device, max_sequence_length=MAX_TOKENS)
    return [{"embeds": e, "mask": m} for e, m in zip(embeds, mask, strict=True)]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its end mark, tokens that T5 reads)."""
    return len(parts.tokenizers["tokenizer"](caption.lower().strip()).input_ids), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """The noise [B, C, h, w] that it sees in latents z_t at timesteps t [B], without the variance that it also learned."""
    answer = parts.modules["transformer"](
        z_t,
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        encoder_attention_mask=cond["mask"],
        timestep=t,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]
    return answer[:, : z_t.shape[1]]


def pipeline(parts: Parts) -> "PixArtSigmaPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import PixArtSigmaPipeline

    return PixArtSigmaPipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts, by the diffusers pipeline."""
    told = told_of({"embeds": "prompt_embeds", "mask": "prompt_attention_mask"}, cond, negative)
    plain = {"negative_prompt": None, "clean_caption": False, "use_resolution_binning": False}
    return draw(pipeline(parts), parts, how, **told, **plain, callback=lambda *_: how.tick())


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "pixart-sigma", "modelspec.prediction_type": "epsilon"}
