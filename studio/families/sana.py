"""Sana (Xie 2024): a linear transformer over latents of a deep-compression autoencoder, Gemma 2 text behind a written instruction."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components, flow, language
from studio.families.base import Card, Cond, Denoising, Latent, Parts
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.language import collate

if TYPE_CHECKING:
    from diffusers import SanaPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "sample_t", "target", "weight"]

card = Card(
    key="sana",
    title="Sana",
    titles=("Sana",),
    licence="Apache 2.0 (its weights: as the model says)",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={"attention": ("to_q", "to_k", "to_v", "to_out.0"), "feed_forward": ("ff.conv_inverted", "ff.conv_point")},
    te_targets=(),
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    presets="flux",
    completed_by="Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    readers="diffusers, and ComfyUI with nodes for Sana",
    timesteps=flow.KIND,
    guidance=4.5,
    refuses=language.no_word("Sana", "Gemma 2"),
)

PIPELINES = {"SanaPipeline"}
MAX_TOKENS = 300


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file beside one, without network; StudioError if unusable."""
    from diffusers import AutoencoderDC, SanaTransformer2DModel
    from transformers import Gemma2Model, GemmaTokenizer, Qwen2Tokenizer

    classes = {"transformer": SanaTransformer2DModel, "vae": AutoencoderDC, "text_encoder": Gemma2Model}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": (GemmaTokenizer, Qwen2Tokenizer)}, dtype, device)
    transformer, vae, scheduler = modules["transformer"].config, modules["vae"].config, flow.load_scheduler(rest)
    if transformer.in_channels != vae.latent_channels:
        raise StudioError(
            f"{path}: its VAE writes {vae.latent_channels} channels, its transformer reads {transformer.in_channels}: "
            "put the VAE of this very model there"
        )
    language.check_width(path, transformer.caption_channels, modules["text_encoder"].config.hidden_size)
    scale = 2 ** (len(vae.encoder_block_out_channels) - 1)
    facts = flow.facts_of(card, scheduler, transformer.sample_size * scale, scale, vae.latent_channels)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": 1})


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """Latents [B, C, h, w] of px [B, 3, H, W] in [-1, 1], a point each, times the scaling factor."""
    import torch

    vae = parts.modules["vae"]
    with torch.no_grad():
        return Latent((vae.encode(px.to(vae.device, vae.dtype)).latent * vae.config.scaling_factor).float(), None)


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of latents z [B, C, h, w]."""
    import torch

    vae = parts.modules["vae"]
    with torch.no_grad():
        return vae.decode(z.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample.float().clamp(-1, 1)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "mask": [L]} per caption behind the pipeline's own instruction; an empty one is read as a negative prompt."""
    return [_encode(parts, [caption], _instruction(parts) if caption else None)[0] for caption in captions]


def encode_negative(parts: Parts, captions: list[str]) -> list[Cond]:
    """The same of negative prompts, which are read without the instruction."""
    return _encode(parts, captions, None)


def _instruction(parts: Parts) -> list[str]:
    return inspect.signature(type(pipeline(parts)).__call__).parameters["complex_human_instruction"].default


def _encode(parts: Parts, captions: list[str], instruction: list[str] | None) -> list[Cond]:
    import torch

    with torch.no_grad():
        embeds, mask, *_ = pipeline(parts).encode_prompt(
            list(captions), False, device=parts.device, max_sequence_length=MAX_TOKENS, complex_human_instruction=instruction
        )
    return [{"embeds": e, "mask": m} for e, m in zip(embeds, mask, strict=True)]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption, tokens that are read of it)."""
    return len(parts.tokenizers["tokenizer"](caption).input_ids), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]; `geometry` is not used."""
    transformer, num = parts.modules["transformer"], parts.facts.num_train_timesteps
    return transformer(
        z_t,
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        encoder_attention_mask=cond["mask"],
        timestep=t * num * transformer.config.timestep_scale,
        return_dict=False,
    )[0]


def pipeline(parts: Parts) -> "SanaPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import SanaPipeline

    return SanaPipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts."""
    return flow.denoise(predict, parts, (cond, negative), how)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "sana"}
