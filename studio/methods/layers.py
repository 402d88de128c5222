"""Adapters that PEFT puts on single layers of a base: what LoRA and its variants share."""

import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods.imports import Renamed, rename
from studio.models.sizes import Sizes
from studio.settings import setting
from studio.spec import MethodSpec

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from studio.methods.imports import Put

keeps_every_snapshot = True
LARGE, SHARE, SHARE_OF_LARGE = 1e8, 0.14, 0.015  # of a denoiser's numbers that such an adapter usually has, where its layers are not known
TEXT_SHARE = 5e-4  # of a text encoder's numbers that an adapter of rank 1 has on its attention
NAME = "default"  # PEFT's name for the one adapter of a run
TRAINED = re.compile(r"\.(lora_([AB]\.weight|magnitude_vector)|oft_R\.weight|hada_\w+|lokr_\w+)$")  # what follows a layer in a state


class RankSpec(MethodSpec):
    """Settings of methods that learn low-rank factors."""

    rank: int = setting(16, "Rank", "Higher = more capacity, larger file", ge=1, le=1024)
    alpha: float | None = setting(None, "Alpha", "Scale of the adapter is alpha / rank; empty = the rank, so that 1.0", gt=0, le=4096)

    @property
    def scale(self) -> float:
        """What the learned change is multiplied by at strength 1."""
        return (self.alpha or self.rank) / self.rank


class LayerSpec(MethodSpec):
    """Settings of methods that sit on chosen layers."""

    lr: float = setting(1e-4, "Learning rate", "Step size; lower it when pictures break, raise it when nothing changes", gt=0, le=1)
    targets: str = setting(
        "attention+feed_forward", "Layers", "attention, + feed_forward, + conv (finer texture, larger file), or names of layers"
    )
    text_encoder: bool = setting(False, "Text encoder", "Adapt the text encoder too; rarely helps, slower", needs_text=True)
    text_encoder_targets: str = setting("", "Text encoder layers", "Names of layers, joined by +; empty = its attention", needs_text=True)
    text_encoder_lr: float = setting(
        5e-5, "Text encoder learning rate", "Step size of the text encoder's layers", needs_text=True, gt=0, le=1
    )


@dataclass(frozen=True)
class Kind:
    """What tells one such adapter from another: functions of its settings and of PEFT's layers."""

    config: Callable[[Any], Any]  # the PEFT config of these settings, without targets
    tensors: "Callable[[Any], dict[str, Tensor]]"  # the trained tensors of a layer by the name that follows the layer's in a state
    start: "Callable[[Any, Generator], None]"  # give a layer its first tensors, fp32: no change of the base
    at: Callable[[list[Any], Any, list[float]], AbstractContextManager[None]]  # within: the layers at these strengths
    read: "Callable[[Renamed, Any], dict[str, Tensor]]"  # a state from a file's tensors, which have got our names
    put: "Put | None" = None  # how a file's layers are taken in, where LoRA's, LoHa's and LoKr's way is not it
    merge: "Callable[[Any, Tensor, dict[str, Tensor], float], Tensor] | None" = None  # a weight with it, where PEFT's merging is not it


def live(spec: LayerSpec) -> frozenset[str]:
    """The components that must stay loaded while training."""
    return frozenset({"text_encoder"}) if spec.text_encoder else frozenset()


def trained(spec: LayerSpec, sizes: Sizes) -> float:
    """How many numbers are trained on a base of these sizes: those of a LoRA on the same layers, of text encoders a share as well."""
    rank = getattr(spec, "rank", RankSpec().rank)
    groups = [sizes.per_rank.get(target.strip()) for target in spec.targets.split("+")]
    per_rank = sum(groups) if None not in groups else sum(sizes.per_rank.values())  # of layers by their own names: at most all
    numbers = rank * per_rank if per_rank else sizes.denoiser * (SHARE_OF_LARGE if sizes.denoiser > LARGE else SHARE)
    return numbers + (rank * TEXT_SHARE * sizes.text_encoders if spec.text_encoder else 0.0)


def one_strength_a_pass(spec: LayerSpec) -> bool:
    """Base and adapted take a pass each: the layers' weights change as a whole."""
    return False


def adopt(spec: LayerSpec, about: dict[str, Any], captions: list[str], name: str) -> LayerSpec:
    """A dataset decides nothing about such an adapter."""
    return spec


def reword(spec: LayerSpec, caption: str) -> str:
    """Captions stay as they are."""
    return caption


def word(spec: LayerSpec) -> str:
    """It needs no word of its own."""
    return ""


def refuse(card: Card, title: str) -> str | None:
    """Why this family cannot take adapters on its layers; None when it can."""
    return None if card.targets else f"{card.title} names no layers for {title}"


def kaiming(shape: Any, device: Any, generator: "Generator") -> "Tensor":
    """Kaiming-uniform numbers [*shape] (He 2015) as PEFT draws them, fp32, drawn on the CPU."""
    import torch

    fresh = torch.empty(shape)
    torch.nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
    return fresh.to(device)


def layers_of(state: "dict[str, Tensor]") -> list[str]:
    """Names of the layers that a state holds tensors of, in its order."""
    return list(dict.fromkeys(TRAINED.sub("", n) for n in state if TRAINED.search(n)))


def peft_configs(state: "dict[str, Tensor]", config: Any) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    config.inference_mode = True
    names = [n.partition(".") for n in layers_of(state)]
    own = {component: sorted(n for c, _, n in names if c == component) for component, _, _ in names}
    return {component: config.to_dict() | {"target_modules": targets} for component, targets in own.items()}


