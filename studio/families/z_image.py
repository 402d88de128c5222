"""Z-Image (Tongyi 2025): a transformer over lists of pictures and captions, Qwen3 text; it answers z - eps, and is fed 1 - t."""

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components, flow, language
from studio.families.base import Card, Cond, Denoising, Parts
from studio.families.editions import says
from studio.families.file_layout import COUNT, FileLayout, Need, Size, find_tensor
from studio.families.file_needs import kl
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.header import Header
from studio.families.language import collate
from studio.families.latents import decode_image, encode_image, vae_scale

if TYPE_CHECKING:
    from diffusers import ZImagePipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]

PATCH = 2  # latent positions per side of a token


def _head_width(header: Header) -> int:
    return (find_tensor(header, "layers.0.attention.q_norm.weight", "layers.0.attention.norm_q.weight") or (128,))[0]


def _edition(header: Header) -> str:
    """Turbo and its merges, or the plain model, whose noise levels are shifted further: told by names that say Z-Image and no turbo."""
    is_named = re.search(r"(?i)z[-_ ]?image", f"{header.path.stem}\n{header.metadata.get('modelspec.title', '')}")
    is_plain = is_named and not says(header, r"(?i)turbo")  # an architecture of this name is written for both
    return "z_image_base" if is_plain else "z_image"


card = Card(
    key="z_image",
    title="Z-Image",
    titles=("Z-Image",),
    licence="Apache 2.0",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={
        "attention": ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"),
        "feed_forward": ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
    },
    te_targets=(),
    presets="flux",
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    readers="ComfyUI, InvokeAI, diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    guidance=5.0,
    file_shape_px=(1024, 16),
    file=FileLayout(
        _edition,
        (
            Size("n_layers", COUNT, ("layers.",)),
            Size("n_refiner_layers", COUNT, ("noise_refiner.",)),
            Size("in_channels", 1, ("x_embedder.weight", "all_x_embedder.2-1.weight"), per=PATCH * PATCH),
            Size("dim", 0, ("x_embedder.weight", "all_x_embedder.2-1.weight")),
            Size("cap_feat_dim", 1, ("cap_embedder.1.weight",)),
        ),
        (
            Need(
                "text_encoder",
                "qwen3",
                "cap_feat_dim",
                "qwen_3_4b.safetensors",
                "qwen3/config.json",
                tokenizer=("tokenizer", "qwen"),
            ),
            kl("ae.safetensors", Fraction(1), hint=r"\bae\b|flux|z.?image"),
        ),
        lambda header, config: {"n_heads": (heads := max(1, config["dim"] // _head_width(header))), "n_kv_heads": heads},
    ),
    refuses=language.no_word("Z-Image", "Qwen3"),
)

PIPELINES = {"ZImagePipeline", "ZImageImg2ImgPipeline"}
MAX_TOKENS = 512


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKL, ZImageTransformer2DModel
    from transformers import Qwen2Tokenizer, Qwen3Model

    classes = {"transformer": ZImageTransformer2DModel, "vae": AutoencoderKL, "text_encoder": Qwen3Model}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": Qwen2Tokenizer}, dtype, device)
    scheduler = flow.load_scheduler(rest)
    reads, writes = modules["transformer"].config.in_channels, modules["vae"].config.latent_channels
    if reads != writes:
        raise StudioError(f"{path}: its VAE writes {writes} channels, its transformer reads {reads}: put the VAE of this very model there")
    language.check_width(path, modules["transformer"].config.cap_feat_dim, modules["text_encoder"].config.hidden_size)
    vae = modules["vae"]
    facts = flow.facts_of(card, scheduler, vae.config.sample_size, vae_scale(vae), writes)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": PATCH})


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "mask": ones [L]} per caption, as long as it is, cut as the pipeline does."""
    import torch

    with torch.no_grad():
        embeds, _ = pipeline(parts).encode_prompt(
            list(captions), device=parts.device, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS
        )
    return [{"embeds": e, "mask": torch.ones(len(e), dtype=torch.long, device=e.device)} for e in embeds]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption within the chat template, tokens that are read)."""
    return language.num_chat_tokens(parts, caption, thinking=True), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]: minus what the transformer answers; `geometry` is not used."""
    import torch

    captions = [embeds[mask.bool()].to(z_t.dtype) for embeds, mask in zip(cond["embeds"], cond["mask"], strict=True)]
    answers = parts.modules["transformer"](list(z_t.unsqueeze(2).unbind(0)), 1 - t, captions, return_dict=False)[0]
    return -torch.stack(answers).squeeze(2)


def pipeline(parts: Parts) -> "ZImagePipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import ZImagePipeline

    return ZImagePipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts.

    The guidance scale means what it means elsewhere, 1 = none: one more than what the pipeline is told.
    """
    return flow.denoise(predict, parts, (cond, negative), how)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "z-image"}
