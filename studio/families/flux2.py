"""FLUX.2 klein (Black Forest Labs 2026): a transformer over patches of normalised latents, text from inner layers of Qwen3."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import assembly, components, flow, language
from studio.families import folder as model_folder
from studio.families.base import Card, Cond, Denoising, Latent, Parts
from studio.families.file_layout import FileLayout, Need
from studio.families.file_needs import MMDIT, QUARTER
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.header import Header
from studio.families.language import collate
from studio.families.latents import vae_scale

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "sample_t", "target", "weight"]

PATCH = 2  # positions of the autoencoder per side of one of ours: the denoiser's latents are patches already
TEXT_SIDE = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")


def _refuse_dev(header: Header) -> dict[str, Any]:
    if "guidance_in." in header.text or "guidance_embedder." in header.text:
        raise StudioError(f"{header.path}: this is FLUX.2 dev, which reads prompts with Mistral and is not trained here: use FLUX.2 klein")
    return {}


def _is_distilled(path: Path, rest: Path) -> bool:
    """Whether it draws in a few steps without guidance: as its folder says; of files, all but those that are called base."""
    if (rest / "model_index.json").is_file():
        return model_folder.check_folder(rest).get("is_distilled") is True
    return "base" not in path.stem.lower()


card = Card(
    key="flux2",
    title="FLUX.2 klein",
    titles=("FLUX.2",),
    licence="Apache 2.0 for klein 4B, FLUX Non-Commercial for 9B",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={
        # a single block's first layer makes queries, keys, values and its feed-forward at once
        "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", *TEXT_SIDE, "attn.to_qkv_mlp_proj", "attn.to_out"),
        "feed_forward": ("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out"),
    },
    te_targets=(),
    presets="flux",
    export_layouts=("diffusers", "peft"),
    samplers=flow.SAMPLERS,
    readers="ComfyUI, InvokeAI, diffusers",
    timesteps=flow.KIND,
    patch=PATCH,
    guidance=4.0,
    file_shape_px=(1024, 16),
    file=FileLayout(
        lambda header: "flux2",
        MMDIT,
        (
            Need(
                "text_encoder",
                "qwen3",
                "joint_attention_dim",
                "qwen_3_4b.safetensors for klein 4B, qwen_3_8b.safetensors for 9B",
                "qwen3/config.json",
                Fraction(1, 3),  # three of its layers are read side by side
                ("tokenizer", "qwen"),
            ),
            Need("vae", "kl_flux2", "in_channels", "flux2-vae.safetensors", share=QUARTER),
        ),
        lambda header, config: _refuse_dev(header),
    ),
    refuses=language.no_word("FLUX.2 klein", "Qwen3"),
)

PIPELINES = {"Flux2KleinPipeline"}
MAX_TOKENS = 512


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen2Tokenizer, Qwen3ForCausalLM

    classes = {"transformer": Flux2Transformer2DModel, "vae": AutoencoderKLFlux2, "text_encoder": Qwen3ForCausalLM}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": Qwen2Tokenizer}, dtype, device)
    transformer, vae, scheduler = modules["transformer"].config, modules["vae"], flow.load_scheduler(rest)
    channels = vae.config.latent_channels * PATCH * PATCH
    if transformer.in_channels != channels:
        raise StudioError(
            f"{path}: its VAE makes patches of {channels} channels, its transformer reads {transformer.in_channels}: "
            "put the VAE of this very model there"
        )
    text = modules["text_encoder"].config
    count = max(1, transformer.joint_attention_dim // text.hidden_size)
    language.check_width(path, transformer.joint_attention_dim, count * text.hidden_size)
    scale = vae_scale(vae)
    facts = flow.facts_of(card, scheduler, vae.config.sample_size, scale, channels, vae_scale=PATCH * scale)
    layers = tuple((i + 1) * text.num_hidden_layers // (count + 1) for i in range(count))  # of 36: 9, 18, 27
    is_distilled = _is_distilled(path, rest)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": 1, "layers": layers, "is_distilled": is_distilled})


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """Posterior mean and std [B, 4 C, h, w] of patches of px [B, 3, H, W] in [-1, 1], each channel by its running statistics."""
    import torch

    vae = parts.modules["vae"]
    with torch.no_grad():
        posterior = vae.encode(px.to(vae.device, vae.dtype)).latent_dist
    mean, scale = _statistics(vae)
    return Latent((_patches(posterior.mean.float()) - mean) / scale, _patches(posterior.std.float()) / scale)


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of latents z [B, 4 C, h, w]."""
    import torch
    from torch.nn.functional import pixel_shuffle

    vae = parts.modules["vae"]
    mean, scale = _statistics(vae)
    with torch.no_grad():
        return vae.decode(pixel_shuffle(z.to(vae.device).float() * scale + mean, PATCH).to(vae.dtype)).sample.float().clamp(-1, 1)


def _patches(z: "Tensor") -> "Tensor":
    from torch.nn.functional import pixel_unshuffle

    return pixel_unshuffle(z, PATCH)


def _statistics(vae: Any) -> "tuple[Tensor, Tensor]":
    """(mean, scale) [1, 4 C, 1, 1] of each channel of a patch, as the autoencoder's batch normalisation has counted them."""
    variance = vae.bn.running_var.float() + vae.config.batch_norm_eps
    return vae.bn.running_mean.float().view(1, -1, 1, 1), variance.sqrt().view(1, -1, 1, 1)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D]} per caption, padded and cut as the pipeline does: inner layers of the encoder side by side."""
    import torch

    with torch.no_grad():
        embeds, _ = pipeline(parts).encode_prompt(
            captions, device=parts.device, max_sequence_length=MAX_TOKENS, text_encoder_out_layers=parts.extra["layers"]
        )
    return [{"embeds": e} for e in embeds]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption within the chat template, tokens that are read)."""
    return language.num_chat_tokens(parts, caption, thinking=False), MAX_TOKENS


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, 4 C, h, w] at noise levels t [B]; `geometry` is not used."""
    import torch

    count, channels, height, width = z_t.shape
    zero = torch.zeros(1, dtype=torch.long)
    places = torch.cartesian_prod(zero, torch.arange(height), torch.arange(width), zero)
    of_text = torch.cartesian_prod(zero, zero, zero, torch.arange(cond["embeds"].shape[1]))
    answer = parts.modules["transformer"](
        hidden_states=z_t.flatten(2).transpose(1, 2),
        timestep=t.to(z_t.dtype),
        guidance=None,
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        txt_ids=of_text.to(z_t.device).expand(count, -1, -1),
        img_ids=places.to(z_t.device).expand(count, -1, -1),
        return_dict=False,
    )[0]
    return answer.transpose(1, 2).reshape(count, channels, height, width)


def pipeline(parts: Parts) -> "Flux2KleinPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import Flux2KleinPipeline

    return Flux2KleinPipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers, is_distilled=parts.extra["is_distilled"])


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, 4 C, h, w] of `how.noise`; distilled models draw without guidance, at the shift that the pipeline takes."""
    import math

    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    shift = None
    if parts.scheduler.config.use_dynamic_shifting:
        mu = compute_empirical_mu(flow.num_tokens_of(parts, tuple(how.noise.shape)), how.steps)
        shift = math.exp(mu) if parts.scheduler.config.time_shift_type == "exponential" else mu
    return flow.denoise(predict, parts, (cond, None if parts.extra["is_distilled"] else negative), how, shift)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "flux-2-klein"}
