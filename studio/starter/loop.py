"""One resumable training loop for every network of the starter model.

The step is the only clock: data and noise of a step are drawn from (seed, step), so a build that was killed continues
to the same bytes, and the learning rate is a function of step / planned steps, so the plan may be changed on resume.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train: `hold` is the share of constant learning rate before the cosine to `final_lr`."""

    steps: int
    batch: int
    lr: float
    hold: float = 0.5
    final_lr: float = 0.05  # as a share of lr
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    save_every: int = 200
    seed: int = 0


def lr_at(step: int, plan: Plan) -> float:
    """Linear warm-up, constant, then cosine from lr to final_lr * lr."""
    if step < plan.warmup_steps:
        return plan.lr * (step + 1) / plan.warmup_steps
    share = min(1.0, step / plan.steps)
    if share <= plan.hold:
        return plan.lr
    fall = (share - plan.hold) / (1 - plan.hold)
    return plan.lr * (plan.final_lr + (1 - plan.final_lr) * 0.5 * (1 + math.cos(math.pi * fall)))


def generator_at(seed: int, step: int) -> torch.Generator:
    """Return the CPU generator of one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def write_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Write safetensors atomically: a reader sees the old file or the new one, never half of one."""
    part = file.with_suffix(".part")
    save_file({k: v.detach().to("cpu").contiguous().clone() for k, v in tensors.items()}, part)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(file)


def load_weights(model: nn.Module, file: Path) -> list[str]:
    """Begin with the weights in `file`; returns the names of those that the model has and the file lacks.

    Raises ValueError where a weight of the file has no place in the model, or another shape.
    """
    found = model.load_state_dict({k: v.float() for k, v in load_file(file).items()}, strict=False)
    if found.unexpected_keys:
        raise ValueError(f"{file} is of another network: it holds {found.unexpected_keys[0]}")
    return found.missing_keys


class Ema:
    """Exponential moving average of a model's parameters; the decay is warmed up so that early averages forget."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.live = dict(model.named_parameters())
        self.average = {k: p.detach().clone() for k, p in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights as they are now into the average."""
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.live.values()], 1 - keep)


def _pack(model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, step: int) -> dict[str, torch.Tensor]:
    state = {"step": torch.tensor(step)}
    for name, p in model.named_parameters():
        state[f"raw.{name}"] = p
        state[f"ema.{name}"] = ema.average[name]
        for moment in ("exp_avg", "exp_avg_sq"):
            state[f"{moment}.{name}"] = optimizer.state[p][moment]
    return state


@torch.no_grad()
def _unpack(state: dict[str, torch.Tensor], model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> int:
    step = int(state["step"])
    for name, p in model.named_parameters():
        p.copy_(state[f"raw.{name}"])
        ema.average[name].copy_(state[f"ema.{name}"])
        optimizer.state[p] = {
            "step": torch.tensor(float(step), device=p.device),
            **{m: state[f"{m}.{name}"].to(p.device) for m in ("exp_avg", "exp_avg_sq")},
        }
    return step


def read_ema(file: Path) -> tuple[dict[str, torch.Tensor], int]:
    """Return the averaged weights of a training state and its step."""
    state = load_file(file)
    return {k.removeprefix("ema."): v for k, v in state.items() if k.startswith("ema.")}, int(state["step"])


def fit(
    model: nn.Module,
    loss_at: Callable[[int], torch.Tensor],
    plan: Plan,
    file: Path,
    progress: Callable[[str], None],
) -> dict[str, torch.Tensor]:
    """Train `model` until plan.steps, resuming from `file` when it exists; returns the averaged weights.

    loss_at(step) computes the loss of one batch with the live model.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True)
    ema = Ema(model, plan.ema_decay)
    step = _unpack(load_file(file), model, ema, optimizer) if file.exists() else 0
    title = file.parent.name
    model.train()
    started, first, total, count = time.monotonic(), step, 0.0, 0
    while step < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, plan)
        loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update(step)
        step += 1
        total, count = total + float(loss.detach()), count + 1
        if step % plan.save_every == 0 or step == plan.steps:
            write_tensors(_pack(model, ema, optimizer, step), file)
            speed = (step - first) * plan.batch / (time.monotonic() - started)
            progress(
                f"{title}: step {step}/{plan.steps}, samples {step * plan.batch}, loss {total / count:.4f}, "
                f"lr {lr_at(step, plan):.2e}, {speed:.0f} samples/s"
            )
            total, count = 0.0, 0
    return ema.average
