"""OFT (Qiu 2023): trained rotations of blocks of each layer's inputs, kept orthogonal by the Cayley transform, through PEFT."""

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods import layers, targets
from studio.methods.layers import NAME, Adapter, LayerSpec, adopt, keeps_every_snapshot, live, reword, trained, word
from studio.methods.layers import one_strength_a_pass as batchable
from studio.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor, nn

__all__ = ["adopt", "batchable", "keeps_every_snapshot", "live", "reword", "trained", "word"]
recordable = False  # it solves systems of equations in every step, which waits for the GPU

ONLY_PEFT = "no other program has a layout for OFT, so its only export is peft, a folder"


class Spec(LayerSpec):
    """Settings of OFT."""

    kind: str = "oft"
    block_size: int = setting(8, "Block size", "Inputs that are turned together, a divisor of all; higher = more capacity", ge=2, le=1024)


def supports(card: Card) -> str | None:
    """Why this family cannot take OFT; None when it can."""
    return layers.refuse(card, "OFT")


def refuses_strength(strength: float) -> str | None:
    """Why it has no such strength: between two rotations lies no weighted mean that is one; None for 0 and 1."""
    return None if strength in (0.0, 1.0) else "OFT turns a layer's inputs, which has no more or less: only 0 (the base) and 1 (as trained)"


def metadata(spec: Spec) -> dict[str, str]:
    """Nothing: it is written as no single file."""
    return {}


def layouts(card: Card) -> tuple[str, ...]:
    """The layouts that an export may have."""
    return ("peft",)


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """The tensors of PEFT folders. StudioError for another layout."""
    if layout != "peft":
        raise StudioError(f"--format {layout}: {ONLY_PEFT}")
    return layers.peft_tensors(state)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    return layers.peft_configs(state, _config(spec))


def describe(path: Path, card: Card) -> dict[str, Any]:
    """None: an exported OFT is a folder for PEFT; a run is what is continued. StudioError, saying so."""
    raise StudioError(f"{path}: an OFT is continued from its run, not from a file")


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> Adapter:
    """Put a fresh OFT on the base; StudioError when a target matches nothing or the blocks do not fill a layer's inputs."""
    found = targets.find_layers(parts, spec, card)
    _check_blocks({f"{c}.{n}": parts.modules[c].get_submodule(n) for c, names in found.items() for n in names}, spec.block_size)
    return Adapter(parts, spec, found, KIND, seed, card)


def _check_blocks(found: "dict[str, nn.Module]", block_size: int) -> None:
    """StudioError unless blocks of this size fill the inputs of all layers, and none sees more than one pixel at a time.

    PEFT turns the patches that a larger convolution sees and adds up where they overlap: that is no rotation, and no identity at first.
    """
    for name, layer in found.items():
        if layer.weight[0, 0].numel() > 1:
            raise StudioError(
                f"method.targets: OFT cannot turn layer {name}, a convolution over several pixels: use attention+feed_forward"
            )
    sizes = {name: layer.weight.shape[1] for name, layer in found.items()}
    name = next((n for n, size in sizes.items() if size % block_size), None)
    if name:
        common = math.gcd(*sizes.values())
        fitting = [str(d) for d in range(2, min(common, 128) + 1) if common % d == 0]
        hint = f"use {', '.join(fitting)}" if fitting else "use other targets"
        raise StudioError(f"method.block_size: {block_size} does not divide the {sizes[name]} inputs of layer {name}: {hint}")


def _config(spec: Spec) -> Any:
    """With the exact Cayley transform: PEFT's series is only nearly orthogonal."""
    from peft import OFTConfig

    return OFTConfig(oft_block_size=spec.block_size, use_cayley_neumann=False)


def _tensors(layer: Any) -> "dict[str, Tensor]":
    """`oft_R.weight` [blocks, b (b - 1) / 2] of a layer: what lies above the diagonal of each block's skew-symmetric matrix."""
    return {"oft_R.weight": layer.oft_R[NAME].weight}


def _start(layer: Any, generator: "Generator") -> None:
    """Zero: no turn."""
    import torch

    weight = layer.oft_R[NAME].weight
    weight.data = torch.zeros(weight.shape, device=weight.device)


@contextmanager
def _at(on: list[Any], spec: Spec, strengths: list[float]) -> "Iterator[None]":
    """Within: 1 = as trained, 0 = the base's own layers."""
    (strength,) = set(strengths)
    refusal = refuses_strength(strength)
    if refusal:
        raise StudioError(f"strength {strength:g}: {refusal}")
    for layer in on:
        layer.enable_adapters(bool(strength))
    try:
        yield
    finally:
        for layer in on:
            layer.enable_adapters(True)


def _read(found: Any, spec: Spec) -> "dict[str, Tensor]":
    raise StudioError("start_from: an OFT is continued from its run, not from a file")


KIND = layers.Kind(_config, _tensors, _start, _at, _read)
