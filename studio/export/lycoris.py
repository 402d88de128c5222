"""LyCORIS files read back two ways that share no arithmetic with how they are written: by their formulas alone, and by PEFT."""

from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.families.base import Parts, card_of
from studio.methods import formulas
from studio.methods.formulas import Own
from studio.store import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


@contextmanager
def by_formula(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[tuple[Parts, str, int]]":
    """Within: what the file's tensors say is added to the base's own weights, by the papers' formulas."""
    found = list(_layers(family, parts, read_tensors(target)))
    kept = [(layer, layer.weight.data) for _, _, layer, _ in found]
    for _, _, layer, own in found:
        layer.weight.data = layer.weight.data + formulas.change(own, tuple(layer.weight.shape)).to(layer.weight)
    try:
        yield parts, probe, len(found)
    finally:
        for layer, weight in kept:
            layer.weight.data = weight


@contextmanager
def by_peft(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[tuple[Parts, str, int]]":
    """Within: PEFT has made layers of the file's kind and rank on the base, and loaded the file's tensors into them."""
    from peft import PeftModel, set_peft_model_state_dict

    found, count = list(_layers(family, parts, read_tensors(target))), 0
    components = dict.fromkeys(component for component, _, _, _ in found)
    wrapped = {}
    for component in components:
        mine = {path: (layer, own) for c, path, layer, own in found if c == component}
        wrapped[component] = PeftModel(parts.modules[component], _config(mine))
        state = {f"base_model.model.{path}.{part}": t for path, (_, own) in mine.items() for part, t in _unscaled(own).items()}
        unknown = set(set_peft_model_state_dict(wrapped[component], state).unexpected_keys)
        count += sum(not any(key.startswith(f"base_model.model.{path}.") for key in unknown) for path in mine)
    try:
        yield parts, probe, count
    finally:
        for component, model in wrapped.items():
            parts.modules[component] = model.unload()


def _layers(family: ModuleType, parts: Parts, tensors: "dict[str, Tensor]") -> "Iterator[tuple[str, str, nn.Module, Own]]":
    """(component, name, module, tensors) of every layer of the base that the file names."""
    card, named = card_of(family, parts), {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        named.setdefault(layer, {})[part] = tensor.float()
    for component in (card.denoiser, *card.text_encoders):
        for path, layer in parts.modules[component].named_modules():
            own = named.get(card.kohya_name(f"{component}.{path}")) if hasattr(layer, "weight") else None
            if own:
                yield component, path, layer, own


def _config(mine: "dict[str, tuple[nn.Module, Own]]") -> Any:
    """The PEFT config of one component's layers; the scale is in the tensors."""
    from peft import LoHaConfig, LoKrConfig
    from peft.tuners.lokr.layer import factorization

    _, first = next(iter(mine.values()))
    if "hada_w1_a" in first:
        rank = first["hada_w1_b"].shape[0]
        return LoHaConfig(r=rank, alpha=rank, target_modules=list(mine))
    sides = [pair for layer, own in mine.values() for pair in zip(own["lokr_w1"].shape, layer.weight.shape[:2], strict=True)]
    is_square = all(factorization(size)[0] == small for small, size in sides)
    factor = -1 if is_square else max(small for small, _ in sides)
    whole = max(size for _, size in sides)  # a rank at which PEFT splits no factor
    rank = next((own["lokr_w2_b"].shape[0] for _, own in mine.values() if "lokr_w2_b" in own), whole)
    return LoKrConfig(r=rank, alpha=rank, decompose_factor=factor, target_modules=list(mine))


def _unscaled(own: Own) -> Own:
    """The tensors with alpha / rank in the first of them, where PEFT is told that it is 1."""
    rank = next((own[part].shape[0] for part in ("hada_w1_b", "lokr_w2_b") if part in own), None)
    scale = float(own["alpha"]) / rank if rank else 1.0
    first = "hada_w1_a" if "hada_w1_a" in own else "lokr_w1"
    return {part: t * scale if part == first else t for part, t in own.items() if part != "alpha"}
