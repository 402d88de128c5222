"""Mathematics shared by families of rectified flow (Liu 2022; Esser 2024): z_t = (1 - t) z + t eps, of which v = eps - z is predicted.

t is the noise level itself, in (0, 1); what a denoiser is fed for it, and with which sign it answers, is its family's affair.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families import folder as model_folder
from studio.families import schedules
from studio.families.base import FLOW, Card, Cond, Denoising, Facts, Parts
from studio.families.timesteps import AUTO, Timesteps, levels, shift_of

if TYPE_CHECKING:
    from torch import Tensor

KIND = "logit-normal"  # of the levels that training draws unless told otherwise
EDGE = 1e-4  # t stays this far from both ends: at 0 there is nothing to predict from, at 1 nothing but noise
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "dpm++2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ),
    "unipc": ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
}
Predict = Callable[[Parts, "Tensor", "Tensor", Cond], "Tensor"]


def load_scheduler(path: Path) -> Any:
    """The noise schedule of a diffusers folder, whichever flow solver its file names; StudioError where it is none of a flow."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    schedules.check(path, is_flow=True)
    file = path / "scheduler" / "scheduler_config.json"
    config = model_folder.read_config(file)
    if str(config.get("_class_name")).startswith("FlowMatch"):
        told = {**config, "_class_name": "FlowMatchEulerDiscreteScheduler"}
    else:
        told = {"num_train_timesteps": config.get("num_train_timesteps", 1000), "shift": config.get("flow_shift", 1.0)}
    return schedules.make_schedule(FlowMatchEulerDiscreteScheduler, file, told)


def facts_of(card: Card, scheduler: Any, size_px: int, scale: int, channels: int, **more: Any) -> Facts:
    """The facts of a flow model whose autoencoder has `scale` pixels a position, `card.patch` positions of which make a token."""
    multiple = card.patch * scale
    told = {"title": card.title, "licence": card.licence, "vae_scale": scale, "draw_multiple": multiple}
    told |= {"prediction_type": FLOW, "num_train_timesteps": scheduler.config.num_train_timesteps}
    return Facts(size_px=size_px, pixel_multiple=multiple, latent_channels=channels, **told | more)


def num_tokens_of(parts: Parts, shape: tuple[int, ...]) -> int:
    """How many tokens the denoiser makes of latents [B, C, h, w]."""
    patch = parts.extra["patch"]
    return (shape[-2] // patch) * (shape[-1] // patch)


def noise_shift(parts: Parts, shape: tuple[int, ...]) -> float:
    """The checkpoint's own shift towards noise for latents of this shape."""
    return shift_of(parts.scheduler.config, num_tokens_of(parts, shape))


def sample_t(parts: Parts, u: "Tensor", shape: tuple[int, ...], how: Timesteps = AUTO) -> "Tensor":
    """Noise levels [B] from u [B] in [0, 1): logit-normal, shifted as the checkpoint's schedule is, unless `how` says otherwise."""
    kind = KIND if how.kind == "auto" else how.kind
    return levels(u, kind, noise_shift(parts, shape) if how.shift is None else how.shift).clamp(EDGE, 1 - EDGE)


def _column(t: "Tensor", z: "Tensor") -> "Tensor":
    return t.float().view(-1, *[1] * (z.ndim - 1))


def add_noise(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """z_t = (1 - t) z + t eps (Liu 2022), of z and eps [B, C, h, w] at noise levels t [B]."""
    t = _column(t, z)
    return ((1 - t) * z + t * eps).to(z.dtype)


def target(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """v = eps - z, [B, C, h, w], whatever t."""
    return eps - z


def weight(parts: Parts, t: "Tensor", gamma: float) -> "Tensor":
    """Ones [B]: the density of the noise levels does what Min-SNR weights do elsewhere."""
    import torch

    return torch.ones(t.shape, device=t.device)


def guided(text: "Tensor", other: "Tensor", scale: float) -> "Tensor":
    """Classifier-free guidance (Ho & Salimans 2022) of answers [B, C, h, w]: from that to the negative prompt, past that to the prompt."""
    return other + scale * (text - other)


def denoise(
    predict: Predict,
    parts: Parts,
    conds: tuple[Cond, Cond | None],
    how: Denoising,
    shift: float | None = None,
    guide: "Callable[[Tensor, Tensor, float], Tensor]" = guided,
) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise` for (prompts, negative prompts); without negative ones no guidance is added.

    Both answers are asked for one after the other, so that captions of different lengths need not be of one shape.
    """
    cond, negative = conds
    shift = noise_shift(parts, tuple(how.noise.shape)) if shift is None else shift
    scheduler = _ready(how, shift, parts.device, parts.extra.get("own_levels", False))
    z, last = how.noise.float(), len(scheduler.timesteps) - 1
    for i, step in enumerate(scheduler.timesteps):
        t = scheduler.sigmas[i].to(z.device, z.dtype).expand(len(z))
        v = predict(parts, z.to(parts.dtype), t, cond).float()
        if negative is not None and how.guidance > 1:
            v = guide(v, predict(parts, z.to(parts.dtype), t, negative).float(), how.guidance)
        z = scheduler.step(v, step, z).prev_sample
        if (i + 1) % scheduler.order == 0 or i == last:
            how.tick()
    return z


def _ready(how: Denoising, shift: float, device: Any, own_levels: bool = False) -> Any:
    """The solver with its noise levels for this many steps at this shift; `own_levels` = as it spaces them by itself."""
    known = inspect.signature(type(how.scheduler).__init__).parameters
    told = {"shift": shift, "flow_shift": shift, "use_dynamic_shifting": False}
    scheduler = type(how.scheduler).from_config(how.scheduler.config, **{k: v for k, v in told.items() if k in known})
    options: dict[str, Any] = {"device": device}
    if "shift_terminal" in known and "shift" in known and not own_levels:  # Euler's, which most pipelines hand the same plain levels
        options["sigmas"] = [1 - i / how.steps for i in range(how.steps)]
    else:
        options["num_inference_steps"] = how.steps
    scheduler.set_timesteps(**options)
    return scheduler
