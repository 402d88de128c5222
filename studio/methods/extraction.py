"""A LoRA taken out of a tuned model: the best product of two thin matrices for every layer's change of weights (Eckart & Young 1936)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.families.base import Card, Parts
from studio.methods import lora, targets

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]


@dataclass(frozen=True)
class Extracted:
    """A LoRA's tensors, its settings, its layers by component, and the share of the change of all weights that it lacks (0 to 1)."""

    state: "State"
    spec: lora.Spec
    targets: dict[str, list[str]]
    error: float


def extract(parts: Parts, card: Card, first: "State", tuned: "State", rank: int) -> Extracted:
    """The LoRA of this rank nearest to `tuned` - `first` (`<denoiser>.<parameter>`), in the Frobenius norm.

    `error` is |change - LoRA| / |change| over the whole denoiser: norms, biases and first layers, which no LoRA holds, count too.
    """
    names = targets.find_targets(parts.modules[card.denoiser], "+".join(card.targets), card.targets)
    weights = {f"{card.denoiser}.{name}.weight" for name in names}
    state: State = {}
    whole = left = 0.0
    for name, weight in tuned.items():
        change = weight.detach().cpu().double() - first[name].double()
        size = float(change.square().sum())
        whole += size
        if name not in weights:
            left += size
            continue
        down, up = _nearest(change.flatten(1), rank)
        left += max(0.0, size - float((up @ down).square().sum()))  # what is left is at right angles to what is taken
        layer = name.removesuffix(".weight")
        state[f"{layer}.lora_A.weight"] = down.float().reshape(rank, *change.shape[1:])
        state[f"{layer}.lora_B.weight"] = up.float().reshape(change.shape[0], rank, *[1] * (change.ndim - 2))
    spec = lora.Spec.model_construct(kind="lora", rank=rank, alpha=float(rank), rslora=False, targets="+".join(card.targets))
    return Extracted(state, spec, {card.denoiser: names}, (left / whole) ** 0.5 if whole else 0.0)


def _nearest(change: "Tensor", rank: int) -> "tuple[Tensor, Tensor]":
    """(down [rank, in], up [out, rank]) whose product is nearest to change [out, in]; zeros where the rank exceeds the layer.

    The singular vectors of the shorter side suffice: projecting the change onto the leading ones is the truncated SVD.
    """
    import torch

    short = min(change.shape)
    down, up = change.new_zeros(rank, change.shape[1]), change.new_zeros(change.shape[0], rank)
    count = min(rank, short)
    is_wide = change.shape[0] <= change.shape[1]
    gram = change @ change.T if is_wide else change.T @ change
    vectors = torch.linalg.eigh(gram).eigenvectors[:, -count:].flip(1)
    projected = vectors.T @ change if is_wide else change @ vectors
    if is_wide:
        up[:, :count], down[:count] = vectors, projected
    else:
        up[:, :count], down[:count] = projected, vectors.T
    balance = (down.norm(dim=1) / up.norm(dim=0).clamp_min(1e-30)).sqrt()  # both of one size, as training leaves them
    balance = torch.where(balance > 0, balance, 1.0)
    return down / balance[:, None], up * balance
