"""Chroma (Rock 2025): FLUX.1's transformer without CLIP and guidance input, modulated by one small network; T5 text with a mask."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families import assembly, components, flow, language, packing
from studio.families.base import Card, Cond, Denoising, Parts
from studio.families.editions import says
from studio.families.file_layout import COUNT, FileLayout, Size
from studio.families.file_needs import MMDIT, kl, t5
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.header import Header
from studio.families.language import collate
from studio.families.latents import decode_image, encode_image, vae_scale
from studio.families.packing import PATCH

if TYPE_CHECKING:
    from diffusers import ChromaPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]


def _edition(header: Header) -> str:
    """Chroma1-HD and what is made from it, or Base or Flash, which space their noise levels otherwise: told by names that say so."""
    named = next((name for name in ("base", "flash") if says(header, rf"(?i)chroma.*(?<![a-z]){name}(?![a-z])")), "")
    return f"chroma_{named}" if named else "chroma"


card = Card(
    key="chroma",
    title="Chroma",
    titles=("Chroma",),
    licence="Apache 2.0",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets=packing.TARGETS,
    te_targets=(),
    presets="flux",
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    readers="ComfyUI, diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    file_shape_px=(1024, 16),
    file=FileLayout(
        _edition,
        (
            *MMDIT,
            Size("approximator_num_channels", 1, ("distilled_guidance_layer.in_proj.weight",)),
            Size("approximator_hidden_dim", 0, ("distilled_guidance_layer.in_proj.weight",)),
            Size("approximator_layers", COUNT, ("distilled_guidance_layer.layers.",)),
        ),
        (t5("text_encoder", "tokenizer"), kl("ae.safetensors", hint=r"\bae\b|flux|chroma")),
    ),
    refuses=language.no_word("Chroma", "T5"),
)

PIPELINES = {"ChromaPipeline", "ChromaImg2ImgPipeline"}
MAX_TOKENS = 512


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKL, ChromaTransformer2DModel
    from transformers import T5EncoderModel, T5Tokenizer

    classes = {"transformer": ChromaTransformer2DModel, "vae": AutoencoderKL, "text_encoder": T5EncoderModel}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": T5Tokenizer}, dtype, device)
    scheduler = flow.load_scheduler(rest)
    packing.check_channels(path, modules["transformer"], modules["vae"].config.latent_channels)
    language.check_width(path, modules["transformer"].config.joint_attention_dim, modules["text_encoder"].config.d_model)
    vae = modules["vae"]
    facts = flow.facts_of(card, scheduler, vae.config.sample_size, vae_scale(vae), vae.config.latent_channels)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": PATCH})


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": T5's [L, D], "mask": [L]} per caption: the transformer sees one pad behind each caption, as it was trained."""
    import torch

    with torch.no_grad():
        embeds, _, mask, *_ = pipeline(parts).encode_prompt(
            list(captions), device=parts.device, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS
        )
    return [{"embeds": e, "mask": m} for e, m in zip(embeds, mask, strict=True)]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its end mark, tokens that T5 reads)."""
    return len(parts.tokenizers["tokenizer"](caption).input_ids), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]; `geometry` is not used."""
    import torch

    tokens = packing.pack(z_t)
    mask = torch.cat([cond["mask"].to(z_t.dtype), tokens.new_ones(tokens.shape[:2])], 1)
    answer = parts.modules["transformer"](
        hidden_states=tokens,
        timestep=t.to(z_t.dtype),
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        txt_ids=torch.zeros(cond["embeds"].shape[1], 3, device=z_t.device),
        img_ids=packing.positions(z_t),
        attention_mask=mask,
        return_dict=False,
    )[0]
    return packing.unpack(answer, *z_t.shape[-2:])


def pipeline(parts: Parts) -> "ChromaPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import ChromaPipeline

    return ChromaPipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts."""
    return flow.denoise(predict, parts, (cond, negative), how)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "chroma"}
