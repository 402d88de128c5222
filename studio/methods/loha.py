"""LoHa (Hyeon-Woo 2022, FedPara; Yeh 2024, LyCORIS): a trained elementwise product of two low-rank matrices, through PEFT."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families.base import Card, Parts
from studio.methods import layers, lycoris_files, targets
from studio.methods.layers import NAME, Adapter, LayerSpec, RankSpec, adopt, keeps_every_snapshot, live, reword, trained, word
from studio.methods.layers import one_strength_a_pass as batchable
from studio.methods.lycoris_files import layouts, scaled

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["adopt", "batchable", "keeps_every_snapshot", "layouts", "live", "reword", "trained", "word"]

FACTORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
in_half = True


class Spec(LayerSpec, RankSpec):
    """Settings of LoHa."""

    kind: str = "loha"


def supports(card: Card) -> str | None:
    """Why this family cannot take LoHa; None when it can."""
    return layers.refuse(card, "LoHa")


def metadata(spec: Spec) -> dict[str, str]:
    """What LyCORIS writes about a LoHa."""
    return lycoris_files.metadata(spec, {"algo": "loha"})


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """The tensors of an adapter file in this layout."""
    return lycoris_files.write(state, spec, layout, card)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    return layers.peft_configs(state, _config(spec))


def describe(path: Path, card: Card) -> dict[str, Any]:
    """The settings under which an adapter file can be continued: rank, targets, text_encoder."""
    return lycoris_files.describe_loha(path, card)


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> Adapter:
    """Put a fresh LoHa on the base; StudioError when a target matches nothing or the rank exceeds a layer."""
    found = targets.find_layers(parts, spec, card)
    targets.check_rank(parts, found, spec.rank)
    return Adapter(parts, spec, found, KIND, seed, card)


def _config(spec: Spec) -> Any:
    from peft import LoHaConfig

    return LoHaConfig(r=spec.rank, alpha=spec.scale * spec.rank)


def _tensors(layer: Any) -> "dict[str, Tensor]":
    """`hada_w1_a` [out, r], `hada_w1_b` [r, in…] of a layer, and as many for the second product."""
    return {part: getattr(layer, part)[NAME] for part in FACTORS}


def _start(layer: Any, generator: "Generator") -> None:
    """As LyCORIS does: normal numbers of size 0.1, 1 and 1, and a zero w2_a, so that the product is zero."""
    import torch

    for part, size in zip(FACTORS, (0.1, 1.0, 0.0, 1.0), strict=True):
        tensor = getattr(layer, part)[NAME]
        tensor.data = (size * torch.randn(tensor.shape, generator=generator)).to(tensor.device)


KIND = layers.Kind(_config, _tensors, _start, scaled, lycoris_files.read)
