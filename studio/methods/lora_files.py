"""LoRA tensors in the layouts other programs read: kohya, diffusers and PEFT names."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card
from studio.methods.layers import targets_of

if TYPE_CHECKING:
    from torch import Tensor

KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te"}
TEXT_ROOT = "text_model."  # every reader expects it; transformers has dropped it from CLIPTextModel's own names


def write(state: "dict[str, Tensor]", scale: float, layout: str) -> "dict[str, Tensor]":
    """`state` under the names of `layout`; the scale goes into `.alpha` (kohya) or into the up matrix (the others)."""
    import torch

    out: dict[str, Tensor] = {}
    for name, down, up in _pairs(state):
        component, _, path = name.partition(".")
        if layout == "kohya":
            key = kohya_key(name)
            out |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(scale * down.shape[0])}
        elif layout == "diffusers":
            path = _with_root(component, path)
            out |= {f"{component}.{path}.lora_A.weight": down, f"{component}.{path}.lora_B.weight": up * scale}
        elif layout == "peft":  # one folder per component; PEFT keeps the component's own names and its alpha
            out |= {f"{component}/base_model.model.{path}.lora_A.weight": down, f"{component}/base_model.model.{path}.lora_B.weight": up}
        else:
            raise StudioError(f"--format {layout}: this method writes kohya, diffusers or peft")
    return out


def _pairs(state: "dict[str, Tensor]") -> "list[tuple[str, Tensor, Tensor]]":
    names = sorted(n.removesuffix(".lora_A.weight") for n in state if n.endswith(".lora_A.weight"))
    return [(n, state[f"{n}.lora_A.weight"].detach(), state[f"{n}.lora_B.weight"].detach()) for n in names]


def kohya_key(name: str) -> str:
    """What kohya's and LyCORIS' files call a layer, as `lora_unet_mid_block_…`."""
    component, _, path = name.partition(".")
    return f"{KOHYA[component]}_{_with_root(component, path).replace('.', '_')}"


def _with_root(component: str, path: str) -> str:
    return TEXT_ROOT + path if component.startswith("text_encoder") and not path.startswith(TEXT_ROOT) else path


def read(tensors: "dict[str, Tensor]", layers: list[str], scale: float) -> "dict[str, Tensor]":
    """A state for `layers` at this scale from a file's tensors in any known layout; StudioError when layers do not match."""
    by_key = {flat(name): name for name in layers}
    state: dict[str, Tensor] = {}
    for key, down, up, file_scale in _file_pairs(tensors):
        name = by_key.get(flat(key))
        if name is None:
            raise StudioError(f"start_from: its layer {key} is not trained by this run: choose the same base model and method.targets")
        state |= {f"{name}.lora_A.weight": down.float(), f"{name}.lora_B.weight": up.float() * (file_scale / scale)}
    if len(state) != 2 * len(layers):
        raise StudioError(f"start_from: it has {len(state) // 2} of the {len(layers)} layers of this run: choose the same method.targets")
    return state


def flat(name: str) -> str:
    """One spelling for a layer's name in all layouts."""
    for kohya, component in ((v, k) for k, v in KOHYA.items()):
        if name.startswith(kohya + "_"):
            name = f"{component}_{name[len(kohya) + 1 :]}"
    return name.replace(".", "_").replace("text_encoder_text_model_", "text_encoder_")


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
    denoiser = [n for n in names if n.startswith(card.denoiser + "_")]
    return {"rank": next(iter(ranks)), "targets": targets_of(denoiser, card), "text_encoder": len(denoiser) < len(names)}
