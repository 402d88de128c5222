"""Weights read from .safetensors files, in one precision: stored ones as they are, fp8 with the scales that lie beside it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, printable
from studio.families.signs import LEFTOVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    State = dict[str, Tensor]

SCALES = ("scale_weight", "weight_scale")  # what a layer's fp8 weight is multiplied by: one number, or one for each row
UNUSED = re.compile(rf"(^|\.)(scale_weight|weight_scale|scale_input|input_scale|comfy_quant|scaled_fp8)$|{LEFTOVER}")


def read_tensors(path: Path, prefix: str, dtype: Any = None) -> "State":
    """The tensors whose names start so; None = in the stored precision, or fp32 where it differs or nothing computes in it.

    Weights in fp8 are multiplied by the layer's `scale_weight` or `weight_scale`; StudioError where that fits none of its shapes.
    """
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        wanted = sorted(name for name in names if name.startswith(prefix) and not UNUSED.search(name))
        if dtype is None:
            dtypes = {file.get_slice(name).get_dtype() for name in wanted} - {"I64", "I32", "U8", "BOOL"}
            dtype = {"F16": torch.float16, "BF16": torch.bfloat16}.get(dtypes.pop() if len(dtypes) == 1 else "", torch.float32)
        state = {}
        for name in wanted:
            value = file.get_tensor(name)
            if not value.is_floating_point():
                continue
            scale = next((s for end in SCALES if (s := name.removesuffix("weight") + end) in names), None)
            if scale and name.endswith(".weight") and value.dtype.itemsize == 1:
                value = _scaled(path, name, value, file.get_tensor(scale))
            state[name] = value.to(dtype)
    return state


def _scaled(path: Path, name: str, value: "Tensor", scale: "Tensor") -> "Tensor":
    """The weight [out, in] that fp8 numbers stand for, fp32; the scale is a number, or one per row."""
    if scale.numel() == 1:
        return value.float() * scale.float().reshape(())
    if not scale.is_floating_point() or scale.numel() != value.shape[0]:
        raise StudioError(f"{path}: the fp8 scales of {name[:120]} are of a kind not known here: use the plain fp8, fp16 or bf16 version")
    return value.float() * scale.float().reshape(-1, *[1] * (value.ndim - 1))


def fill(path: Path, name: str, make: "Callable[[], nn.Module]", state: "State") -> "nn.Module":
    """The model that `make` describes with `state` as its weights; StudioError unless every tensor is there and fits."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = make()
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing:
        raise StudioError(f"{path}: {len(missing)} of the {name}'s {len(wanted)} tensors are missing, first {missing[0]}: fetch it again")
    if unknown:
        raise StudioError(
            f"{path}: {len(unknown)} tensors of the {name} are not known here, first {printable(unknown[0])[:120]}: use another copy"
        )
    for key, value in wanted.items():
        if value.shape != state[key].shape:
            shapes = f"{list(state[key].shape)}, not {list(value.shape)}"
            raise StudioError(f"{path}: tensor {key} of the {name} is {shapes}: use another copy of the model")
    model.load_state_dict(state, assign=True)
    return model.eval()
