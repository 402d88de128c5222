"""Mathematics shared by families with discrete timesteps (DDPM, Ho 2020): epsilon and v prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import folder as model_folder
from studio.families import schedules
from studio.families.base import Cond, Denoising, Parts
from studio.families.timesteps import AUTO, Timesteps, levels

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, DiffusionPipeline
    from torch import Tensor

SAMPLERS = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
FEW_STEPS = ("LCMScheduler", "TCDScheduler")  # solvers of models that were distilled to draw in a few steps


def load_schedule(path: Path) -> "DDIMScheduler":
    """The noise schedule of a diffusers folder, whichever solver it names; StudioError where it is of another kind."""
    from diffusers import DDIMScheduler

    schedules.check(path, is_flow=False)
    file = path / "scheduler" / "scheduler_config.json"
    config = model_folder.read_config(file)
    own = config.get("_class_name", "DDIMScheduler")
    if own not in {*FEW_STEPS, *(s.__name__ for s in DDIMScheduler(num_train_timesteps=1).compatibles)}:
        raise StudioError(f"{file}: its noise schedule, {own[:60]}, is not of discrete timesteps: use another copy")
    return schedules.make_schedule(DDIMScheduler, file, config, clip_sample=False)  # latents have no range to clip them to


def told_of(names: dict[str, str], cond: Cond, negative: Cond) -> dict[str, Any]:
    """What a pipeline is told of encoded prompts: `names` = its word for each part of them; with "negative_" before it for the other."""
    both = {"": cond, "negative_": negative}
    return {before + word: texts[part] for before, texts in both.items() for part, word in names.items()}


def draw(pipe: "DiffusionPipeline", parts: Parts, how: Denoising, **told: Any) -> "Tensor":
    """The clean latents [B, C, h, w] of `how.noise`, by a family's diffusers pipeline, which is also told `told`."""
    pipe.scheduler = how.scheduler
    for name in parts.modules:
        if name.startswith("text_encoder"):
            setattr(pipe, name, None)  # it has read the prompts, and would give them its own precision, that of a learned word
    pipe.set_progress_bar_config(disable=True)
    height, width = (side * parts.facts.vae_scale for side in how.noise.shape[-2:])
    shape = {"latents": how.noise, "width": width, "height": height, "num_inference_steps": how.steps}
    return pipe(**shape, guidance_scale=how.guidance, generator=how.generators, output_type="latent", **told).images


def _signal_noise(parts: Parts, t: "Tensor", ndim: int) -> "tuple[Tensor, Tensor]":
    """(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)), fp32, shaped [B, 1, …] with `ndim` dimensions."""
    table = parts.extra.get("alpha_bars")
    if table is None or table[0] is not parts.scheduler or table[1].device != t.device:
        # once, for a recorded step copies nothing from the host
        table = parts.extra["alpha_bars"] = (parts.scheduler, parts.scheduler.alphas_cumprod.to(t.device).float())
    alpha_bar = table[1][t].view(-1, *[1] * (ndim - 1))
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def sample_t(parts: Parts, u: "Tensor", shape: tuple[int, ...], how: Timesteps = AUTO) -> "Tensor":
    """Timesteps [B] int64 from u [B] in [0, 1): uniform over the schedule, unless `how` says otherwise."""
    num = parts.facts.num_train_timesteps
    if how != AUTO:
        u = levels(u, "uniform" if how.kind == "auto" else how.kind, how.shift or 1.0)
    return (u * num).long().clamp_(max=num - 1)


def add_noise(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """z_t = sqrt(alpha_bar_t) z + sqrt(1 - alpha_bar_t) eps (DDPM eq. 4), of z and eps [B, C, h, w] at timesteps t [B]."""
    signal, noise = _signal_noise(parts, t, z.ndim)
    return (signal * z + noise * eps).to(z.dtype)


def target(parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor":
    """What the denoiser learns to output, [B, C, h, w]: eps, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) z (Salimans & Ho 2022)."""
    if parts.facts.prediction_type == "epsilon":
        return eps
    signal, noise = _signal_noise(parts, t, z.ndim)
    return (signal * eps - noise * z).to(z.dtype)


def weight(parts: Parts, t: "Tensor", gamma: float) -> "Tensor":
    """Min-SNR loss weights [B] (Hang 2023): min(snr, gamma)/snr for epsilon, /(snr + 1) for v; ones where gamma is 0."""
    import torch

    if not gamma:
        return torch.ones(t.shape, device=t.device)
    signal, noise = _signal_noise(parts, t, 1)
    snr = (signal / noise.clamp_min(1e-8)).square()
    clipped = snr.clamp(max=gamma)
    return clipped / snr.clamp_min(1e-8) if parts.facts.prediction_type == "epsilon" else clipped / (snr + 1)
