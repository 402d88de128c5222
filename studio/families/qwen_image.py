"""Qwen-Image (Wu 2025): a transformer over packed latents of a video autoencoder, Qwen2.5-VL text, guidance of kept length."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families import assembly, components, flow, language, packing
from studio.families.base import Card, Cond, Denoising, Latent, Parts
from studio.families.file_layout import COUNT, FileLayout, Need, Size
from studio.families.file_needs import QUARTER
from studio.families.flow import add_noise, sample_t, target, weight
from studio.families.language import collate
from studio.families.packing import OF_PICTURE, OF_TEXT, PATCH

if TYPE_CHECKING:
    from diffusers import QwenImagePipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "collate", "sample_t", "target", "weight"]

card = Card(
    key="qwen_image",
    title="Qwen-Image",
    titles=("Qwen-Image",),
    licence="Apache 2.0",
    denoiser="transformer",
    text_encoders=("text_encoder",),
    targets={
        "attention": (*OF_PICTURE, *OF_TEXT),
        "feed_forward": ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
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
        lambda header: "qwen_image",
        (
            Size("num_layers", COUNT, ("transformer_blocks.",)),
            Size("in_channels", 1, ("img_in.weight",)),
            Size("out_channels", 0, ("proj_out.weight",), per=PATCH * PATCH),
            Size("joint_attention_dim", 1, ("txt_in.weight",)),
            Size("attention_head_dim", 0, ("transformer_blocks.0.attn.norm_q.weight",)),
            Size("num_attention_heads", 0, ("img_in.weight",), per="attention_head_dim"),
        ),
        (
            Need(
                "text_encoder",
                "qwen_vl",
                "joint_attention_dim",
                "qwen_2.5_vl_7b.safetensors",
                "qwen_vl/config.json",
                tokenizer=("tokenizer", "qwen"),
            ),
            Need("vae", "qwen_vae", "in_channels", "qwen_image_vae.safetensors", share=QUARTER, hint="qwen"),
        ),
    ),
    refuses=language.no_word("Qwen-Image", "Qwen2.5-VL"),
)

PIPELINES = {"QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"}
MAX_TOKENS = 512
USUAL_SIDE = 128  # latent positions: nothing in its files says for which size it was made


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family, or a file with its transformer."""
    return assembly.recognise(path, card.key, PIPELINES)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder, or of a file and what belongs to it, without network; StudioError if unusable."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    classes = {"transformer": QwenImageTransformer2DModel, "vae": AutoencoderKLQwenImage}
    classes |= {"text_encoder": Qwen2_5_VLForConditionalGeneration}
    modules, tokenizers, rest = components.load(path, classes, {"tokenizer": Qwen2Tokenizer}, dtype, device)
    scheduler, channels = flow.load_scheduler(rest), modules["vae"].config.z_dim
    packing.check_channels(path, modules["transformer"], channels)
    width = modules["text_encoder"].config.get_text_config().hidden_size
    language.check_width(path, modules["transformer"].config.joint_attention_dim, width)
    scale = 2 ** len(modules["vae"].config.temperal_downsample)
    facts = flow.facts_of(card, scheduler, USUAL_SIDE * scale, scale, channels)
    return Parts(modules, tokenizers, scheduler, facts, device, dtype, path, {"patch": PATCH})


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """Posterior mean and std [B, C, h, w] of px [B, 3, H, W] in [-1, 1], each channel by its own mean and scale."""
    import torch

    vae = parts.modules["vae"]
    with torch.no_grad():
        posterior = vae.encode(px[:, :, None].to(vae.device, vae.dtype)).latent_dist  # pictures are films of one frame
    mean, scale = _statistics(vae)
    return Latent((posterior.mean[:, :, 0].float() - mean) / scale, posterior.std[:, :, 0].float() / scale)


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of latents z [B, C, h, w]."""
    import torch

    vae = parts.modules["vae"]
    mean, scale = _statistics(vae)
    with torch.no_grad():
        return vae.decode((z.to(vae.device).float() * scale + mean)[:, :, None].to(vae.dtype)).sample[:, :, 0].float().clamp(-1, 1)


def _statistics(vae: Any) -> "tuple[Tensor, Tensor]":
    """(mean, scale) [1, C, 1, 1] of each latent channel."""
    import torch

    mean, scale = (torch.tensor(values, device=vae.device) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.view(1, -1, 1, 1), scale.view(1, -1, 1, 1)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D], "mask": ones [L]} per caption, as long as it is, cut as the pipeline does."""
    import torch

    pipe = pipeline(parts)
    with torch.no_grad():
        found = [pipe.encode_prompt(caption, device=parts.device, max_sequence_length=MAX_TOKENS)[0][0] for caption in captions]
    return [{"embeds": e, "mask": torch.ones(len(e), dtype=torch.long, device=e.device)} for e in found]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption and what the template puts behind it, tokens that are read)."""
    template, start = _template()
    return len(parts.tokenizers["tokenizer"](template.format(caption)).input_ids) - start, MAX_TOKENS


@cache
def _template() -> tuple[str, int]:
    """(what the pipeline puts around a caption, how many tokens of it come first and are left out)."""
    from diffusers import QwenImagePipeline

    pipe = QwenImagePipeline(scheduler=None, vae=None, text_encoder=None, tokenizer=None, transformer=None)
    return pipe.prompt_template_encode, pipe.prompt_template_encode_start_idx


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """v [B, C, h, w] at noise levels t [B]; `geometry` is not used."""
    height, width = z_t.shape[-2:]
    answer = parts.modules["transformer"](
        hidden_states=packing.pack(z_t),
        timestep=t.to(z_t.dtype),
        encoder_hidden_states=cond["embeds"].to(z_t.dtype),
        encoder_hidden_states_mask=None if bool(cond["mask"].all()) else cond["mask"],
        img_shapes=[[(1, height // PATCH, width // PATCH)]] * len(z_t),
        return_dict=False,
    )[0]
    return packing.unpack(answer, height, width)


def pipeline(parts: Parts) -> "QwenImagePipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(scheduler=parts.scheduler, **parts.modules, **parts.tokenizers)


def guided(text: "Tensor", other: "Tensor", scale: float) -> "Tensor":
    """Classifier-free guidance of [B, C, h, w], each token brought back to the length of the answer to the prompt, as the pipeline does."""
    plain, both = packing.pack(text), packing.pack(flow.guided(text, other, scale))
    kept = both * (plain.norm(dim=-1, keepdim=True) / both.norm(dim=-1, keepdim=True))
    return packing.unpack(kept, *text.shape[-2:])


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts."""
    return flow.denoise(predict, parts, (cond, negative), how, guide=guided)


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (modelspec 1.0.1)."""
    return {"modelspec.architecture": "qwen-image"}
