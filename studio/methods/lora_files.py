"""LoRA tensors in the layouts other programs read: kohya, diffusers and PEFT names."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card
from studio.methods.layers import targets_of

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = (("lora_unet_", "unet_"), ("lora_te_", "text_encoder_"), ("lora_te1_", "text_encoder_"), ("lora_te2_", "text_encoder_2_"))
STABILITY = (  # ends of the names of layers in the UNets of Stability's files, and in diffusers
    ("_in_layers_2", "_conv1"), ("_out_layers_3", "_conv2"), ("_skip_connection", "_conv_shortcut"), ("_emb_layers_1", "_time_emb_proj"),
    ("_0_op", "_downsamplers_0_conv"), (r"_[12]_conv", "_upsamplers_0_conv"),
)  # fmt: skip
TEXT_ROOT = "text_model."  # every reader expects it; transformers has dropped it from CLIPTextModel's own names


def write(state: "dict[str, Tensor]", scale: float, layout: str, card: Card) -> "dict[str, Tensor]":
    """`state` under the names of `layout`; the scale goes into `.alpha` (kohya) or into the up matrix (the others)."""
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


def read(tensors: "dict[str, Tensor]", layers: list[str], scale: float, card: Card) -> "dict[str, Tensor]":
    """A state for `layers` at this scale from a file's tensors in any known layout; StudioError when layers do not match."""
    by_key = spellings(layers, card)
    state: dict[str, Tensor] = {}
    for key, down, up, file_scale in _file_pairs(tensors):
        name = by_key.get(flat(key))
        if name is None:
            raise StudioError(f"start_from: its layer {key} is not trained by this run: choose the same base model and method.targets")
        state |= {f"{name}.lora_A.weight": down.float(), f"{name}.lora_B.weight": up.float() * (file_scale / scale)}
    if len(state) != 2 * len(layers):
        raise StudioError(f"start_from: it has {len(state) // 2} of the {len(layers)} layers of this run: choose the same method.targets")
    return state


def spellings(layers: list[str], card: Card) -> dict[str, str]:
    """{a layer's name in one spelling: the layer}, for the names of all layouts."""
    own = {flat(name): name for name in layers}
    return own | {flat(card.kohya_name(name)): name for name in layers} if card.kohya_name else own


def flat(name: str) -> str:
    """One spelling for a layer's name in all layouts."""
    name = name.replace(".", "_")
    prefix, component = next(((p, c) for p, c in PREFIXES if name.startswith(p)), ("", ""))
    return re.sub(r"^(text_encoder(?:_\d)?)_text_model_", r"\1_", component + name.removeprefix(prefix))


def ends_as_in_diffusers(name: str) -> str:
    """A flat name of a UNet's layer whose end is as diffusers spells it."""
    if "_blocks_" in name or "_block_" in name:
        for theirs, ours in STABILITY:
            name, count = re.subn(theirs + "$", ours, name)
            if count:
                break
    return name


def _file_pairs(tensors: "dict[str, Tensor]") -> "list[tuple[str, Tensor, Tensor, float]]":
    """(layer, down, up, scale) for each layer of a file; StudioError when it is no LoRA."""
    found = []
    for name in sorted(tensors):
        for down, up in ((".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight")):
            key = name.removesuffix(down)
            if name.endswith(down) and key + up in tensors:
                alpha = tensors.get(f"{key}.alpha")
                rank = tensors[name].shape[0]
                found.append((key, tensors[name], tensors[key + up], 1.0 if alpha is None else float(alpha) / rank))
    if not found:
        raise StudioError("start_from: no LoRA layers in this file: give an adapter exported as kohya or diffusers")
    return found


def describe(path: Path, card: Card) -> dict[str, Any]:
    """{"rank", "targets", "text_encoder"} of an adapter file, read from its header; StudioError when it is no LoRA or mixed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            shapes = {n: file.get_slice(n).get_shape() for n in file.keys() if n.endswith((".lora_down.weight", ".lora_A.weight"))}
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): export it again") from None
    ranks = Counter(shape[0] for shape in shapes.values())
    if not shapes:
        raise StudioError(f"{path}: no LoRA layers in this file: give an adapter exported as kohya or diffusers")
    if len(ranks) > 1:
        raise StudioError(
            f"{path}: its layers have several ranks ({', '.join(map(str, sorted(ranks)))}): such adapters cannot be continued"
        )
    names = [flat(n.removesuffix(".lora_down.weight").removesuffix(".lora_A.weight")) for n in shapes]
    return {"rank": next(iter(ranks)), **where(names, card)}


def where(names: list[str], card: Card) -> dict[str, Any]:
    """{"targets", "text_encoder"} that pick the layers of these flat names."""
    denoiser = [ends_as_in_diffusers(n) for n in names if n.startswith(card.denoiser + "_")]
    return {"targets": targets_of(denoiser, card), "text_encoder": len(denoiser) < len(names)}
