"""What adapters of every kind make of a weight, by published formulas alone: LoRA, LoHa, LoKr, with cores too, DoRA, differences."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Own = dict[str, "Tensor"]  # the tensors of one layer by part: lora_A.weight, hada_w1_a, lokr_w1, alpha, dora_scale, diff …
PARTS = re.compile(
    r"lora_[AB]\.weight|lora_mid\.weight|hada_(w[12]_[ab]|t[12])|lokr_(w[12](_[ab])?|t2)|alpha|dora_scale|magnitude|diff|diff_b"
)
SMALLEST_NORM = 1e-12
RANKED = ("hada_w1_b", "lokr_w2_b", "lokr_w1_b")  # [r, …]: the factor whose rank an alpha is divided by; the first that is there


def known(own: Own) -> bool:
    """Whether a layer is made of parts that are read here, and of all that belong together."""
    whole = (
        {"lora_A.weight", "lora_B.weight"} <= own.keys()
        or {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= own.keys()
        or all(f"lokr_{w}" in own or {f"lokr_{w}_a", f"lokr_{w}_b"} <= own.keys() for w in ("w1", "w2"))
        or bool({"diff", "diff_b"} & own.keys())
    )
    return whole and all(PARTS.fullmatch(part) for part in own)


def change(own: Own, shape: "tuple[int, ...]") -> "Tensor | None":
    """The change of a weight [out, in, …] of this shape, alpha included, fp32; None where a layer has one for its bias alone.

    LoRA (Hu 2021): B A alpha / r, a middle factor of convolutions in A. LoHa (Hyeon-Woo 2022): (w1_a w1_b) * (w2_a w2_b) alpha / r.
    LoKr (Yeh 2024): w1 ⊗ w2 alpha / r, without alpha where no factor has a rank. RuntimeError where it does not make such a shape.
    """
    own = {part: tensor.float() for part, tensor in own.items()}
    if "lora_A.weight" in own:
        return _scale(own, own["lora_A.weight"].shape[0]) * _low_rank(own).reshape(shape)
    rank = next((own[part].shape[0] for part in RANKED if part in own), None)
    scale = _scale(own, rank) if rank else 1.0
    if "hada_w1_a" in own:
        return scale * (_factor(own, "hada_w1", "hada_t1").reshape(shape) * _factor(own, "hada_w2", "hada_t2").reshape(shape))
    if "lokr_w1" in own or "lokr_w1_a" in own:
        return scale * _kronecker(_factor(own, "lokr_w1", ""), _factor(own, "lokr_w2", "lokr_t2")).reshape(shape)
    return own["diff"].reshape(shape) if "diff" in own else None


def changed(weight: "Tensor", own: Own, strength: float, rows: slice | None = None, outputs: int = 0) -> "Tensor":
    """The weight [out, in, …], fp32, with the adapter at a strength; `rows` = which of the adapter's `outputs` this weight is.

    DoRA (Liu 2024): m (W + D) / |W + D|, the norm taken over the inputs where m is one for each output, as PEFT has it, or over the
    outputs where m is one for each input, as LyCORIS' first files have it; other strengths than 1 lie on the line from W, as in ComfyUI.
    """
    shape = tuple(weight.shape)
    own = {part: tensor.to(weight.device) for part, tensor in own.items()}
    found = change(own, (outputs or shape[0], *shape[1:]))
    if found is None:
        return weight
    found = found if rows is None else found[rows]
    magnitude = own.get("magnitude", own.get("dora_scale"))
    if magnitude is None:
        return weight + strength * found
    axis = 0 if is_by_output(own) else 1
    magnitude = magnitude.float().flatten()[slice(None) if rows is None or axis else rows]
    whole, view = weight + found, [1] * weight.ndim
    view[axis] = -1
    norm = whole.transpose(0, axis).flatten(1).norm(dim=1).clamp_min(SMALLEST_NORM)
    return weight + strength * (whole * (magnitude / norm).view(view) - weight)


def is_by_output(own: Own) -> bool:
    """Whether a DoRA layer has a magnitude for each output; else it has one for each input: dora_scale [1, in, …]."""
    scale = own.get("dora_scale")
    return scale is None or scale.ndim < 2 or scale.shape[0] > 1 or scale.numel() == 1


def _scale(own: Own, rank: int) -> float:
    return float(own["alpha"]) / rank if "alpha" in own else 1.0


def _low_rank(own: Own) -> "Tensor":
    """up down, or up x middle x down."""
    import torch

    down, up = own["lora_A.weight"], own["lora_B.weight"].flatten(1)
    if "lora_mid.weight" in own:
        down = torch.einsum("rshw,si->rihw", own["lora_mid.weight"], down.flatten(1))
    return up @ down.flatten(1)


def _factor(own: Own, name: str, core: str) -> "Tensor":
    """A factor of a product: whole, of two parts [out, r] and [r, in…], or of two [r, out], [r, in] and a core [r, r, …] (Tucker)."""
    import torch

    if name in own:
        return own[name]
    a, b = own[f"{name}_a"], own[f"{name}_b"]
    return torch.einsum("ij...,ip,jr->pr...", own[core], a, b) if core in own else a @ b.flatten(1)


def _kronecker(w1: "Tensor", w2: "Tensor") -> "Tensor":
    import torch

    return torch.kron(w1.reshape(*w1.shape, *[1] * (w2.ndim - 2)).contiguous(), w2.contiguous())
