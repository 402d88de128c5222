"""LoRA (Hu 2021): a trained low-rank product beside frozen linear and convolution layers, through PEFT."""

import math
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods import lora_files
from studio.spec import MethodSpec, setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

NAME = "default"  # PEFT's name for the one adapter of a run


class Spec(MethodSpec):
    """Settings of LoRA."""

    kind: str = "lora"
    rank: int = setting(16, "Rank", "Higher = more capacity, larger file", ge=1, le=1024)
    alpha: float | None = setting(None, "Alpha", "Scale of the adapter is alpha / rank; empty = the rank, so that 1.0", gt=0, le=4096)
    lr: float = setting(1e-4, "Learning rate", "Step size; lower it when pictures break, raise it when nothing changes", gt=0, le=1)
    targets: str = setting(
        "attention+feed_forward", "Layers", "attention, + feed_forward, + conv (finer texture, larger file), or names of layers"
    )
    text_encoder: bool = setting(False, "Text encoder", "Adapt the text encoder too; rarely helps, slower", needs_text=True)
    text_encoder_lr: float = setting(
        5e-5, "Text encoder learning rate", "Step size of the text encoder's layers", needs_text=True, gt=0, le=1
    )
    rslora: bool | None = setting(None, "rsLoRA", "Scale by 1/sqrt(rank) (Kalajdzievski 2023); empty = above rank 64")

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied by at strength 1."""
        root = self.rank > 64 if self.rslora is None else self.rslora
        return (self.alpha or self.rank) / (math.sqrt(self.rank) if root else self.rank)


def supports(card: Card) -> str | None:
    """Why this family cannot take LoRA; None when it can."""
    return None if card.targets else f"{card.title} names no layers for LoRA"


def live(spec: Spec) -> frozenset[str]:
    """The components that must stay loaded while training."""
    return frozenset({"text_encoder"}) if spec.text_encoder else frozenset()


def batchable(spec: Spec) -> bool:
    """Base and adapted share one batched pass: the scale is per sample."""
    return True


def metadata(spec: Spec) -> dict[str, str]:
    """What readers of kohya files look for: the alpha that gives this scale as alpha / rank."""
    return {"ss_network_module": "networks.lora", "ss_network_dim": str(spec.rank), "ss_network_alpha": f"{spec.scale * spec.rank:g}"}


def adopt(spec: Spec, about: dict[str, Any], captions: list[str], name: str) -> Spec:
    """A dataset decides nothing about a LoRA."""
    return spec


def reword(spec: Spec, caption: str) -> str:
    """Captions stay as they are."""
    return caption


def layouts(card: Card) -> tuple[str, ...]:
    """The layouts that the family's readers know."""
    return card.export_layouts


def word(spec: Spec) -> str:
    """It needs no word of its own."""
    return ""


def export(state: "dict[str, Tensor]", spec: Spec, layout: str) -> "dict[str, Tensor]":
    """The tensors of an adapter file in this layout."""
    return lora_files.write(state, spec.scale, layout)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """The adapter_config.json of each component's PEFT folder."""
    from peft import LoraConfig

    names = [n.removesuffix(".lora_A.weight").partition(".") for n in state if n.endswith(".lora_A.weight")]
    configs = {}
    for component in dict.fromkeys(c for c, _, _ in names):
        config = LoraConfig(r=spec.rank, lora_alpha=spec.scale * spec.rank, inference_mode=True).to_dict()
        configs[component] = config | {"target_modules": sorted(n for c, _, n in names if c == component)}
    return configs


def describe(path: Any, card: Card) -> dict[str, Any]:
    """The settings under which an adapter file can be continued: rank, targets, text_encoder."""
    return lora_files.describe(path, card)


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> "Lora":
    """Put a fresh LoRA on the base; StudioError when a target matches nothing or the rank exceeds a layer."""
    found = {card.denoiser: find_targets(parts.modules[card.denoiser], spec.targets, card.targets)}
    if spec.text_encoder:
        for name in card.text_encoders:
            found[name] = find_targets(parts.modules[name], "+".join(card.te_targets), {})
    for component, names in found.items():
        _check_rank(parts.modules[component], component, names, spec.rank)
    return Lora(parts, spec, found, seed)


def combine(parts: Parts, members: "list[tuple[dict[str, Tensor], Spec, float]]", card: Card, seed: int = 0) -> "Lora":
    """One LoRA that does what all members (state, settings, strength) do together, exactly: their products side by side along the rank.

    sum_i s_i B_i A_i = [s_1 B_1 | s_2 B_2 | …] [A_1; A_2; …] for every layer of any member; absent ones are zero.
    """
    import torch

    rank = sum(spec.rank for _, spec, _ in members)
    layers = [n.removesuffix(".lora_A.weight") for state, _, _ in members for n in state if n.endswith(".lora_A.weight")]
    found: dict[str, list[str]] = {}
    for component, _, name in (n.partition(".") for n in dict.fromkeys(layers)):
        found.setdefault(component, []).append(name)
    both = Lora(parts, Spec.model_construct(rank=rank, alpha=float(rank), rslora=False), found, seed)
    for name, whole in both.state().items():
        whole.data.zero_()
        layer, start = name.removesuffix(".lora_A.weight").removesuffix(".lora_B.weight"), 0
        for state, spec, strength in members:
            part = slice(start, start + spec.rank)
            start = part.stop
            if f"{layer}.lora_A.weight" not in state:
                continue
            tensor = state[name].to(whole.device, torch.float32)
            if name.endswith(".lora_A.weight"):
                whole.data[part] = tensor
            else:
                whole.data[:, part] = tensor * (strength * spec.scale)
    return both


