"""LoKr (Yeh 2024, LyCORIS; Edalati 2022, KronA): a trained Kronecker product of a small and a low-rank matrix, through PEFT."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods import layers, lycoris_files, targets
from studio.methods.layers import NAME, Adapter, LayerSpec, RankSpec, adopt, keeps_every_snapshot, live, reword, trained, word
from studio.methods.layers import one_strength_a_pass as batchable
from studio.methods.lycoris_files import layouts, scaled
from studio.settings import setting

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["adopt", "batchable", "keeps_every_snapshot", "layouts", "live", "reword", "trained", "word"]

FACTORS = ("lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b")  # w2 is whole where its two parts would not be smaller
in_half = True


class Spec(LayerSpec, RankSpec):
    """Settings of LoKr; the rank is that of the second factor."""

    kind: str = "lokr"
    factor: int | None = setting(
        None, "Factor", "A side of the small matrix, as near as a layer allows; lower = larger file. Empty = the square root", ge=2, le=1024
    )


def supports(card: Card) -> str | None:
    """Why this family cannot take LoKr; None when it can."""
    return layers.refuse(card, "LoKr")


def metadata(spec: Spec) -> dict[str, str]:
    """What LyCORIS writes about a LoKr."""
    return lycoris_files.metadata(spec, {"algo": "lokr", "factor": spec.factor or -1})


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """The tensors of an adapter file in this layout."""
    return lycoris_files.write(state, spec, layout, card)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    return layers.peft_configs(state, _config(spec))


def describe(path: Path, card: Card) -> dict[str, Any]:
    """The settings under which an adapter file can be continued: rank, factor, targets, text_encoder."""
    return lycoris_files.describe_lokr(path, card)


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> Adapter:
    """Put a fresh LoKr on the base; StudioError when a target matches nothing, or no layer has a use for such a rank."""
    found = targets.find_layers(parts, spec, card)
    useful = max(_useful_rank(parts.modules[c].get_submodule(n).weight.shape, spec.factor) for c, names in found.items() for n in names)
    if spec.rank > useful:
        raise StudioError(
            f"method.rank: {spec.rank} is above {useful}, from which on every layer's factors are whole: use at most {useful}"
        )
    return Adapter(parts, spec, found, KIND, seed, card)


def _useful_rank(shape: Any, factor: int | None) -> int:
    """The smallest rank at which PEFT keeps the second factor of a weight [out, in, …] whole."""
    from peft.tuners.lokr.layer import factorization

    return math.ceil(max(factorization(side, factor or -1)[1] for side in shape[:2]) / 2)


def _config(spec: Spec) -> Any:
    from peft import LoKrConfig

    return LoKrConfig(r=spec.rank, alpha=spec.scale * spec.rank, decompose_factor=spec.factor or -1)


def _tensors(layer: Any) -> "dict[str, Tensor]":
    """`lokr_w1` [l, m] of a layer, and `lokr_w2` [k, n, …], or `lokr_w2_a` [k, r] and `lokr_w2_b` [r, n…], for a weight [l k, m n, …]."""
    return {part: getattr(layer, part)[NAME] for part in FACTORS if NAME in getattr(layer, part)}


def _start(layer: Any, generator: "Generator") -> None:
    """As LyCORIS does: Kaiming-uniform numbers, but a zero second factor, or a zero part of it."""
    import torch

    own = _tensors(layer)
    zero = "lokr_w2" if "lokr_w2" in own else "lokr_w2_b"
    for part, tensor in own.items():
        fresh = torch.zeros(tensor.shape, device=tensor.device)
        tensor.data = fresh if part == zero else layers.kaiming(tensor.shape, tensor.device, generator)


KIND = layers.Kind(_config, _tensors, _start, scaled, lycoris_files.read)
