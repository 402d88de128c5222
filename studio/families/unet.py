"""What the UNets of Stable Diffusion 1.x, 2.x and XL have in common: layers that adapters sit on, facts, loading."""

from pathlib import Path
from typing import Any

from studio.families import components
from studio.families.base import Facts
from studio.families.clip import tokenizer_of
from studio.families.configured import REFERENCE_PX, sample_side
from studio.families.discrete import load_schedule
from studio.families.latents import vae_scale

TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed_forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    "conv": ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
}
TE_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def facts(path: Path, modules: dict[str, Any], scheduler: Any, title: str, licence: str) -> Facts:
    """What the checkpoint says about itself, by its configurations."""
    unet, vae = modules["unet"].config, modules["vae"].config
    scale = vae_scale(modules["vae"])
    size_px = sample_side(unet.sample_size) * scale or REFERENCE_PX
    return Facts(
        size_px=size_px,
        pixel_multiple=max(scale, min(scale * 2 ** (len(unet.block_out_channels) - 1), size_px // 4)),
        vae_scale=scale,
        latent_channels=vae.latent_channels,
        prediction_type=scheduler.config.prediction_type,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        title=title,
        licence=licence,
    )


def load_folder(path: Path, classes: dict[str, Any], dtype: Any, device: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The modules of these classes beside UNet and VAE, a CLIP tokenizer for each, and the noise schedule of a diffusers folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTokenizer

    modules = components.load_modules(path, {"unet": UNet2DConditionModel, "vae": AutoencoderKL, **classes}, dtype, device)
    tokenizers = components.load_tokenizers(path, {tokenizer_of(name): CLIPTokenizer for name in classes})
    return modules, tokenizers, load_schedule(path)
