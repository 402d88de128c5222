"""Lumina-Image 2 (Qin 2025): a transformer over latents and captions in one row, Gemma 2 text behind a system prompt; answers z - eps."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components, flow, language
from studio.families.base import Card, Cond, Denoising, Parts
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.language import collate
from studio.families.latents import decode_image, encode_image, vae_scale

if TYPE_CHECKING:
    from diffusers import Lumina2Pipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]

PATCH = 2  # latent positions per side of a token
card = Card(
    key="lumina2",
    title="Lumina-Image 2",
    titles=("Lumina 2",),
    licence="Apache 2.0",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={
        "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        "feed_forward": ("feed_forward.linear_1", "feed_forward.linear_2", "feed_forward.linear_3"),
    },
    te_targets=(),
    presets="flux",
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    readers="diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    guidance=4.0,
    completed_by="Alpha-VLLM/Lumina-Image-2.0",
    refuses=language.no_word("Lumina-Image 2", "Gemma 2"),
)

PIPELINES = {"Lumina2Pipeline", "Lumina2Text2ImgPipeline"}
MAX_TOKENS = 256
BEFORE = (  # what stands before a caption: the system prompt of the published pipeline, which it was trained with, and a mark
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based on textual prompts "
    "or user prompts. <Prompt Start> "
)


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file beside one, without network; StudioError if unusable."""
    from diffusers import AutoencoderKL, Lumina2Transformer2DModel
    from transformers import Gemma2Model, GemmaTokenizer, Qwen2Tokenizer

    classes = {"transformer": Lumina2Transformer2DModel, "vae": AutoencoderKL, "text_encoder": Gemma2Model}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": (GemmaTokenizer, Qwen2Tokenizer)}, dtype, device)
    transformer, vae, scheduler = modules["transformer"].config, modules["vae"], flow.load_scheduler(rest)
    if transformer.in_channels != vae.config.latent_channels:
        told = f"its VAE writes {vae.config.latent_channels} channels, its transformer reads {transformer.in_channels}"
        raise StudioError(f"{path}: {told}: put the VAE of this very model there")
    language.check_width(path, transformer.cap_feat_dim, modules["text_encoder"].config.hidden_size)
    scale = vae_scale(vae)
    facts = flow.facts_of(card, scheduler, transformer.sample_size * scale, scale, vae.config.latent_channels)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": PATCH})


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "mask": [L]} per caption behind the pipeline's system prompt; an empty one is read as a negative prompt."""
    return [_encode(parts, [BEFORE + caption if caption else caption])[0] for caption in captions]


def encode_negative(parts: Parts, captions: list[str]) -> list[Cond]:
    """The same of negative prompts, which are read without the system prompt."""
    return _encode(parts, captions)


def _encode(parts: Parts, texts: list[str]) -> list[Cond]:
    import torch

    with torch.no_grad():
        embeds, mask = pipeline(parts)._get_gemma_prompt_embeds(list(texts), parts.device, MAX_TOKENS)
    return [{"embeds": e, "mask": m} for e, m in zip(embeds, mask, strict=True)]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption behind the system prompt, tokens that are read)."""
    return len(parts.tokenizers["tokenizer"](BEFORE + caption).input_ids), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]: minus what the transformer answers; `geometry` is not used."""
    return -parts.modules["transformer"](z_t, 1 - t.to(z_t.dtype), cond["embeds"].to(z_t.dtype), cond["mask"], return_dict=False)[0]


def pipeline(parts: Parts) -> "Lumina2Pipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import Lumina2Pipeline

    return Lumina2Pipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def guided(text: "Tensor", other: "Tensor", scale: float) -> "Tensor":
    """Classifier-free guidance whose rows are as long as those of the prompt's own answer."""
    both = flow.guided(text, other, scale)
    return both * (text.norm(dim=-1, keepdim=True) / both.norm(dim=-1, keepdim=True))


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts."""
    return flow.denoise(predict, parts, (cond, negative), how, guide=guided)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "lumina-2"}
