"""LoHa and LoKr tensors in the layout of LyCORIS, and what their two methods share."""

import contextlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card
from studio.methods import layers, targets
from studio.methods.imports import NOT_CONTINUED, Renamed
from studio.methods.layers import NAME, RankSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

LOHA = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
LOKR = (frozenset({"lokr_w1", "lokr_w2"}), frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}))
CORES = frozenset({"hada_t1", "hada_t2", "lokr_t2"})  # of convolutions (Tucker); in a file they make the same product as without
RANKED = ("hada_w1_b", "lokr_w2_b")  # [r, …]
Shapes = dict[str, dict[str, list[int]]]  # layer -> part -> shape


def layouts(card: Card) -> tuple[str, ...]:
    """The layouts of exports: LyCORIS' names are known where kohya's are."""
    return ("lycoris", "peft") if "kohya" in card.export_layouts else ("peft",)


def metadata(spec: RankSpec, told: dict[str, Any]) -> dict[str, str]:
    """What LyCORIS' own files say about the network."""
    dims = {"ss_network_dim": str(spec.rank), "ss_network_alpha": f"{spec.scale * spec.rank:g}"}
    return {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps(told), **dims}


@contextlib.contextmanager
def scaled(on: list[Any], spec: RankSpec, strengths: list[float]) -> "Iterator[None]":
    """Within: the layers' change times the one strength of this pass."""
    (strength,) = set(strengths)
    for layer in on:
        layer.scaling[NAME] = spec.scale * strength
    try:
        yield
    finally:
        for layer in on:
            layer.scaling[NAME] = spec.scale


def write(state: "dict[str, Tensor]", spec: RankSpec, layout: str, card: Card) -> "dict[str, Tensor]":
    """`state` under the names of `layout`; the scale goes into `.alpha`, or into w1 where no factor has a rank and alpha is not read.

    StudioError for other layouts than lycoris and peft.
    """
    import torch

    if layout == "peft":
        return layers.peft_tensors(state)
    if layout != "lycoris":
        raise StudioError(f"--format {layout}: this method writes lycoris or peft")
    out: dict[str, Tensor] = {}
    for name, parts in by_layer(state).items():
        own = {part: t.detach() for part, t in parts.items()}
        is_whole = own.keys() == LOKR[0]
        if is_whole:
            own["lokr_w1"] = own["lokr_w1"] * spec.scale
        own["alpha"] = torch.tensor(float(spec.rank) if is_whole else spec.scale * spec.rank)
        out |= {f"{card.kohya_name(name)}.{part}": t for part, t in own.items()}
    return out


def read(found: Renamed, spec: RankSpec) -> "dict[str, Tensor]":
    """A state at the scale of `spec` from a file's tensors; the alpha goes into the first factor."""
    state: dict[str, Tensor] = {}
    for name, parts in found.tensors.items():
        own = dict(parts)
        alpha, first = own.pop("alpha", None), min(own, default="")
        rank = next((own[part].shape[0] for part in RANKED if part in own), None)
        scale = 1.0 if alpha is None or rank is None else float(alpha) / rank
        factors = {part: t.float() * (scale / spec.scale if part == first else 1.0) for part, t in own.items()}
        if rank is not None and rank < spec.rank:
            factors = _at_rank(factors, spec.rank)
        state |= {f"{name}.{part}": t for part, t in factors.items()}
    return state


def _at_rank(own: "dict[str, Tensor]", rank: int) -> "dict[str, Tensor]":
    """The factors of a layer at a larger rank, of the same product; LoKr's second one is whole where PEFT keeps it so at that rank."""
    up, down = own.get("lokr_w2_a"), own.get("lokr_w2_b")
    if up is not None and down is not None and down.ndim == 2 and rank >= max(up.shape[0], down.shape[1]) / 2:
        return {"lokr_w1": own["lokr_w1"], "lokr_w2": up @ down}
    return {part: _padded(part, t, rank) if part.endswith(("_a", "_b")) else t for part, t in own.items()}


def _padded(part: str, factor: "Tensor", rank: int) -> "Tensor":
    """A factor at a larger rank: what is added is zero in both factors of a product, which it leaves as it is."""
    import torch

    axis = 1 if part.endswith("_a") else 0  # [out, r] and [r, in…]
    shape = [rank - factor.shape[axis] if i == axis else side for i, side in enumerate(factor.shape)]
    return torch.cat([factor, factor.new_zeros(shape)], axis)


def by_layer(tensors: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{layer: {part: its tensor or shape}} of a file, sorted."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(tensors):
        layer, _, part = name.rpartition(".")
        found.setdefault(layer, {})[part] = tensors[name]
    return found


def describe_loha(path: Path, card: Card) -> dict[str, Any]:
    """{"rank", "targets", "text_encoder"} of a LoHa file, from its header; StudioError when it is none that can be continued."""
    shapes, _ = _header(path, "LoHa", (LOHA,))
    return {"rank": max(own["hada_w1_b"][0] for own in shapes.values()), **targets.where(list(shapes), card)}


def describe_lokr(path: Path, card: Card) -> dict[str, Any]:
    """{"rank", "factor", "targets", "text_encoder"} of a LoKr file, from its header; StudioError when it is none that can be continued."""
    shapes, said = _header(path, "LoKr", LOKR)
    ranks = {own["lokr_w2_b"][0] for own in shapes.values() if "lokr_w2_b" in own}
    whole = [math.ceil(max(own["lokr_w2"][:2]) / 2) for own in shapes.values() if "lokr_w2" in own]  # the least rank that keeps it whole
    return {"rank": max(ranks | set(whole)), "factor": _factor(shapes, said), **targets.where(list(shapes), card)}


def _factor(shapes: Shapes, said: dict[str, str]) -> int | None:
    """The factor as the file says, else as the sides of its small matrices tell; None = the square root."""
    with contextlib.suppress(KeyError, ValueError, TypeError):
        told = int(json.loads(said["ss_network_args"])["factor"])
        return told if told > 0 else None
    sides = [(own["lokr_w1"][0], own.get("lokr_w2", own.get("lokr_w2_a"))[0]) for own in shapes.values()]  # of the outputs
    is_square = all(small == _root(small * large) for small, large in sides)
    return None if is_square else max(small for small, _ in sides)


def _root(size: int) -> int:
    """The largest divisor up to the square root."""
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)


def _header(path: Path, title: str, known: tuple[frozenset[str], ...]) -> tuple[Shapes, dict[str, str]]:
    """(shapes of a file's layers, its metadata); StudioError where a layer is not made of parts that are known here."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            shapes, said = by_layer({n: file.get_slice(n).get_shape() for n in file.keys()}), file.metadata() or {}
    except SafetensorError as error:
        raise StudioError(f"{path} is not a whole .safetensors file ({error}): export it again") from None
    names = frozenset().union(*known)
    if not any(names & own.keys() for own in shapes.values()):
        raise StudioError(f"{path}: no {title} layers in this file: give an adapter exported as lycoris")
    for name, own in shapes.items():
        if "lokr_t2" in own and "lokr_w2_a" in own:
            own["lokr_w2_a"] = own["lokr_w2_a"][::-1]  # [r, out] there, and [out, r] without a core
        if own.keys() - {"alpha"} - CORES not in known:
            raise StudioError(f"{path}: layer {name} is made of {', '.join(sorted(own))}, {NOT_CONTINUED}")
    return shapes, said
