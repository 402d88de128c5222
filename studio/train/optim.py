"""The optimizer and the running average of an adapter, with states that come and go as plain tensors."""

from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.methods.base import Attached
from studio.train.schedule import ema_decay

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

BETAS = (0.9, 0.999)
WEIGHT_DECAY = 0.01
SHARED = "qmap"  # bitsandbytes' tables of what 8 bits stand for: one for all parameters, and files hold no tensor twice


def make_optimizer(groups: list[dict[str, Any]], device: Any, name: str = "adamw") -> "Optimizer":
    """AdamW (Loshchilov & Hutter 2019), fused where the device has it; or with its moments in 8 bits (Dettmers 2022)."""
    import torch

    if name == "adamw8bit":
        optimizer = _eight_bit()(groups, betas=BETAS, weight_decay=WEIGHT_DECAY)
    else:
        optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=device.type in {"cpu", "cuda"})
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def _eight_bit() -> "type[Optimizer]":
    """bitsandbytes' AdamW; StudioError where the package is not there or does not work on this machine."""
    try:
        from bitsandbytes.optim import AdamW8bit
    except Exception as error:  # its libraries fail in many ways where a machine does not suit them
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({str(error).splitlines()[0][:200]})"
        raise StudioError(
            f"train.optimizer: adamw8bit needs the package bitsandbytes, which does not work here{reason}: install it, or use adamw"
        ) from None
    return AdamW8bit


def set_lr(optimizer: "Optimizer", factor: float) -> float:
    """Set every group's learning rate to `factor` of its own; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimizer.param_groups[0]["lr"]


def optimizer_tensors(optimizer: "Optimizer", live: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The moments of every parameter, by `<moment>/<parameter name>`."""
    import torch

    states = ((name, optimizer.state[p]) for name, p in live.items() if p in optimizer.state)
    kept = {f"{key}/{name}": value for name, s in states for key, value in s.items() if torch.is_tensor(value) and key != "step"}
    return {key: value.clone() if key.startswith(SHARED) else value for key, value in kept.items()}


def restore_optimizer(optimizer: "Optimizer", live: "dict[str, Tensor]", tensors: "dict[str, Tensor]", step: int) -> None:
    """Continue as after `step` optimizer steps with these moments."""
    import torch

    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        moments.setdefault(name, {})[moment] = value
    counts_in_tensors = isinstance(optimizer, torch.optim.AdamW)
    for name, p in live.items():
        count = torch.tensor(float(step), device=p.device if p.device.type == "cuda" else "cpu") if counts_in_tensors else step
        optimizer.state[p] = {"step": count, **{m: value.to(p.device) for m, value in moments[name].items()}}


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
        """Take over the averaged tensors of a resume point."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
