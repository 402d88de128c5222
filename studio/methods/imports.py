"""Others' adapters under our names: kohya, diffusers, PEFT, ai-toolkit, OneTrainer, xlabs and LyCORIS files, every layer found or named."""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, printable
from studio.families.adapter_names import adapter_kind, bare, split_end
from studio.families.folder import read_config
from studio.families.header import Header
from studio.families.import_names import layer_names

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]
    Here = dict[str, tuple[int, ...]]  # our layers that one of a file stands for -> the shapes of their weights
    Put = Callable[["Renamed", Here, State], str]  # takes a layer in; why not

TEXT_ENCODERS = {"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3"}
CLIP_PARTS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"}
DOWN = (".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight")
UP = tuple(end.replace("lora_A", "lora_B").replace("down", "up") for end in DOWN)
OUTPUTS = {"lora_B.weight", "hada_w1_a", "hada_w2_a"}  # the factors with a row for each output
CORES = {"hada_t1": "hada_w1", "hada_t2": "hada_w2", "lokr_t2": "lokr_w2"}  # of Tucker's products -> the factor that it is in
NOT_READ = "of a kind that is not read"
NOT_CONTINUED = "which cannot be continued here: merge it into its base (models merge), and train on that"
NOT_NUMBERS, PACKED = "numbers that are none: NaN or infinite", "whole numbers, packed in a way that is not read"
HALF, TORN = "one of its two factors is missing", "its factors do not belong together"
DAMAGED = (NOT_NUMBERS, PACKED, HALF, TORN)  # why a layer is read on no base
MAX_NAMED = 5


@dataclass
class Renamed:
    """A file's tensors under `<component>.<layer>.<part>`, and which of its layers are on this base."""

    tensors: "dict[str, State]" = field(default_factory=dict)  # our layer -> part -> tensor
    matched: list[str] = field(default_factory=list)  # the file's layers that were found
    unmatched: list[str] = field(default_factory=list)  # and those that were not
    unused: list[str] = field(default_factory=list)  # the file's tensors that belong to no layer

    def words(self) -> str:
        """ "278/278 layers", or what did not match."""
        total = len(self.matched) + len(self.unmatched)
        text = f"{len(self.matched)}/{total} layers"
        if self.unmatched:
            named, more = self.unmatched[:MAX_NAMED], len(self.unmatched) - MAX_NAMED
            text += f"; not on this base: {', '.join(named)}" + (f" and {more} more" if more > 0 else "")
        if self.unused:
            text += f"; not used: {len(self.unused)} more of its tensors, first {printable(self.unused[0])[:80]}"
        return text


def rename(tensors: "State", modules: "dict[str, nn.Module]", put: "Put | None" = None) -> Renamed:
    """Every layer of a file's tensors under the names that a base's modules have, layers that are one there taken apart exactly.

    `put` = how a layer is taken in; by itself for adapters that sit on layers, as the methods do. StudioError where none is found.
    """
    index = {c: layer_names(m) for c, m in modules.items() if c != "vae"}
    denoisers = [c for c in index if not c.startswith("text_encoder")]
    found, by_layer = Renamed(), _by_layer(tensors)
    for theirs, own in by_layer.items():
        component, names = _find(theirs, index, denoisers)
        here = {f"{component}.{name}": shape_of(modules[component].get_submodule(name)) for name in names}
        reason = (put or _put)(found, here, own) if names else "no such layer"
        (found.unmatched if reason else found.matched).append(f"{theirs} ({reason})" if reason else theirs)
    found.unused = sorted(name for name in tensors if not split_end(name)[1])
    if not found.matched:
        raise StudioError(_none_fits(found, tensors))
    return found


def _none_fits(found: Renamed, tensors: "State") -> str:
    """Why no layer of a file could be taken in, with the way out."""
    count, reasons = len(found.unmatched), {text.rpartition(" (")[2] for text in found.unmatched}
    kind = adapter_kind(Header(Path(), {name: tuple(t.shape) for name, t in tensors.items()}, {}))
    if reasons == {f"{NOT_READ})"}:
        return f"its {count} layers are {NOT_READ}: use a LoRA, LoHa or LoKr"
    if reasons <= {f"{odd})" for odd in DAMAGED}:
        return f"none of its {count} layers can be read (first: {found.unmatched[0]}): fetch or export the file again"
    made = f"it was made for {kind.base}" if kind and kind.base and not reasons - {"no such layer)"} else ""
    first = ", ".join(found.unmatched[:3]) or "none"
    told = f"none of its {count} layers is on this base model (first: {first})"
    return f"{told}; {made}: choose that base" if made else f"{told}: choose the base it was made for"


