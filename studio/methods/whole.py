"""A denoiser of which every weight is trained, with the weights that it began with beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from studio.errors import StudioError
from studio.families.base import Parts


class Whole:
    """`methods.base.Attached` for full fine-tuning.

    The weights are fp32 while it is attached, whatever the base was loaded in: a step is far smaller than what half
    precision resolves (Micikevicius 2018). The base's own weights wait in main memory.
    """

    def __init__(self, parts: Parts, denoiser: str, lr: float) -> None:
        self._parts, self._name, self._lr = parts, denoiser, lr
        self._dtypes = {name: module.dtype for name, module in parts.modules.items()}
        self._dtype = parts.dtype
        module = parts.modules[denoiser]
        self._live = dict(module.named_parameters())
        self._first = {name: p.detach().to("cpu", copy=True) for name, p in self._live.items()}
        for other in parts.modules.values():
            other.float()
        parts.dtype = torch.float32
        module.requires_grad_(True)
        self.num_layers = sum(any(True for _ in m.parameters(recurse=False)) for m in module.modules())
        self.components = frozenset({denoiser})

    def groups(self) -> list[dict[str, Any]]:
        """One optimizer group: all of the denoiser's weights."""
        return [{"params": list(self._live.values()), "lr": self._lr}]

    def state(self) -> dict[str, Tensor]:
        """The live weights: `<denoiser>.<parameter>`, fp32."""
        return {f"{self._name}.{name}": p for name, p in self._live.items()}

    def first(self) -> dict[str, Tensor]:
        """The weights of the base under the same names, on the CPU, as they were loaded."""
        return {f"{self._name}.{name}": p for name, p in self._first.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Copy a state of this very denoiser back in. StudioError where it is of another."""
        live = self.state()
        if live.keys() != state.keys() or any(state[n].shape != w.shape for n, w in live.items()):
            raise StudioError("this tuned model is not of this base: the base model that the run was made from is needed")
        for name, weight in live.items():
            weight.data.copy_(state[name])

    def load(self, tensors: dict[str, Tensor], partly: bool = False) -> str:
        """Refused: a whole model is a base of its own. StudioError, saying so."""
        raise StudioError("start_from: full tuning continues from a run; choose an exported model as --base instead")

    def read_as(self, text: str, strength: float) -> str:
        """Base and tuned model read the same words."""
        return text

    @contextmanager
    def at(self, strengths: list[float]) -> Iterator[None]:
        """Within: every weight is so far on the way from the base's to the tuned one; 0 is the base bit for bit."""
        if len(set(strengths)) > 1:
            raise ValueError("a whole model has one strength per pass")
        strength = strengths[0]
        if strength == 1.0:
            yield
            return
        tuned = {name: p.data for name, p in self._live.items()}
        try:
            for name, p in self._live.items():
                first = self._first[name].to(p.device, torch.float32)
                p.data = torch.lerp(first, tuned[name], strength) if strength else first
            yield
        finally:
            for name, p in self._live.items():
                p.data = tuned[name]

    def detach(self) -> None:
        """Put the base's own weights and precision back."""
        self._parts.modules[self._name].requires_grad_(False)
        for name, p in self._live.items():
            p.data, p.grad = self._first[name].to(p.device), None
        for name, dtype in self._dtypes.items():
            self._parts.modules[name].to(dtype)
        self._parts.dtype = self._dtype
