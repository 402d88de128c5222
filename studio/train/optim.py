"""The optimizer and the running average of an adapter, with states that come and go as plain tensors."""

from typing import TYPE_CHECKING, Any

from studio.methods.base import Attached
from studio.train.schedule import ema_decay

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

BETAS = (0.9, 0.999)
WEIGHT_DECAY = 0.01
MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(groups: list[dict[str, Any]], device: Any) -> "Optimizer":
    """AdamW (Loshchilov & Hutter 2019), fused where the device has it."""
    import torch

    optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=device.type in {"cpu", "cuda"})
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def set_lr(optimizer: "Optimizer", factor: float) -> float:
    """Set every group's learning rate to `factor` of its own; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimizer.param_groups[0]["lr"]


def optimizer_tensors(optimizer: "Optimizer", live: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The moments of every parameter, by `<moment>/<parameter name>`."""
    return {f"{m}/{name}": optimizer.state[p][m] for name, p in live.items() if p in optimizer.state for m in MOMENTS}


def restore_optimizer(optimizer: "Optimizer", live: "dict[str, Tensor]", tensors: "dict[str, Tensor]", step: int) -> None:
    """Continue as after `step` optimizer steps with these moments."""
    import torch

    for name, p in live.items():
        moments = {m: tensors[f"{m}/{name}"].to(p.device) for m in MOMENTS}
        optimizer.state[p] = {"step": torch.tensor(float(step), device=p.device if p.device.type == "cuda" else "cpu"), **moments}


class Average:
    """The exponential moving average of an adapter; free, because adapters are small."""

    def __init__(self, adapter: Attached, decay: float) -> None:
        self._live = adapter.state()
        self._decay = decay
        self.tensors = {name: p.detach().clone() for name, p in self._live.items()}

    def update(self, step: int) -> None:
        """Move towards the live tensors after step `step` (from 0); with decay 0 the average is the live state."""
        import torch

        live = [p.detach() for p in self._live.values()]
        torch._foreach_lerp_(list(self.tensors.values()), live, 1 - ema_decay(step, self._decay))

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