def _by_layer(tensors: "State") -> "dict[str, State]":
    """{layer as the file calls it: {what follows: tensor}}; an alpha alone is no layer."""
    layers: dict[str, State] = {}
    for name in sorted(tensors):
        layer, end, _ = split_end(name)
        if end and end in layers.setdefault(layer, {}):
            raise StudioError(f"its layer {layer} is there twice, as of two adapters in one file: save each in a file of its own")
        if end:
            layers[layer][end] = tensors[name]
    return {layer: own for layer, own in layers.items() if any(split_end(layer + end)[2] for end in own)}


def _find(theirs: str, index: dict[str, dict[str, tuple[str, ...]]], denoisers: list[str]) -> tuple[str, tuple[str, ...]]:
    """(component, our layers) of a layer as a file calls it; ("", ()) where this base has none."""
    name = theirs.replace(".processor.to_", ".to_").replace(".", "_")
    if found := re.match(
        r"lora_(te\d?)_|(text_encoder(?:_\d)?)_(?!\d_)|text_encoders_(clip_l|clip_g|t5xxl)_(?:transformer_)?|(?=text_model_)", name
    ):
        component = TEXT_ENCODERS.get(found[1] or "") or found[2] or CLIP_PARTS.get(found[3] or "", "text_encoder")
        path = re.sub(r"_self_attn_to_(q|k|v|out)$", r"_self_attn_\1_proj", name[found.end() :])  # as diffusers had it early in 2023
        return component, _in(index.get(component, {}), path)
    for component in denoisers:
        if names := _in(index[component], bare(name)):
            return component, names
    for component in index.keys() - set(denoisers) if theirs.startswith("base_model.model.") else ():
        if names := _in(index[component], bare(name)):
            return component, names
    return "", ()


