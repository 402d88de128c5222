"""The memory plan obeyed: gradient checkpointing, and a frozen base kept in fewer bits."""

from typing import Any

from studio import extras
from studio.device import memory_gib
from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.models.facts import GIB, Memory
from studio.models.memory_plan import Drawing, Plan
from studio.models.sizes import QUANTISED


def memory_of(device: Any) -> Memory:
    """The memory of a device as it is now."""
    import torch

    used, total = memory_gib(device)
    if device.type != "cuda":
        return Memory(total - used, total, "this machine", 4)
    properties = torch.cuda.get_device_properties(device)
    return Memory(total - used, min(total, properties.total_memory / GIB), properties.name, 2)


def obey(plan: Plan, parts: Parts, card: Card) -> None:
    """Prepare a base that was just loaded as the plan says; StudioError where it cannot be."""
    denoiser = parts.modules[card.denoiser]
    if plan.checkpointing:
        if not hasattr(denoiser, "enable_gradient_checkpointing"):
            raise StudioError(f"train.gradient_checkpointing: {card.title} cannot do that: set it to off")
        denoiser.enable_gradient_checkpointing()
    if plan.recorded:
        parts.kept = frozenset({card.denoiser})  # what is recorded reads its weights where they are
    if plan.bits < 16:
        quantise(denoiser, plan.bits, parts.device, parts.dtype)
    parts.resting = frozenset(card.text_encoders) if plan.text_on_host else frozenset()
    if parts.host is not None and not plan.offload:  # it was loaded where there is room for it whole
        parts.settle()


def draw_so(how: Drawing, parts: Parts, card: Card) -> None:
    """Prepare a base that was just loaded to be drawn with as planned."""
    if how.bits < 16:
        quantise(parts.modules[card.denoiser], how.bits, parts.device, parts.dtype)
    parts.bits = how.bits
    parts.resting = frozenset(card.text_encoders) if how.text_on_host else frozenset()


def quantise(module: Any, bits: int, device: Any, dtype: Any) -> int:
    """Keep the linear layers inside a frozen denoiser's blocks in 8 or 4 bits (Dettmers 2022, 2023), by bitsandbytes."""
    import torch

    library = extras.need("quant")
    names = [n for n, m in module.named_modules() if type(m) is torch.nn.Linear and QUANTISED.match(n)]
    for name in names:
        old = module.get_submodule(name)
        shape = (old.in_features, old.out_features)
        if bits == 4:
            new = library.nn.Linear4bit(*shape, bias=old.bias is not None, compute_dtype=dtype, quant_type="nf4")
            new.weight = library.nn.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4")
        else:
            new = library.nn.Linear8bitLt(*shape, bias=old.bias is not None, has_fp16_weights=False)
            new.weight = library.nn.Int8Params(old.weight.data, requires_grad=False, has_fp16_weights=False)
        if old.bias is not None:
            new.bias = torch.nn.Parameter(old.bias.data, requires_grad=False)
        module.set_submodule(name, new.to(device))
    module.is_loaded_in_8bit, module.is_loaded_in_4bit = bits == 8, bits == 4  # by which PEFT knows how to put LoRA on them
    return len(names)
