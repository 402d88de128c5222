"""FLUX.1 (Black Forest Labs 2024): a transformer over packed latents, T5 and CLIP text, guidance as an input where distilled (dev)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families import assembly, components, flow, language, packing
from studio.families.base import Card, Cond, Denoising, Facts, Parts
from studio.families.base import stacked as collate
from studio.families.file_layout import FileLayout, Size
from studio.families.file_needs import CLIP_L, MMDIT, kl, t5
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.header import Header
from studio.families.latents import decode_image, encode_image, vae_scale
from studio.families.packing import PATCH

if TYPE_CHECKING:
    from diffusers import FluxPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "decode_image", "encode_image", "sample_t", "target", "weight"]


def _has_guidance(header: Header) -> bool:
    """Whether this is dev, which was distilled with guidance as an input."""
    return "guidance_in." in header.text or "guidance_embedder." in header.text


card = Card(
    key="flux",
    title="FLUX.1",
    titles=("FLUX.1 dev", "FLUX.1 schnell", "FLUX.1"),
    licence="FLUX.1 [dev] Non-Commercial, or Apache 2.0 for schnell",
    denoiser="transformer",
    text_encoders=("text_encoder", "text_encoder_2"),
    targets=packing.TARGETS,
    te_targets=(),
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    train_guidance=1.0,
    readers="ComfyUI, InvokeAI, Forge, diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    guidance=3.5,
    negative=False,
    file_shape_px=(1024, 16),
    file=FileLayout(
        lambda header: "flux" if _has_guidance(header) else "flux_schnell",
        (*MMDIT, Size("pooled_projection_dim", 1, ("vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight"))),
        (CLIP_L, t5("text_encoder_2", "tokenizer_2"), kl("ae.safetensors", hint=r"\bae\b|flux")),
    ),
    refuses=language.no_word("FLUX.1", "T5"),
)

PIPELINES = {"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"}
MAX_TOKENS, MAX_TOKENS_WITHOUT_GUIDANCE = 512, 256  # of T5, as dev and schnell were trained


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

    classes = {"transformer": FluxTransformer2DModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
    readers = {"tokenizer": CLIPTokenizer, "tokenizer_2": T5Tokenizer}
    modules, tokenizers, rest = components.load(path, classes, readers, dtype, device)
    scheduler = flow.load_scheduler(rest)
    packing.check_channels(path, modules["transformer"], modules["vae"].config.latent_channels)
    language.check_width(path, modules["transformer"].config.joint_attention_dim, modules["text_encoder_2"].config.d_model)
    return Parts(modules, tokenizers, scheduler, _facts(modules, scheduler), device, dtype, path, {"patch": PATCH})


def _facts(modules: dict, scheduler: Any) -> Facts:
    vae, has_guidance = modules["vae"], modules["transformer"].config.guidance_embeds
    told = {"title": "FLUX.1 dev" if has_guidance else "FLUX.1 schnell"}
    told["licence"] = "FLUX.1 [dev] Non-Commercial License" if has_guidance else "Apache 2.0"
    return flow.facts_of(card, scheduler, vae.config.sample_size, vae_scale(vae), vae.config.latent_channels, **told)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": T5's [L, D], "pooled": CLIP's [P]} per caption, padded and cut as the pipeline does."""
    import torch

    with torch.no_grad():
        embeds, pooled, _ = pipeline(parts).encode_prompt(captions, device=parts.device, max_sequence_length=_max_tokens(parts))
    return [{"embeds": e, "pooled": p} for e, p in zip(embeds, pooled, strict=True)]


def _max_tokens(parts: Parts) -> int:
    return MAX_TOKENS if parts.modules["transformer"].config.guidance_embeds else MAX_TOKENS_WITHOUT_GUIDANCE


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its end mark, tokens that T5 reads); CLIP sees the first 77 of its own, for the whole's sake."""
    return len(parts.tokenizers["tokenizer_2"](caption).input_ids), _max_tokens(parts)


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]; guidance `cond["guidance"]` [B], else as in training; `geometry` is not used."""
    import torch

    transformer = parts.modules["transformer"]
    guidance = None
    if transformer.config.guidance_embeds:
        guidance = cond.get("guidance", torch.full(t.shape, card.train_guidance, device=z_t.device))
    answer = transformer(
        hidden_states=packing.pack(z_t),
        timestep=t.to(z_t.dtype),
        guidance=guidance,
        pooled_projections=cond["pooled"].to(z_t.dtype),
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        txt_ids=torch.zeros(cond["embeds"].shape[1], 3, device=z_t.device),
        img_ids=packing.positions(z_t),
        return_dict=False,
    )[0]
    return packing.unpack(answer, *z_t.shape[-2:])


def pipeline(parts: Parts) -> "FluxPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import FluxPipeline

    return FluxPipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise`; the guidance scale is an input of dev, and schnell draws without any."""
    import torch

    told = cond | {"guidance": torch.full((len(how.noise),), how.guidance, device=parts.device)}
    return flow.denoise(predict, parts, (told, None), how)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    kind = "dev" if parts.modules["transformer"].config.guidance_embeds else "schnell"
    return {"modelspec.architecture": f"flux-1-{kind}"}