def _in(index: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """Our layers by a name without prefix; transformers has dropped `text_model.` from some text encoders, and files may have it or not."""
    return index.get(name) or index.get(name.removeprefix("text_model_")) or index.get("text_model_" + name) or ()


def _put(found: Renamed, here: "Here", own: "State") -> str:
    """Put a layer's tensors under our names; why not, where they are of a kind that is not read."""
    if odd := oddity(own):
        return odd
    ours = lora_factors(own) or _lycoris(own)
    rows = next((part for part in ("lora_B.weight", "hada_w1_a") if part in ours), "")
    if is_weighed(own) or not ours or (len(here) > 1 and not rows):  # a Kronecker product cannot be taken apart
        return NOT_READ
    sizes = [shape[0] for shape in here.values()]
    if rows and ours[rows].shape[0] != sum(sizes):
        return f"{ours[rows].shape[0]} outputs there, {sum(sizes)} here"
    for i, (name, shape) in enumerate(here.items()):
        start = sum(sizes[:i])
        cut = {p: t[start : start + sizes[i]] for p, t in ours.items() if p in OUTPUTS} if len(here) > 1 else {}
        fitting = fit(ours | cut, shape)
        if fitting is None:
            return f"{list(ours['lora_A.weight'].shape[1:])} inputs there, {list(shape[1:])} here"
        found.tensors[name] = fitting
    return ""


def oddity(own: "State") -> str:
    """Why a layer's tensors cannot be calculated with, whatever kind they are of; empty where they can."""
    alpha = own.get(".alpha")
    if alpha is not None and alpha.numel() != 1:
        return f"an alpha of {alpha.numel()} numbers, where one is meant"
    if not all(tensor.is_floating_point() for tensor in own.values() if tensor.numel() > 1):
        return PACKED
    pair = [next((own[end] for end in ends if end in own), None) for ends in (DOWN, UP)]
    if (pair[0] is None) != (pair[1] is None):
        return HALF
    if pair[0] is not None and (min(t.ndim for t in pair) < 2 or len(pair[0]) != pair[1].shape[1]) and ".lora_mid.weight" not in own:
        return TORN
    finite = all(bool(tensor.isfinite().all()) for tensor in own.values() if tensor.is_floating_point() and tensor.itemsize > 1)
    return "" if finite else NOT_NUMBERS


def is_weighed(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a DoRA's: some are magnitudes."""
    return any("dora" in name or "magnitude" in name for name in names)


def shape_of(layer: Any) -> tuple[int, ...]:
    """The shape of a layer's weight; also of one whose numbers are kept quantised, in a tensor of another shape."""
    own = getattr(layer, "base_layer", layer)
    return (own.out_features, own.in_features) if hasattr(own, "out_features") else tuple(own.weight.shape)


def fit(own: "State", shape: tuple[int, ...]) -> "State | None":
    """LoRA's factors for a weight of this shape, linear layers and 1x1 convolutions being the same; None where they do not fit."""
    if "lora_A.weight" not in own:
        return own
    down, up = own["lora_A.weight"], own["lora_B.weight"]
    if down[0].numel() != math.prod(shape[1:]):
        return None
    ends = [1] * (len(shape) - 2)
    return {"lora_A.weight": down.reshape(-1, *shape[1:]), "lora_B.weight": up.reshape(*up.shape[:2], *ends)}


def lora_factors(own: "State") -> "State":
    """`lora_A.weight` and `lora_B.weight` with the alpha folded in, fp32; a middle factor too; empty where it is no LoRA."""
    end = next((e for e in DOWN if e in own), None)
    up = own.get(UP[DOWN.index(end)]) if end else None
    if end is None or up is None:
        return {}
    down, up = own[end].float(), up.float()
    alpha = own.get(".alpha")
    scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
    if (middle := own.get(".lora_mid.weight")) is not None:  # up x middle x down, of a convolution
        import torch

        down = torch.einsum("rshw,si->rihw", middle.float(), down.flatten(1))
    return {"lora_A.weight": down, "lora_B.weight": up * scale}


def _lycoris(own: "State") -> "State":
    """LoHa's or LoKr's factors with their alpha, as their own file readers want them; a core between two of them put into the second."""
    import torch

    parts = {end.removeprefix("."): tensor for end, tensor in own.items()}
    if not all(part == "alpha" or re.fullmatch(r"hada_(w[12]_[ab]|t[12])|lokr_(w1|w2(_[ab])?|t2)", part) for part in parts):
        return {}
    for core, factor in CORES.items():
        if core in parts and {f"{factor}_a", f"{factor}_b"} <= parts.keys():  # Tucker: a [r, out], core [r, r, …], b [r, in]
            parts[f"{factor}_a"] = parts[f"{factor}_a"].float().T
            parts[f"{factor}_b"] = torch.einsum("ij...,jr->ir...", parts.pop(core).float(), parts[f"{factor}_b"].float()).flatten(1)
    return parts


def as_lora(found: Renamed, rank: int) -> "State":
    """Tensors by our names of LoRA layers at scale 1; those of smaller ranks get further rows, which do nothing yet but can learn.

    StudioError where a layer is no LoRA, or of a larger rank.
    """
    import torch

    state: State = {}
    generator = torch.Generator().manual_seed(0)
    for layer, own in found.tensors.items():
        if "lora_A.weight" not in own:
            raise StudioError(f"layer {layer} of this file is no LoRA: files of several kinds cannot be used")
        down, up = own["lora_A.weight"], own["lora_B.weight"]
        missing = rank - down.shape[0]
        if missing < 0:
            raise StudioError(f"layer {layer} of this file has rank {down.shape[0]}, above {rank}: set method.rank to it")
        if missing:
            more = torch.randn(missing, *down.shape[1:], generator=generator) * float(down.std(correction=0))
            down = torch.cat([down, more.to(down)])
            up = torch.cat([up, up.new_zeros(up.shape[0], missing, *up.shape[2:])], 1)
        state |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    return state


def add_alphas(tensors: "State", said: dict[str, Any]) -> "State":
    """`tensors` with an alpha beside each LoRA layer that has none, where `said` (PEFT's settings, whole or by component) has it."""
    import torch

    out = dict(tensors)
    for name, tensor in tensors.items():
        layer, end, kind = split_end(name)
        if kind != "LoRA" or end not in DOWN or f"{layer}.alpha" in tensors:
            continue
        own = said.get(layer.partition(".")[0]) if isinstance(said.get(layer.partition(".")[0]), dict) else said
        alpha = _pattern(own.get("alpha_pattern"), layer, own.get("lora_alpha"))
        if isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha):
            rank = tensor.shape[0]
            out[f"{layer}.alpha"] = torch.tensor(alpha * math.sqrt(rank) if own.get("use_rslora") is True else float(alpha))
    return out


def _pattern(patterns: Any, layer: str, otherwise: Any) -> Any:
    """PEFT's setting of one layer, by the end of its name."""
    if not isinstance(patterns, dict):
        return otherwise
    odd = next((p for p in patterns if not re.fullmatch(r"\^?[\w.-]+", str(p))), None)
    if odd:  # an expression, which a file may not have run here
        raise StudioError(f"its alpha_pattern {odd!r} is an expression, which is not read: save it with the names of the layers")
    name = layer.removeprefix("base_model.model.")
    whole = next((value for p, value in patterns.items() if p == f"^{name}"), otherwise)
    return next((value for p, value in patterns.items() if layer.endswith(f".{p}") or layer == p), whole)


def said_by(metadata: dict[str, str], beside: Path | None = None) -> dict[str, Any]:
    """The LoRA settings that a file's metadata has as diffusers writes them, {component: settings}, or an adapter_config.json beside it."""
    if beside and beside.is_file():
        return read_config(beside)
    told: dict[str, Any] = {}
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        for name, value in json.loads(metadata.get("lora_adapter_metadata", "{}")).items():
            component, _, key = name.partition(".")
            told.setdefault(component, {})[key] = value
    return told
