"""Others' adapters as what they make of a base's weights: of every kind whose formula is known, also of several in one file."""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Parts
from studio.methods import formulas
from studio.methods.imports import NOT_READ, Renamed, lora_factors, oddity, rename

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

FACTOR = re.compile(r"[._]lora(?!_magnitude)|\.alpha")  # what LoRA's factors are made of; magnitudes lie beside them
BIAS = ".lora_B.bias"  # of PEFT's lora_bias: the layer's own gets it, scaled as the factors are


@dataclass(frozen=True)
class Change:
    """What a file makes of one of our layers: its tensors there, and which of its outputs our layer is, where it is one of several."""

    own: formulas.Own
    rows: slice | None = None
    outputs: int = 0

    def weight(self, weight: "Tensor", strength: float) -> "Tensor":
        """The layer's weight [out, in, …] at a strength, in fp32."""
        return formulas.changed(weight.float(), self.own, strength, self.rows, self.outputs)

    def bias(self, bias: "Tensor", strength: float) -> "Tensor":
        """The layer's bias [out] at a strength, in fp32."""
        found = self.own["diff_b"].to(bias.device).float()
        return bias.float() + strength * (found if self.rows is None else found[self.rows])

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of the layer's own tensors it changes."""
        return tuple(part for part, is_there in (("weight", self.own.keys() - {"diff_b"}), ("bias", "diff_b" in self.own)) if is_there)


def find_changes(tensors: "dict[str, Tensor]", modules: "dict[str, nn.Module]") -> tuple[dict[str, Change], Renamed]:
    """({our layer: what the file makes of it}, which of the file's layers were found); StudioError where none is on this base."""
    found = rename(tensors, modules, put)
    return {layer: change for layer, change in found.tensors.items() if isinstance(change, Change)}, found


def put(found: Renamed, here: dict[str, tuple[int, ...]], theirs: "dict[str, Tensor]") -> str:
    """Take a layer in as what the file makes of it; why not."""
    if odd := oddity(theirs):
        return odd
    factors = lora_factors(theirs)
    own = factors | {_part(end): t for end, t in theirs.items() if not (factors and FACTOR.match(end))}
    if factors and BIAS in theirs:
        alpha, rank = theirs.get(".alpha"), factors["lora_A.weight"].shape[0]
        own["diff_b"] = theirs[BIAS].float() * (1.0 if alpha is None else float(alpha) / rank)
    if not formulas.known(own):
        return NOT_READ
    if len(here) > 1 and not formulas.is_by_output(own):
        return "DoRA by inputs, of layers that are one there: merge it into the model's single file elsewhere"
    outputs, start, changes = sum(shape[0] for shape in here.values()), 0, {}
    for name, shape in here.items():
        if not _fits(own, (outputs, *shape[1:])):
            return f"not of the shape {list(shape)} that it has here"
        rows = slice(start, start + shape[0]) if len(here) > 1 else None
        changes[name], start = Change(own, rows, outputs), start + shape[0]
    found.tensors |= changes
    return ""


def _part(end: str) -> str:
    """What a part is called in the formulas."""
    return "magnitude" if "magnitude" in end else {".w_norm": "diff", ".b_norm": "diff_b"}.get(end, end.lstrip("."))


def _fits(own: formulas.Own, shape: tuple[int, ...]) -> bool:
    """Whether a layer's tensors make a change of this shape, told without computing it."""
    import torch

    meta = {part: torch.empty(tensor.shape, device="meta") for part, tensor in own.items() if part != "alpha"}
    sides = [tensor.numel() for part, tensor in meta.items() if part in {"magnitude", "dora_scale"}]
    try:
        formulas.change(meta, shape)
    except (RuntimeError, LookupError):
        return False
    wanted = shape[0] if formulas.is_by_output(own) else shape[1]
    return all(side == wanted for side in sides) and ("diff_b" not in meta or meta["diff_b"].numel() == shape[0])


class Foreign:
    """`methods.base.Attached` for a file that no method here could have made: at a strength, the base has the weights that it makes."""

    def __init__(self, parts: Parts, tensors: "dict[str, Tensor]") -> None:
        self._modules = parts.modules
        self._changes, self._found = find_changes(tensors, {n: m for n, m in parts.modules.items() if n != "vae"})
        if len(self._found.unmatched) > len(self._found.matched):
            raise StudioError(f"{self._found.words()}: choose the base it was made for")
        self.num_layers = len(self._changes)
        self.components = frozenset(layer.partition(".")[0] for layer in self._changes)

    def words(self) -> str:
        """Which of the file's layers were found."""
        return self._found.words()

    def groups(self) -> list[dict[str, Any]]:
        """Nothing of it is trained."""
        return []

    def state(self) -> "dict[str, Tensor]":
        """Nothing of it is saved."""
        return {}

    def restore(self, state: "dict[str, Tensor]") -> None:
        """It is as its file is."""

    def load(self, tensors: "dict[str, Tensor]", partly: bool = False) -> str:
        """It is as its file is; the words say which layers were found."""
        return self.words()

    def read_as(self, text: str, strength: float) -> str:
        """Base and adapter read the same words."""
        return text

    @contextmanager
    def at(self, strengths: list[float]) -> "Iterator[None]":
        """Within: the base with the one strength of this pass. StudioError where a layer is missing, or kept in fewer bits."""
        (strength,) = set(strengths)
        kept = []
        try:
            for name, change in self._changes.items() if strength else ():
                component, _, path = name.partition(".")
                layer = self._modules[component].get_submodule(path)
                for part in change.parts:
                    parameter = getattr(layer, part)
                    if parameter is None:
                        raise StudioError(f"layer {name} has no {part} here: choose the base it was made for")
                    if not parameter.is_floating_point():
                        raise StudioError(f"layer {name}: its weights are kept in fewer bits: draw with the base in its own precision")
                    kept.append((parameter, parameter.data))
                    parameter.data = getattr(change, part)(parameter.data, strength).to(parameter.dtype)
            yield
        finally:
            for parameter, data in reversed(kept):
                parameter.data = data

    def detach(self) -> None:
        """The base's tensors are its own outside `at`."""
