"""DoRA (Liu 2024): a LoRA on the direction of each weight, and a trained length for each of its outputs, through PEFT."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods import formulas, layers, lora, lora_files, targets
from studio.methods.foreign import put as put_formula
from studio.methods.imports import Renamed, fit, lora_factors
from studio.methods.layers import NAME, Adapter, LayerSpec, RankSpec, adopt, keeps_every_snapshot, live, reword, trained, word
from studio.methods.layers import one_strength_a_pass as batchable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

__all__ = ["adopt", "batchable", "keeps_every_snapshot", "live", "reword", "trained", "word"]
recordable = False  # every step measures all weights anew, which was not tried as a recorded step

MAGNITUDE = "lora_magnitude_vector"  # as PEFT names it in files: one number for each output
ONLY_PEFT = "other programs compute a DoRA in other ways, so its only export is peft, a folder"


class Spec(LayerSpec, RankSpec):
    """Settings of DoRA."""

    kind: str = "dora"


def supports(card: Card) -> str | None:
    """Why this family cannot take DoRA; None when it can."""
    return layers.refuse(card, "DoRA")


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
    """The settings under which an adapter file can be continued: rank, targets, text_encoder. StudioError when it is no DoRA."""
    if not lora_files.is_dora(path):
        raise StudioError(f"{path}: no DoRA in this file: choose the method that it was made with")
    return lora_files.settings(path, card)


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> Adapter:
    """Put a fresh DoRA on the base; StudioError when a target matches nothing or the rank exceeds a layer."""
    found = targets.find_layers(parts, spec, card)
    targets.check_rank(parts, found, spec.rank)
    return Adapter(parts, spec, found, KIND, seed, card)


def _config(spec: Spec) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=spec.rank, lora_alpha=spec.scale * spec.rank, use_dora=True)


def _tensors(layer: Any) -> "dict[str, Tensor]":
    """`lora_A.weight` [r, in…], `lora_B.weight` [out, r…] and the magnitudes, [out] or [1, out, 1, 1], of a layer."""
    return lora.KIND.tensors(layer) | {MAGNITUDE: layer.lora_magnitude_vector[NAME].weight}


def _start(layer: Any, generator: "Generator") -> None:
    """A LoRA that changes nothing yet, and the length that each row of the weight has."""
    from peft.utils.integrations import dequantize_module_weight

    lora.KIND.start(layer, generator)
    own = layer.lora_magnitude_vector[NAME]
    own.get_weight_norm = _lengths
    weight = dequantize_module_weight(layer.get_base_layer()).detach()
    own.weight.data = _lengths(weight, weight.new_zeros(()), 0.0)


def _lengths(weight: "Tensor", lora_weight: "Tensor", scaling: float, adapter_name: str | None = None) -> "Tensor":
    """The lengths of the rows of a weight with its LoRA, [out] or [1, out, 1, 1], in fp32.

    PEFT measures them in the weight's precision: in bf16 a DoRA that has learned nothing would then change what the base draws.
    """
    import torch

    found = torch.linalg.vector_norm(weight.float() + scaling * lora_weight.float(), dim=tuple(range(1, weight.ndim)))
    return found if weight.ndim < 3 else found.view(1, -1, *[1] * (weight.ndim - 2))


@contextmanager
def _at(on: list[Any], spec: Spec, strengths: list[float]) -> "Iterator[None]":
    """Within: each layer's output lies on the line from the base's own, at strength 0, to what was trained, at 1, as in ComfyUI."""
    (strength,) = set(strengths)
    hooks = [layer.lora_magnitude_vector[NAME].register_forward_hook(lambda m, a, more: strength * more) for layer in on]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def merged(spec: Spec, weight: "Tensor", own: "dict[str, Tensor]", strength: float) -> "Tensor":
    """A weight [out, in, …], fp32, with what is trained beside it at a strength."""
    up = own["lora_B.weight"].float() * spec.scale
    return formulas.changed(weight, {"lora_A.weight": own["lora_A.weight"], "lora_B.weight": up, "magnitude": own[MAGNITUDE]}, strength)


def _put(found: Renamed, here: dict[str, tuple[int, ...]], theirs: "dict[str, Tensor]") -> str:
    """Take a layer's LoRA and its magnitudes in, of layers that are one there by their outputs; why not."""
    taken = Renamed()
    if reason := put_formula(taken, here, theirs):
        return reason
    if not lora_factors(theirs):
        return "no DoRA: files of several kinds cannot be continued"
    for layer, change in taken.tensors.items():
        own, rows = change.own, change.rows or slice(None)
        if not formulas.is_by_output(own):
            return "a DoRA by inputs, which cannot be continued"
        if "diff_b" in own or "diff" in own:
            return "biases beside it, which are not trained here"
        pair = fit({"lora_A.weight": own["lora_A.weight"], "lora_B.weight": own["lora_B.weight"][rows]}, here[layer]) or {}
        magnitude = own.get("magnitude", own.get("dora_scale"))
        found.tensors[layer] = pair if magnitude is None else pair | {MAGNITUDE: magnitude.float().flatten()[rows]}
    return ""


def _read(found: Renamed, spec: Spec) -> "dict[str, Tensor]":
    """A state at the rank and scale of `spec` from a file's tensors; StudioError where a layer has no magnitudes."""
    for layer, own in found.tensors.items():
        if MAGNITUDE not in own:
            raise StudioError(f"start_from: layer {layer} has no magnitudes: files of several kinds cannot be continued")
    state = lora_files.read(found, spec)
    for layer, own in found.tensors.items():
        ends = [1] * (own["lora_A.weight"].ndim - 2)
        shape = (-1,) if not ends else (1, -1, *ends)
        state[f"{layer}.{MAGNITUDE}"] = own[MAGNITUDE].reshape(shape)
    return state


KIND = layers.Kind(_config, _tensors, _start, _at, _read, put=_put, merge=merged)
