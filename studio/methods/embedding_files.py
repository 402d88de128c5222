"""Learned words in files: `emb_params` [n, d], which diffusers, A1111, ComfyUI and InvokeAI read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

NAME = "emb_params"
STATE_KEY = "token_embedding"  # of a run's state: `<text encoder>.token_embedding`
MAX_VECTORS = 16


def vector_names(token: str, count: int) -> list[str]:
    """What a tokenizer calls the vectors of a word, as diffusers does: word, word_1, word_2, …"""
    return [token, *(f"{token}_{n}" for n in range(1, count))]


def write(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors of a file, from a run's state."""
    return {NAME: vectors(state).detach().float()}


def vectors(state: "dict[str, Tensor]") -> "Tensor":
    """The vectors [n, d] of a state."""
    return next(t for n, t in state.items() if n.endswith("." + STATE_KEY))


def read(tensors: "dict[str, Tensor]", shape: tuple[int, int]) -> "Tensor":
    """The vectors [n, d] of a file; StudioError where it holds none or other ones."""
    found = tensors.get(NAME) if NAME in tensors else next(iter(tensors.values())) if len(tensors) == 1 else None
    if found is None or found.ndim != 2:
        raise StudioError("start_from: no learned word in this file: give one with emb_params, exported as embedding")
    if tuple(found.shape) != shape:
        raise StudioError(
            f"start_from: its word has {found.shape[0]} vectors of {found.shape[1]} numbers, here {shape[0]} of {shape[1]} are needed: "
            "use the base model it was made for, and as many vectors"
        )
    return found.float()


def describe(path: Path) -> dict[str, Any]:
    """{"num_vectors"} of an embedding file, read from its header; StudioError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            shapes = {n: file.get_slice(n).get_shape() for n in file.keys()}
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): export it again") from None
    shape = shapes.get(NAME) or (next(iter(shapes.values())) if len(shapes) == 1 else [])
    if len(shape) != 2:
        raise StudioError(f"{path}: no learned word in this file: give one with emb_params")
    if not 1 <= shape[0] <= MAX_VECTORS:
        raise StudioError(f"{path}: its word has {shape[0]} vectors; 1 to {MAX_VECTORS} are supported")
    return {"num_vectors": shape[0]}
