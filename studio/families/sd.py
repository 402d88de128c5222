"""Stable Diffusion 1.x and 2.x (Rombach 2022): a UNet over KL-VAE latents, conditioned on CLIP text, epsilon or v prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import folder as model_folder
from studio.families.base import Card, Cond, Denoising, Facts, Latent, Parts
from studio.families.discrete import add_noise, sample_t, target, weight
from studio.families.sd_names import checkpoint

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "checkpoint", "sample_t", "target", "weight"]

card = Card(
    key="sd",
    title="Stable Diffusion 1.x / 2.x",
    licence="CreativeML OpenRAIL-M, unless the model says otherwise",
    denoiser="unet",
    text_encoders=("text_encoder",),
    targets={
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
        "conv": ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
    },
    te_targets=("q_proj", "k_proj", "v_proj", "out_proj"),
    export_layouts=("kohya", "diffusers", "peft"),
    model_layouts=("model", "checkpoint"),
    samplers={
        "ddim": ("DDIMScheduler", {}),
        "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        "euler": ("EulerDiscreteScheduler", {}),
        "unipc": ("UniPCMultistepScheduler", {}),
    },
)

PIPELINES = {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"}


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder or a single checkpoint of this family."""
    if path.is_dir():
        return model_folder.check_folder(path).get("_class_name") in PIPELINES
    from studio.families import single_file

    return single_file.is_sd(path)


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen modules of a diffusers folder or a single .safetensors file, without network; StudioError if unusable."""
    if path.is_dir():
        modules, tokenizer, scheduler = _load_folder(path)
    else:
        from studio.families import single_file

        modules, tokenizer, scheduler = single_file.load_sd(path)
    if modules["unet"].config.in_channels != modules["vae"].config.latent_channels:
        raise StudioError(
            f"{path}: this is an inpainting or depth model ({modules['unet'].config.in_channels} input channels): use its plain version"
        )
    for module in modules.values():
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    facts = _facts(modules, scheduler)
    return Parts(modules, {"tokenizer": tokenizer}, scheduler, facts, device, dtype, path)


def _load_folder(path: Path) -> tuple[dict, Any, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    model_folder.check_folder(path)
    try:
        modules = {}
        for name, cls, stem in (
            ("unet", UNet2DConditionModel, "diffusion_pytorch_model"),
            ("vae", AutoencoderKL, "diffusion_pytorch_model"),
            ("text_encoder", CLIPTextModel, "model"),
        ):
            variant = model_folder.weight_variant(path / name, stem)
            modules[name] = cls.from_pretrained(path / name, variant=variant, use_safetensors=True, local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
        scheduler = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
    except StudioError:
        raise
    except Exception as error:  # the libraries raise many kinds; all mean that this folder is no whole model
        raise StudioError(f"{path}: not a whole Stable Diffusion folder ({str(error).splitlines()[0][:200]}): fetch it again") from error
    return modules, tokenizer, scheduler


def _facts(modules: dict, scheduler: Any) -> Facts:
    unet, vae = modules["unet"].config, modules["vae"].config
    vae_scale = 2 ** (len(vae.block_out_channels) - 1)
    sample_size = unet.sample_size if isinstance(unet.sample_size, int) else max(unet.sample_size)
    size_px = sample_size * vae_scale
    multiple = max(vae_scale, min(vae_scale * 2 ** (len(unet.block_out_channels) - 1), size_px // 4))
    return Facts(
        size_px=size_px,
        pixel_multiple=multiple,
        vae_scale=vae_scale,
        latent_channels=vae.latent_channels,
        prediction_type=scheduler.config.prediction_type,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        title="Stable Diffusion 2.x" if unet.cross_attention_dim == 1024 else "Stable Diffusion 1.x",
        licence=card.licence,
    )


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """Posterior mean and std [B, C, h, w] of px [B, 3, H, W] in [-1, 1], times the scaling factor; fp32 where the VAE asks for it."""
    import torch

    vae = _vae(parts)
    with torch.no_grad():
        posterior = vae.encode(px.to(parts.device, vae.dtype)).latent_dist
    scale = vae.config.scaling_factor
    return Latent((posterior.mean * scale).float(), (posterior.std * scale).float())


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of latents z [B, C, h, w]."""
    import torch

    vae = _vae(parts)
    with torch.no_grad():
        return vae.decode(z.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample.float().clamp(-1, 1)


def _vae(parts: Parts) -> Any:
    import torch

    vae = parts.modules["vae"]
    if vae.config.force_upcast and vae.dtype == torch.float16:
        vae.to(torch.float32)
    return vae


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """One {"embeds": [L, D]} per caption, padded and cut to the tokenizer's length as the pipeline does; keeps gradients."""
    import torch

    tokenizer, encoder = parts.tokenizers["tokenizer"], parts.modules["text_encoder"]
    ids = tokenizer(captions, padding="max_length", max_length=_max_tokens(parts), truncation=True, return_tensors="pt")
    uses_mask = getattr(encoder.config, "use_attention_mask", False)
    mask = ids.attention_mask.to(encoder.device) if uses_mask else None
    frozen = not any(p.requires_grad for p in encoder.parameters())
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        embeds = encoder(ids.input_ids.to(encoder.device), attention_mask=mask)[0]
    return [{"embeds": e} for e in embeds]


def _max_tokens(parts: Parts) -> int:
    return min(parts.tokenizers["tokenizer"].model_max_length, parts.modules["text_encoder"].config.max_position_embeddings)


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """(tokens of the caption with its two end marks, tokens the model reads)."""
    return len(parts.tokenizers["tokenizer"](caption).input_ids), _max_tokens(parts)


def collate(conds: list[Cond]) -> Cond:
    """A batch [B, L, D] from single captions."""
    import torch

    return {"embeds": torch.stack([c["embeds"] for c in conds])}


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """The UNet's output [B, C, h, w] for noisy latents z_t at timesteps t [B]; `geometry` is not used by this family."""
    return parts.modules["unet"](z_t, t, encoder_hidden_states=cond["embeds"], return_dict=False)[0]


def pipeline(parts: Parts) -> "StableDiffusionPipeline":
    """A diffusers pipeline that shares the modules."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        **{name: parts.modules[name] for name in ("unet", "vae", "text_encoder")},
        tokenizer=parts.tokenizers["tokenizer"],
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for already encoded prompts, by the diffusers pipeline."""
    pipe = pipeline(parts)
    pipe.scheduler = how.scheduler
    pipe.set_progress_bar_config(disable=True)
    height, width = (side * parts.facts.vae_scale for side in how.noise.shape[-2:])
    return pipe(
        prompt_embeds=cond["embeds"],
        negative_prompt_embeds=negative["embeds"],
        latents=how.noise,
        width=width,
        height=height,
        num_inference_steps=how.steps,
        guidance_scale=how.guidance,
        generator=how.generators,
        output_type="latent",
        callback_on_step_end=lambda *_: how.tick() or {},
    ).images


def export_metadata(parts: Parts) -> dict[str, str]:
    """What readers of adapter files want to know about the base (kohya `ss_*`, modelspec 1.0.1)."""
    v2 = parts.modules["unet"].config.cross_attention_dim == 1024
    v_prediction = parts.facts.prediction_type == "v_prediction"
    architecture = ("stable-diffusion-v2-768-v" if v_prediction else "stable-diffusion-v2-512") if v2 else "stable-diffusion-v1"
    return {
        "ss_base_model_version": "sd_v2" if v2 else "sd_v1",
        "ss_v2": str(v2),
        "ss_clip_skip": "None",
        "modelspec.architecture": architecture,
        "modelspec.prediction_type": "v" if v_prediction else "epsilon",
    }
