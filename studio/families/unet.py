"""What the UNets of Stable Diffusion 1.x, 2.x and XL have in common: layers that adapters sit on, solvers, noise schedule, facts."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import folder as model_folder
from studio.families.base import Facts
from studio.families.latents import vae_scale

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

TARGETS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed_forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    "conv": ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
}
TE_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
SAMPLERS = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
PREDICTIONS = ("epsilon", "v_prediction")
FEW_STEPS = ("LCMScheduler", "TCDScheduler")  # solvers of models that were distilled to draw in a few steps
DISTILLED = re.compile(r"(?i)(?<![a-z])(turbo|lightning|lcm|tcd|dmd2?|hyper[-_ ]?sd(xl)?)(?![a-z])|LCMScheduler|TCDScheduler")


def load_schedule(path: Path) -> "DDIMScheduler":
    """The noise schedule of a diffusers folder, whichever solver it names; StudioError where it is of another kind."""
    from diffusers import DDIMScheduler

    config = model_folder.read_config(path / "scheduler" / "scheduler_config.json")
    own = config.get("_class_name", "DDIMScheduler")
    if own.startswith("EDM") or own not in {*FEW_STEPS, *(s.__name__ for s in DDIMScheduler(num_train_timesteps=1).compatibles)}:
        raise StudioError(f"{path}: its noise schedule, {own[:60]}, is of another kind than Stable Diffusion's: use another copy")
    scheduler = DDIMScheduler.from_config(config, clip_sample=False)  # latents have no range to clip them to
    if scheduler.config.prediction_type not in PREDICTIONS:
        told = str(scheduler.config.prediction_type)[:40]
        raise StudioError(f"{path}: it predicts {told!r}: only epsilon and v_prediction are known here")
    return scheduler


def note(path: Path) -> str:
    """What people should know of a model by what its name and its solver say: whether it was distilled; empty where nothing says so."""
    config = path / "scheduler" / "scheduler_config.json"
    said = [path.stem if path.is_file() else path.name, *(model_folder.read_config(config).values() if config.is_file() else ())]
    mark = next((m[0] for word in said if (m := DISTILLED.search(str(word)))), "")
    return mark and (
        f"this base seems to be distilled to draw in a few steps ({mark}), which training undoes in part: "
        "better train on the model it was made from, and use the adapter on both"
    )


def facts(path: Path, modules: dict[str, Any], scheduler: Any, title: str, licence: str) -> Facts:
    """What the checkpoint says about itself, by its configurations."""
    unet, vae = modules["unet"].config, modules["vae"].config
    scale = vae_scale(modules["vae"])
    sample_size = unet.sample_size if isinstance(unet.sample_size, int) else max(unet.sample_size)
    size_px = sample_size * scale
    return Facts(
        size_px=size_px,
        pixel_multiple=max(scale, min(scale * 2 ** (len(unet.block_out_channels) - 1), size_px // 4)),
        vae_scale=scale,
        latent_channels=vae.latent_channels,
        prediction_type=scheduler.config.prediction_type,
        num_train_timesteps=scheduler.config.num_train_timesteps,
        title=title,
        licence=licence,
        note=note(path),
    )
