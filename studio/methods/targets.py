"""Which layers of a base an adapter sits on: picked by the groups and names of `targets`, and told again from an adapter's file."""

import math
import re
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.adapter_names import TEXT_PREFIX, bare
from studio.families.base import Card, Parts
from studio.families.import_names import are_original, our_endings
from studio.methods.imports import shape_of
from studio.methods.layers import LayerSpec

if TYPE_CHECKING:
    from torch import nn

TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "q", "k", "v", "o", "wi_0", "wi_1", "wo")
FURTHER = (  # layers that other programs adapt beside the families' own groups
    "norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear", "proj_out", "proj_in", "img_mod.1", "txt_mod.1",
    "adaLN_modulation.0", "adaLN_modulation.1", "x_embedder", "context_embedder", "linear_1", "linear_2", "conv_in", "conv_out",
    "img_in", "txt_in",
)  # fmt: skip


def find_layers(parts: Parts, spec: LayerSpec, card: Card) -> dict[str, list[str]]:
    """{component: names of the layers that the settings pick}; StudioError when a target matches nothing."""
    found = {card.denoiser: find_targets(parts.modules[card.denoiser], spec.targets, card.targets)}
    if spec.text_encoder:
        if not card.te_targets:
            raise StudioError(f"method.text_encoder: the text encoders of {card.title} are not trained here: leave it off")
        for name in card.text_encoders:
            found[name] = find_targets(parts.modules[name], spec.text_encoder_targets or "+".join(card.te_targets), {})
    return found


def find_targets(module: "nn.Module", targets: str, groups: dict[str, tuple[str, ...]]) -> list[str]:
    """Names of the linear and convolution layers that `targets` (groups or suffixes joined by +) picks, in model order.

    StudioError where one picks none.
    """
    from torch import nn

    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    picked: set[str] = set()
    for target in (t.strip() for t in targets.split("+")):
        suffixes = groups.get(target, (target,))
        is_name = target not in groups  # a group's layers lie inside blocks: the model's own first and last layers are not meant
        matches = [
            n for n in layers if target and any((is_name and s in (n, n.replace(".", "_"))) or n.endswith("." + s) for s in suffixes)
        ]
        if not matches:
            known = " + ".join(groups) or "its own layers"
            raise StudioError(f"method.targets: {target!r} matches no layer of this base model; there are {known}, or names like to_q")
        grouped = next((n for n in matches if getattr(module.get_submodule(n), "groups", 1) > 1), None)
        if grouped:
            raise StudioError(f"method.targets: {grouped} is a convolution in groups, which no method adapts: leave {target} out")
        picked.update(matches)
    return [n for n in layers if n in picked]


def targets_of(flat_names: list[str], card: Card) -> str:
    """The `targets` that pick denoiser layers of these names (`_` before them, and for dots): groups, or suffixes, or whole names."""
    told = []
    for group, suffixes in card.targets.items():
        there = [s for s in suffixes if any(n.endswith("_" + s.replace(".", "_")) for n in flat_names)]
        told += [group] if len(there) == len(suffixes) else there
    known = tuple("_" + s.replace(".", "_") for suffixes in card.targets.values() for s in suffixes)
    rest = [n for n in flat_names if n in known or not n.endswith(known)]  # a group's layers lie inside blocks
    told += [s for s in FURTHER if any(n.endswith("_" + s.replace(".", "_")) for n in rest)]
    named = tuple("_" + s.replace(".", "_") for s in FURTHER)
    return "+".join([*told, *dict.fromkeys(n.removeprefix("_") for n in rest if not n.endswith(named))])


def where(layers: list[str], card: Card) -> dict[str, Any]:
    """The settings under which a method sits on all layers of a file, by what the file calls them: targets, text_encoder."""
    text = [n for n in layers if TEXT_PREFIX.match(n) or re.search(r"[._](self_attn|SelfAttention|mlp[._]fc[12])([._]|$)", n)]
    own = [bare(n) for n in layers if n not in text]
    text = [re.sub(r"([._]self_attn[._])to_(q|k|v|out)$", r"\1\2_proj", n) for n in text]  # as diffusers had them early in 2023
    is_original = are_original(own)
    suffixes = tuple("." + s for group in card.targets.values() for s in group)
    names = [end for n in own for end in our_endings(n, is_original, suffixes)]
    told: dict[str, Any] = {"targets": targets_of(names, card) or "+".join(card.targets), "text_encoder": bool(text)}
    ends = [s for s in TEXT_LAYERS if any(re.search(rf"[._]{s}$", n) for n in text)]
    if set(ends) - set(card.te_targets):
        told["text_encoder_targets"] = "+".join(dict.fromkeys([*card.te_targets, *ends]))
    return told


def check_rank(parts: Parts, found: dict[str, list[str]], rank: int) -> None:
    """StudioError when the rank is above what the smallest of the layers can have."""
    shapes = {f"{c}.{name}": shape_of(parts.modules[c].get_submodule(name)) for c, names in found.items() for name in names}
    sizes = {name: min(shape[0], math.prod(shape[1:])) for name, shape in shapes.items()}
    name = min(sizes, key=sizes.get)
    if rank > sizes[name]:
        raise StudioError(
            f"method.rank: {rank} is above the size of layer {name} ({sizes[name]}): use at most {sizes[name]}, or other targets"
        )
