"""DDPM in pixel space (Ho 2020): an unconditional UNet over the pixels themselves, without text or autoencoder, epsilon or v prediction."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, first_line
from studio.families import folder as model_folder
from studio.families.base import Card, Cond, Denoising, Facts, Latent, Parts
from studio.families.discrete import add_noise, sample_t, target, weight
from studio.families.schedules import make_schedule

if TYPE_CHECKING:
    from diffusers import DDPMPipeline
    from torch import Tensor

__all__ = ["add_noise", "card", "sample_t", "target", "weight"]

card = Card(
    key="ddpm",
    title="DDPM (pixels, no text)",
    licence="as the model says",
    denoiser="unet",
    text_encoders=(),
    targets={
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "conv": ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
    },
    te_targets=(),
    export_layouts=("peft",),
    samplers={
        "ddim": ("DDIMScheduler", {}),
        "ddpm": ("DDPMScheduler", {}),
        "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        "euler": ("EulerDiscreteScheduler", {}),
        "unipc": ("UniPCMultistepScheduler", {}),
    },
    text=False,
    export_note="No other program has a layout for adapters of this kind of model: diffusers' DDPMPipeline with PEFT draws with it.",
)

PIPELINES = {"DDPMPipeline", "DDIMPipeline"}
COMMON_SCHEDULES = {"linear", "scaled_linear", "squaredcos_cap_v2"}  # of betas, which every solver can build by itself
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as PIL makes a picture grey


def recognise(path: Path) -> bool:
    """Whether `path` is a diffusers folder of this family."""
    return path.is_dir() and model_folder.check_folder(path).get("_class_name") in PIPELINES


def load(path: Path, dtype: Any, device: Any) -> Parts:
    """The frozen UNet and the noise schedule of a diffusers folder, without network; StudioError if unusable."""
    from diffusers import DDPMScheduler, UNet2DModel

    model_folder.check_folder(path)
    unet_folder = model_folder.component(path, "unet")
    variant = model_folder.weight_variant(unet_folder, "diffusion_pytorch_model")
    model_folder.check_values(unet_folder / "config.json", model_folder.read_config(unet_folder / "config.json"))
    file = model_folder.component(path, "scheduler") / "scheduler_config.json"
    scheduler = make_schedule(DDPMScheduler, file, model_folder.read_config(file))
    try:
        options = {"variant": variant, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        unet, told = UNet2DModel.from_pretrained(unet_folder, **options)
    except Exception as error:  # the libraries raise many kinds; all mean that this folder is no whole model
        raise StudioError(f"{path}: not a whole DDPM folder ({first_line(error)}): fetch it again") from error
    missing = told["missing_keys"]
    if missing:
        raise StudioError(f"{path}: {len(missing)} tensors of its UNet are missing, first {missing[0]}: fetch it again")
    refusal = _refuse_unet(unet.config) or _refuse_scheduler(path, unet.config, scheduler)
    if refusal:
        raise StudioError(f"{path}: {refusal}")
    if scheduler.config.beta_schedule not in COMMON_SCHEDULES:
        scheduler.register_to_config(trained_betas=scheduler.betas.tolist())
    unet.to(device=device, dtype=dtype).requires_grad_(False).eval()
    return Parts({"unet": unet}, {}, scheduler, _facts(unet.config, scheduler), device, dtype, path)


def _refuse_unet(config: Any) -> str | None:
    """Why a UNet of this configuration cannot be adapted here; None when it can."""
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        return "its UNet draws by class numbers: only models without any condition are known here"
    if config.in_channels not in (1, 3):
        return f"its UNet reads {config.in_channels} channels: only grey (1) and colour (3) pictures are known here"
    if config.out_channels == 2 * config.in_channels:
        return "its UNet predicts the variance too (Nichol and Dhariwal 2021): only models with a fixed variance are known here"
    if config.out_channels != config.in_channels:
        return f"its UNet reads {config.in_channels} channels and writes {config.out_channels}: this is no plain DDPM"
    size = config.sample_size
    sides = [size, size] if isinstance(size, int) else list(size or [])
    if len(sides) != 2:
        return "its UNet does not say which picture size it was made for (sample_size): use another copy"
    if sides[0] != sides[1]:
        return f"it draws pictures of {sides[1]} x {sides[0]} px: only square ones are known here"
    if sides[0] % _multiple(config):
        return f"its picture size, {sides[0]} px, does not divide by the {_multiple(config)} that its UNet needs: use another copy"
    return None


def _refuse_scheduler(path: Path, unet: Any, scheduler: Any) -> str | None:
    """Why this noise schedule cannot be used; None when it can."""
    config = scheduler.config
    own = model_folder.read_config(model_folder.component(path, "scheduler") / "scheduler_config.json").get("_class_name", "DDPMScheduler")
    if own not in {s.__name__ for s in scheduler.compatibles}:
        return f"its noise schedule, {own}, is not that of a DDPM: use another copy"
    if config.prediction_type not in ("epsilon", "v_prediction"):
        return f"it predicts {str(config.prediction_type)[:40]!r}: only epsilon and v_prediction are known here"
    if str(config.variance_type).startswith("learned"):
        return "its scheduler expects a learned variance, which its UNet does not predict: use another copy"
    return None


def _multiple(config: Any) -> int:
    """What the sides of a picture must divide by: skip connections meet only where every halving is exact."""
    return 2 ** (len(config.block_out_channels) - 1)


def _facts(config: Any, scheduler: Any) -> Facts:
    size_px = config.sample_size if isinstance(config.sample_size, int) else config.sample_size[0]
    multiple = _multiple(config)
    return Facts(
        size_px=size_px,
        pixel_multiple=multiple,
        vae_scale=1,
        latent_channels=config.in_channels,
        prediction_type=scheduler.config.prediction_type,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        draw_multiple=multiple,
        title="DDPM",
        licence=card.licence,
    )


def encode_image(parts: Parts, px: "Tensor") -> Latent:
    """The pixels [B, 3, H, W] in [-1, 1] themselves, a point each; [B, 1, H, W] for a base that knows grey alone."""
    import torch

    if parts.facts.latent_channels == 1:
        px = (px * torch.tensor(LUMA, device=px.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return Latent(px.float(), None)


def decode_image(parts: Parts, z: "Tensor") -> "Tensor":
    """Pixels [B, 3, H, W] in [-1, 1] of z [B, 1 or 3, H, W]."""
    return z.float().clamp(-1, 1).expand(-1, 3, -1, -1)


def encode_text(parts: Parts, captions: list[str]) -> list[Cond]:
    """Nothing for each caption: this family reads none."""
    return [{} for _ in captions]


def num_tokens(parts: Parts, caption: str) -> tuple[int, int]:
    """No token is read, and none is too many."""
    return 0, 0


def collate(conds: list[Cond]) -> Cond:
    """A batch of nothing."""
    return {}


def predict(parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None" = None) -> "Tensor":
    """The UNet's output [B, C, H, W] for noisy pixels z_t at timesteps t [B]; `cond` and `geometry` are not used by this family."""
    return parts.modules["unet"](z_t, t, return_dict=False)[0]


def pipeline(parts: Parts) -> "DDPMPipeline":
    """A diffusers pipeline that shares the UNet."""
    from diffusers import DDPMPipeline

    return DDPMPipeline(parts.modules["unet"], parts.scheduler)


def denoise(parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor":
    """The clean z [B, C, H, W] of `how.noise`, as diffusers' DDPMPipeline draws it, with any solver; fresh noise is each picture's own."""
    scheduler = how.scheduler
    scheduler.set_timesteps(how.steps, device=parts.device)
    options = {"generator": how.generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    z = how.noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = predict(parts, scheduler.scale_model_input(z, t), t.expand(len(z)), cond)
        z = scheduler.step(output, t, z, **options).prev_sample
        how.tick()
    return z


def export_metadata(parts: Parts) -> dict[str, str]:
    """What an adapter file says about the base."""
    v_prediction = parts.facts.prediction_type == "v_prediction"
    return {"modelspec.architecture": "ddpm", "modelspec.prediction_type": "v" if v_prediction else "epsilon"}