def peft_tensors(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors of PEFT folders, one per component; PEFT keeps the component's own names."""
    parts = ((name.partition("."), tensor) for name, tensor in sorted(state.items()))
    return {f"{component}/base_model.model.{path}": tensor.detach() for (component, _, path), tensor in parts}


def merged(kind: Kind, spec: Any, weight: "Tensor", own: "dict[str, Tensor]", strength: float) -> "Tensor":
    """A weight [out, in] or [out, in, h, w], fp32, with what an adapter of this kind has trained beside it, by PEFT's own merging.

    `own` = its tensors by the names that follow the layer's in a state. StudioError where they are not of this weight.
    """
    import torch
    from peft import inject_adapter_in_model
    from torch import nn

    out, ins, *sides = weight.shape
    layer = nn.Conv2d(ins, out, tuple(sides), bias=False, device="meta") if sides else nn.Linear(ins, out, bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)  # PEFT adds in place
    holder, config = nn.ModuleDict({"layer": layer}), kind.config(spec)
    config.target_modules = ["layer"]
    inject_adapter_in_model(config, holder, NAME)
    live = kind.tensors(holder["layer"])
    if live.keys() != own.keys() or any(own[n].shape != t.shape for n, t in live.items()):
        raise StudioError("its tensors are not of this base: choose the base that the adapter was trained on")
    for name, tensor in live.items():
        tensor.data = own[name].to(weight.device, torch.float32)
    if kind.merge:
        return kind.merge(spec, weight, {name: tensor.detach() for name, tensor in live.items()}, strength)
    with torch.no_grad(), kind.at([holder["layer"]], spec, [strength]):
        holder["layer"].merge()
    return layer.weight.data


class Adapter:
    """`methods.base.Attached` for an adapter of some kind sitting on layers of a base model's components."""

    def __init__(self, parts: Parts, spec: Any, targets: dict[str, list[str]], kind: Kind, seed: int, card: Card) -> None:
        import torch
        from peft import inject_adapter_in_model

        self._spec, self._kind, self._card = spec, kind, card
        self._modules = {component: parts.modules[component] for component in targets}
        self._layers: dict[str, Any] = {}
        for component, names in targets.items():
            module, config = self._modules[component], kind.config(spec)
            config.target_modules = names
            inject_adapter_in_model(config, module, NAME)
            self._layers |= {f"{component}.{name}": module.get_submodule(name) for name in names}
        self.num_layers = len(self._layers)
        self.components = frozenset(targets)
        generator = torch.Generator().manual_seed(seed)
        for layer in self._layers.values():
            kind.start(layer, generator)

    def groups(self) -> list[dict[str, Any]]:
        """Optimizer groups: the denoiser's layers and the text encoders' layers, each with its learning rate."""
        rates = {c: self._spec.text_encoder_lr if c.startswith("text_encoder") else self._spec.lr for c in self._modules}
        return [{"params": [p for n, p in self.state().items() if n.startswith(c + ".")], "lr": lr} for c, lr in rates.items()]

    def state(self) -> "dict[str, Tensor]":
        """The live tensors, `<component>.<layer>.<name in PEFT>`."""
        return {f"{name}.{part}": t for name, layer in self._layers.items() for part, t in self._kind.tensors(layer).items()}

    def restore(self, state: "dict[str, Tensor]") -> None:
        """Copy a state of this very adapter back in. StudioError where it is of another."""
        live = self.state()
        if live.keys() != state.keys() or any(state[n].shape != w.shape for n, w in live.items()):
            raise StudioError(
                f"this adapter ({len(layers_of(state))} layers) is not of this run ({self.num_layers}): "
                "same base, rank and targets are needed"
            )
        for name, weight in live.items():
            weight.data.copy_(state[name])

    def load(self, tensors: "dict[str, Tensor]", partly: bool = False) -> str:
        """Take over an adapter file of any known layout; which of its layers were found, in words. Layers that it has not start afresh.

        StudioError when its shapes are not this adapter's, or when one of its layers (`partly`: more than half of them) is not on it.
        """
        import torch

        found = rename(tensors, self._modules, self._kind.put)
        state = self._kind.read(found, self._spec)
        strange = [n for n in layers_of(state) if n not in self._layers]
        too_few = len(found.unmatched) > (len(found.matched) if partly else 0)
        if strange or too_few:
            what = f"its layer {strange[0]} is not trained by this run" if strange else found.words()
            raise StudioError(f"start_from: {what}: choose the same base model and method.targets")
        there, generator = set(layers_of(state)), torch.Generator().manual_seed(0)
        for name, layer in self._layers.items():
            if name not in there:
                self._kind.start(layer, generator)
        for name, weight in self.state().items():
            if name in state and tuple(state[name].shape) != tuple(weight.shape):
                raise StudioError(
                    f"start_from: layer {name} is {tuple(state[name].shape)} there: continue with the same rank and base model"
                )
        self.restore(self.state() | state)
        return found.words()

    def read_as(self, text: str, strength: float) -> str:
        """Base and adapter read the same words."""
        return text

    def at(self, strengths: list[float]) -> AbstractContextManager[None]:
        """Within: sample i of each batch block of len(strengths) sees strength i."""
        return self._kind.at(list(self._layers.values()), self._spec, strengths)

    @property
    def spec(self) -> Any:
        """The settings that it was made with."""
        return self._spec

    def detach(self) -> None:
        """Put the base's own layers back; its tensors were never touched."""
        for name, layer in self._layers.items():
            component, _, path = name.partition(".")
            self._modules[component].set_submodule(path, layer.get_base_layer())
        for module in self._modules.values():
            if hasattr(module, "peft_config"):
                del module.peft_config
        self._layers = {}
