"""LoRA tensors in the layouts other programs read: kohya, diffusers and PEFT names."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.adapter_names import split_end
from studio.families.base import Card
from studio.families.header import read_header
from studio.methods.imports import DOWN, HALF, UP, Renamed, as_lora, is_weighed
from studio.methods.targets import where

if TYPE_CHECKING:
    from torch import Tensor

TEXT_ROOT = "text_model."  # every reader expects it; transformers has dropped it from CLIPTextModel's own names


def write(state: "dict[str, Tensor]", scale: float, layout: str, card: Card) -> "dict[str, Tensor]":
    """`state` under the names of `layout`; the scale goes into `.alpha` (kohya) or into the up matrix (the others).

    StudioError for a layout that the family has not.
    """
    import torch

    if layout not in card.export_layouts:
        raise StudioError(f"--format {layout}: for {card.title} this method writes {', '.join(card.export_layouts)}")
    out: dict[str, Tensor] = {}
    for name, down, up in _pairs(state):
        component, _, path = name.partition(".")
        if layout == "kohya":
            key = card.kohya_name(name)
            out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(scale * down.shape[0])}
        elif layout == "diffusers":
            path = _with_root(component, path)
            out |= {f"{component}.{path}.lora_A.weight": down, f"{component}.{path}.lora_B.weight": up * scale}
        else:  # one folder per component; PEFT keeps the component's own names and its alpha
            out |= {f"{component}/base_model.model.{path}.lora_A.weight": down, f"{component}/base_model.model.{path}.lora_B.weight": up}
    return out


def _pairs(state: "dict[str, Tensor]") -> "list[tuple[str, Tensor, Tensor]]":
    names = sorted(n.removesuffix(".lora_A.weight") for n in state if n.endswith(".lora_A.weight"))
    return [(n, state[f"{n}.lora_A.weight"].detach(), state[f"{n}.lora_B.weight"].detach()) for n in names]


def _with_root(component: str, path: str) -> str:
    return TEXT_ROOT + path if component.startswith("text_encoder") and not path.startswith(TEXT_ROOT) else path


def read(found: Renamed, spec: Any) -> "dict[str, Tensor]":
    """A state at the rank and scale of `spec` from a file's tensors."""
    state = as_lora(found, spec.rank)
    return {name: t / spec.scale if name.endswith(".lora_B.weight") else t for name, t in state.items()}


def describe(path: Path, card: Card) -> dict[str, Any]:
    """{"rank", "targets", "text_encoder", …} that take in every layer of an adapter file, by its header; StudioError when it is no LoRA."""
    if is_dora(path):
        raise StudioError(f"{path}: this is a DoRA, which has magnitudes beside its LoRA: continue it with --recipe dora")
    return settings(path, card)


def is_dora(path: Path) -> bool:
    """Whether all layers of an adapter file are a LoRA with a magnitude for each output, as DoRA here has them; by its header."""
    shapes = {split_end(name): shape for name, shape in read_header(path).shapes.items()}
    kinds, pairs = {kind for _, _, kind in shapes} - {""}, {layer for layer, end, _ in shapes if end in DOWN}
    weighed = {layer for layer, end, _ in shapes if is_weighed([end])}
    by_input = any(end == ".dora_scale" and len(s) > 1 and s[0] == 1 and max(s) > 1 for (_, end, _), s in shapes.items())
    return kinds == {"LoRA"} and bool(weighed) and pairs == weighed and not by_input


def settings(path: Path, card: Card) -> dict[str, Any]:
    """The same for whatever has LoRA's factors."""
    header = read_header(path)
    layers = {split_end(n)[0]: shape[0] for n, shape in header.shapes.items() if split_end(n)[1] in DOWN and shape}
    if not layers and any(split_end(name)[1] in UP for name in header.shapes):
        raise StudioError(f"{path}: of each of its layers {HALF}: fetch or export the file again")
    if not layers:
        raise StudioError(f"{path}: no LoRA layers in this file: give a LoRA file, or choose the method that it was made with")
    return {"rank": max(layers.values())} | where(list(layers), card)
