"""LoRA (Hu 2021): a trained low-rank product beside frozen linear and convolution layers, through PEFT."""

import math
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.families.base import Card, Parts
from studio.methods import layers, lora_files, targets
from studio.methods.layers import NAME, Adapter, LayerSpec, RankSpec, adopt, keeps_every_snapshot, live, reword, trained, word
from studio.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

__all__ = ["adopt", "keeps_every_snapshot", "live", "reword", "trained", "word"]
in_half = True


class Spec(LayerSpec, RankSpec):
    """Settings of LoRA."""

    kind: str = "lora"
    rslora: bool | None = setting(None, "rsLoRA", "Scale by 1/sqrt(rank) (Kalajdzievski 2023); empty = above rank 64")

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied by at strength 1."""
        root = self.rank > 64 if self.rslora is None else self.rslora
        return (self.alpha or self.rank) / (math.sqrt(self.rank) if root else self.rank)


def supports(card: Card) -> str | None:
    """Why this family cannot take LoRA; None when it can."""
    return layers.refuse(card, "LoRA")


def batchable(spec: Spec) -> bool:
    """Base and adapted share one batched pass: the scale is per sample."""
    return True


def metadata(spec: Spec) -> dict[str, str]:
    """What readers of kohya files look for: the alpha that gives this scale as alpha / rank."""
    return {"ss_network_module": "networks.lora", "ss_network_dim": str(spec.rank), "ss_network_alpha": f"{spec.scale * spec.rank:g}"}


def layouts(card: Card) -> tuple[str, ...]:
    """The layouts that the family's readers know."""
    return card.export_layouts


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """The tensors of an adapter file in this layout."""
    return lora_files.write(state, spec.scale, layout, card)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    return layers.peft_configs(state, _config(spec))


def describe(path: Path, card: Card) -> dict[str, Any]:
    """The settings under which an adapter file can be continued: rank, targets, text_encoder."""
    return lora_files.describe(path, card)


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> Adapter:
    """Put a fresh LoRA on the base; StudioError when a target matches nothing or the rank exceeds a layer."""
    found = targets.find_layers(parts, spec, card)
    targets.check_rank(parts, found, spec.rank)
    return Adapter(parts, spec, found, KIND, seed, card)


def combine(parts: Parts, members: "list[tuple[dict[str, Tensor], Spec, float]]", card: Card, seed: int = 0) -> Adapter:
    """One LoRA that does what all members (state, settings, strength) do together, exactly: their products side by side along the rank.

    sum_i s_i B_i A_i = [s_1 B_1 | s_2 B_2 | …] [A_1; A_2; …] for every layer of any member; absent ones are zero.
    """
    import torch

    rank = sum(spec.rank for _, spec, _ in members)
    found: dict[str, list[str]] = {}
    for layer in dict.fromkeys(n for state, _, _ in members for n in layers.layers_of(state)):
        component, _, name = layer.partition(".")
        found.setdefault(component, []).append(name)
    both = Adapter(parts, Spec.model_construct(rank=rank, alpha=float(rank), rslora=False), found, KIND, seed, card)
    for name, whole in both.state().items():
        whole.data.zero_()
        start = 0
        for state, spec, strength in members:
            part = slice(start, start + spec.rank)
            start = part.stop
            if name not in state:
                continue
            tensor = state[name].to(whole.device, torch.float32)
            if name.endswith(".lora_A.weight"):
                whole.data[part] = tensor
            else:
                whole.data[:, part] = tensor * (strength * spec.scale)
    return both


def _config(spec: Spec) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=spec.rank, lora_alpha=spec.scale * spec.rank)


def _tensors(layer: Any) -> "dict[str, Tensor]":
    """`lora_A.weight` [r, in…] and `lora_B.weight` [out, r…] of a layer."""
    return {f"{part}.weight": getattr(layer, part)[NAME].weight for part in ("lora_A", "lora_B")}


def _start(layer: Any, generator: "Generator") -> None:
    """Kaiming-uniform A, zero B."""
    import torch

    down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    down.data = layers.kaiming(down.shape, down.device, generator)
    up.data = torch.zeros(up.shape, device=up.device)


@contextmanager
def _at(on: list[Any], spec: Spec, strengths: list[float]) -> "Iterator[None]":
    """Within: sample i of each batch block of len(strengths) sees strength i; raises where a batch does not divide."""
    scale, uniform = spec.scale, len(set(strengths)) == 1
    hook = _per_sample([s * scale for s in strengths])
    hooks = [] if uniform else [layer.lora_B[NAME].register_forward_pre_hook(hook) for layer in on]
    for layer in on:
        layer.scaling[NAME] = scale * strengths[0] if uniform else 1.0
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in on:
            layer.scaling[NAME] = scale


def _per_sample(scales: list[float]) -> Any:
    """A pre-hook of up matrices that scales the rank-wide input [n, …] by one value per sample."""
    import torch

    @lru_cache
    def column(n: int, ndim: int, device: Any) -> "Tensor":
        if n % len(scales):
            raise ValueError(f"a batch of {n} does not divide into {len(scales)} strengths")
        return torch.tensor(scales, device=device).repeat(n // len(scales)).view(-1, *[1] * (ndim - 1))

    return lambda module, args: (args[0] * column(args[0].shape[0], args[0].ndim, args[0].device).to(args[0].dtype),)


KIND = layers.Kind(_config, _tensors, _start, _at, lambda found, spec: lora_files.read(found, spec))
