"""Learned words in files that diffusers, A1111, ComfyUI and InvokeAI read: `emb_params` [n, d], or one tensor for each text encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, printable
from studio.families.base import Card
from studio.families.signatures import identify
from studio.families.signs import ADAPTER

if TYPE_CHECKING:
    from torch import Tensor

STATE_KEY = "token_embedding"  # of a run's state: `<text encoder>.token_embedding`
MAX_VECTORS = 16


def vector_names(token: str, count: int) -> list[str]:
    """What a tokenizer calls the vectors of a word, as diffusers does: word, word_1, word_2, …"""
    return [token, *(f"{token}_{n}" for n in range(1, count))]


def write(state: "dict[str, Tensor]", card: Card) -> "dict[str, Tensor]":
    """The tensors of a file, from a run's state."""
    return {name: state[f"{encoder}.{STATE_KEY}"].detach().float() for encoder, name in card.words.items()}


def read(tensors: "dict[str, Tensor]", shapes: dict[str, tuple[int, int]], card: Card) -> "dict[str, Tensor]":
    """The vectors [n, d] of a file by text encoder; StudioError where it holds none, or not of these shapes."""
    found = _by_encoder(tensors, card)
    if found is None or any(value.ndim != 2 for value in found.values()):
        raise StudioError(f"start_from: no learned word in this file: give one with {names_of(card)}, exported as embedding")
    for encoder, (count, width) in shapes.items():
        there = tuple(found[encoder].shape)
        if there != (count, width):
            raise StudioError(
                f"start_from: its word has {there[0]} vectors of {there[1]} numbers, here {count} of {width} are needed: "
                "use the base model it was made for, and as many vectors"
            )
    return {encoder: value.float() for encoder, value in found.items()}


def names_of(card: Card) -> str:
    """What the tensors of a file are called."""
    return " and ".join(card.words.values())


def _by_encoder(values: dict[str, Any], card: Card) -> dict[str, Any] | None:
    """What a file has for each text encoder; where there is one alone, its only tensor may have any name. None where one is missing."""
    if len(card.words) == len(values) == 1:
        return dict(zip(card.words, values.values(), strict=True))
    return {encoder: values[name] for encoder, name in card.words.items()} if set(card.words.values()) <= values.keys() else None


def describe(path: Path, card: Card) -> dict[str, Any]:
    """{"num_vectors"} of an embedding file, read from its header; StudioError where it is none."""
    from safetensors import SafetensorError, safe_open

    if identify(path).what == ADAPTER:
        raise StudioError(f"{path}: this is {identify(path).words()}, no learned word: choose the method that it was made with")
    try:
        with safe_open(path, "np") as file:
            shapes = {n: file.get_slice(n).get_shape() for n in file.keys()}
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): export it again") from None
    found = list((_by_encoder(shapes, card) or {"": []}).values())
    if any(len(shape) != 2 or shape[0] != found[0][0] for shape in found):
        there = ", ".join(printable(name)[:40] for name in sorted(shapes)[:3]) or "nothing"
        raise StudioError(f"{path}: no learned word of {card.title} in this file, which has {there}: give one with {names_of(card)}")
    if not 1 <= found[0][0] <= MAX_VECTORS:
        raise StudioError(f"{path}: its word has {found[0][0]} vectors; 1 to {MAX_VECTORS} are supported")
    return {"num_vectors": found[0][0]}