def find_targets(module: "nn.Module", targets: str, groups: dict[str, tuple[str, ...]]) -> list[str]:
    """Names of the linear and convolution layers that `targets` (groups or suffixes joined by +) picks, in model order."""
    from torch import nn

    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    picked: set[str] = set()
    for target in (t.strip() for t in targets.split("+")):
        suffixes = groups.get(target, (target,))
        matches = [n for n in layers if target and any(n == s or n.endswith("." + s) for s in suffixes)]
        if not matches:
            known = " + ".join(groups) or "its own layers"
            raise StudioError(f"method.targets: {target!r} matches no layer of this base model; there are {known}, or names like to_q")
        picked.update(matches)
    return [n for n in layers if n in picked]


def _check_rank(module: "nn.Module", component: str, names: list[str], rank: int) -> None:
    for name in names:
        weight = module.get_submodule(name).weight
        size = min(weight.shape[0], weight[0].numel())
        if rank > size:
            raise StudioError(
                f"method.rank: {rank} is above the size of layer {component}.{name} ({size}): use at most {size}, or other targets"
            )


class Lora:
    """A LoRA sitting on a base model's components."""

    def __init__(self, parts: Parts, spec: Spec, targets: dict[str, list[str]], seed: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        self._spec = spec
        self._modules = {component: parts.modules[component] for component in targets}
        self._layers: dict[str, Any] = {}
        for component, names in targets.items():
            module = self._modules[component]
            config = LoraConfig(r=spec.rank, lora_alpha=spec.scale * spec.rank, target_modules=names, bias="none")
            inject_adapter_in_model(config, module, NAME)
            self._layers |= {f"{component}.{name}": module.get_submodule(name) for name in names}
        self.num_layers = len(self._layers)
        self.components = frozenset(targets)
        self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        """Kaiming-uniform A from `seed`, zero B, both fp32: the adapter starts as no change."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        for layer in self._layers.values():
            down, up = layer.lora_A[NAME], layer.lora_B[NAME]
            fresh = torch.empty(down.weight.shape)
            torch.nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
            down.weight.data = fresh.to(down.weight.device)
            up.weight.data = torch.zeros(up.weight.shape, device=up.weight.device)

    def groups(self) -> list[dict[str, Any]]:
        """Optimizer groups: the denoiser's layers and the text encoders' layers, each with its learning rate."""
        rates = {c: self._spec.text_encoder_lr if c.startswith("text_encoder") else self._spec.lr for c in self._modules}
        return [{"params": [p for n, p in self.state().items() if n.startswith(c + ".")], "lr": lr} for c, lr in rates.items()]

    def state(self) -> "dict[str, Tensor]":
        """The live tensors: `<component>.<layer>.lora_A.weight` [r, in…] and `….lora_B.weight` [out, r…]."""
        pairs = ((n, part, getattr(layer, part)[NAME].weight) for n, layer in self._layers.items() for part in ("lora_A", "lora_B"))
        return {f"{name}.{part}.weight": weight for name, part, weight in pairs}

    def restore(self, state: "dict[str, Tensor]") -> None:
        """Copy a state of this very adapter back in."""
        live = self.state()
        if live.keys() != state.keys() or any(state[n].shape != w.shape for n, w in live.items()):
            raise StudioError(
                f"this adapter ({len(state) // 2} layers) is not of this run ({self.num_layers}): same base, rank and targets are needed"
            )
        for name, weight in live.items():
            weight.data.copy_(state[name])

    def load(self, tensors: "dict[str, Tensor]") -> None:
        """Take over an adapter file of any known layout; StudioError when its layers or rank are not this adapter's."""
        state = lora_files.read(tensors, list(self._layers), self._spec.scale)
        wrong = next((n for n, w in self.state().items() if n in state and state[n].shape != w.shape), None)
        if wrong:
            raise StudioError(f"start_from: layer {wrong} is {tuple(state[wrong].shape)} there: continue with the same rank and base model")
        self.restore(state)

    def read_as(self, text: str, strength: float) -> str:
        """Base and adapter read the same words."""
        return text

    @contextmanager
    def at(self, strengths: list[float]) -> "Iterator[None]":
        """Within: sample i of each batch block of len(strengths) sees strength i; raises where a batch does not divide."""
        layers, scale = list(self._layers.values()), self._spec.scale
        uniform = len(set(strengths)) == 1
        hook = _per_sample([s * scale for s in strengths])
        hooks = [] if uniform else [layer.lora_B[NAME].register_forward_pre_hook(hook) for layer in layers]
        for layer in layers:
            layer.scaling[NAME] = scale * strengths[0] if uniform else 1.0
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer in layers:
                layer.scaling[NAME] = scale

    def detach(self) -> None:
        """Put the base's own layers back; its tensors were never touched."""
        for name, layer in self._layers.items():
            component, _, path = name.partition(".")
            self._modules[component].set_submodule(path, layer.get_base_layer())
        for module in self._modules.values():
            if hasattr(module, "peft_config"):
                del module.peft_config
        self._layers = {}


def _per_sample(scales: list[float]) -> Any:
    """A pre-hook of up matrices that scales the rank-wide input [n, …] by one value per sample."""
    import torch

    @lru_cache
    def column(n: int, ndim: int, device: Any) -> "Tensor":
        if n % len(scales):
            raise ValueError(f"a batch of {n} does not divide into {len(scales)} strengths")
        return torch.tensor(scales, device=device).repeat(n // len(scales)).view(-1, *[1] * (ndim - 1))

    return lambda module, args: (args[0] * column(args[0].shape[0], args[0].ndim, args[0].device).to(args[0].dtype),)
