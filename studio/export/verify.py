"""Exports are loaded back by the plain libraries and compared with the run's own output before anyone gets them."""

import copy
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.export import lycoris
from studio.families.base import Parts
from studio.families.clip import tokenizer_of
from studio.methods.base import Attached
from studio.store import read_tensors
from studio.train.randomness import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

TOLERANCE = 1e-3  # of the output's own size; an adapter at the wrong scale or with missing layers is far beyond
PROBE = "a picture to compare with"


@dataclass(frozen=True)
class Verified:
    """What came back: layers (a word's vectors, a model's tensors) read of those written, largest difference of any output, largest effect.

    `note` = what readers must know to load it. `lacks` = the share of a tuned model's change of weights that a LoRA taken out of it
    does not hold.
    """

    layers: int
    expected: int
    max_difference: float
    effect: float
    unit: str = "layers"
    lacks: float | None = None
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.layers}/{self.expected} {self.unit}, max difference {self.max_difference:.0e}".replace("0e+00", "0")
        lacks = "" if self.lacks is None else f"; this LoRA lacks {100 * self.lacks:.1f} % of the tuned model's change of weights"
        return text + lacks + (f"; {self.note}" if self.note else "")


def outputs(family: ModuleType, parts: Parts, probe: str = PROBE) -> "list[Tensor]":
    """What the text encoder [3, L, D] and the denoiser [3, C, h, w] say to a text at three noise levels, fp32 on the CPU."""
    import torch

    size = parts.facts.size_px // parts.facts.vae_scale
    z = torch.randn(3, parts.facts.latent_channels, size, size, generator=generator(0, "probe"))
    with torch.no_grad():
        cond = family.collate(family.encode_text(parts, [probe] * 3))
        t = family.sample_t(parts, torch.tensor([0.1, 0.5, 0.9]), tuple(z.shape)).to(parts.device)
        out = family.predict(parts, z.to(parts.device, parts.dtype), t, cond, None)
    return [*(c.float().cpu() for c in cond.values()), out.float().cpu()]


class Diverged(StudioError):
    """What an adapter draws is not a number."""


def verify(family: ModuleType, parts: Parts, adapter: Attached, target: Path, layout: str, probe: str = PROBE) -> Verified:
    """Compare `target` with `adapter` (which is detached for it); StudioError when a layer is missing or an output differs."""
    expected, unit = adapter.num_layers, "vectors" if layout == "embedding" else "layers"
    ours = outputs(family, parts, probe)
    if not all(out.isfinite().all() for out in ours):
        raise Diverged("export: what this adapter draws is not a number: it has diverged; choose an earlier --snapshot")
    base_probe = adapter.read_as(probe, 0.0)
    adapter.detach()
    base = outputs(family, parts, base_probe)
    effect, size = distance(ours, base), max(float(a.abs().max()) for a in ours)
    differences = []
    for read in READ_BACK.get(layout, (_diffusers_file,)):
        with read(family, parts, target, probe) as (loaded, text, layers):
            difference = distance(ours, outputs(family, loaded, text))
        if layers != expected or not difference <= TOLERANCE * size or difference > effect / 2:
            raise StudioError(
                f"export: the file did not come back as it was written ({layers}/{expected} {unit}, difference {difference:.1e}, "
                f"effect {effect:.1e}); it was not kept. Try another --format"
            )
        differences.append(difference)
    return Verified(expected, expected, max(differences), effect, unit)


def distance(ours: "list[Tensor]", theirs: "list[Tensor]") -> float:
    """The largest difference of any output, pair by pair of the same shape."""
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


Read = tuple[Parts, str, int]  # a base with a file loaded into it, the text to ask it, how many layers or vectors came


@contextmanager
def _diffusers_file(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[Read]":
    """Within: the file is loaded by diffusers' own loader; by PEFT where the family's pipeline has none."""
    pipe = family.pipeline(parts)
    if not hasattr(pipe, "load_lora_weights"):
        with _lora_by_peft(family, parts, target, probe) as read:
            yield read
        return
    pipe.load_lora_weights(target.parent, weight_name=target.name, local_files_only=True)
    try:
        yield parts, probe, _count_layers([getattr(pipe, name) for name in (family.card.denoiser, *family.card.text_encoders)])
    finally:
        pipe.unload_lora_weights()


@contextmanager
def _lora_by_peft(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[Read]":
    """Within: the file's tensors are in LoRA layers of PEFT, for families whose pipeline in diffusers has no loader for adapters."""
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    card, wrapped, count = family.card, {}, 0
    for component in (card.denoiser, *card.text_encoders):
        own = {n.removeprefix(f"{component}."): t for n, t in read_tensors(target).items() if n.startswith(f"{component}.")}
        names = [n.removesuffix(".lora_A.weight") for n in own if n.endswith(".lora_A.weight")]
        if names:
            rank = own[f"{names[0]}.lora_A.weight"].shape[0]
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
            wrapped[component] = PeftModel(parts.modules[component], config)
            unknown = set_peft_model_state_dict(wrapped[component], {f"base_model.model.{n}": t for n, t in own.items()}).unexpected_keys
            count += len(names) - len({n.partition(".lora_")[0] for n in unknown})
    try:
        yield parts, probe, count
    finally:
        for component, model in wrapped.items():
            parts.modules[component] = model.unload()


@contextmanager
def _embedding_file(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[Read]":
    """Within: the file is loaded by diffusers' own loader, under the name that it is asked by, into copies of the text encoders.

    diffusers reads files with one tensor; of others it is given each tensor for its encoder.
    """
    tensors, count, text = read_tensors(target), 0, probe
    own = replace(parts, modules=dict(parts.modules), tokenizers=copy.deepcopy(parts.tokenizers))
    for encoder in family.card.words:
        own.modules[encoder] = copy.deepcopy(parts.modules[encoder])
    pipe = family.pipeline(own)
    for encoder, name in family.card.words.items():
        tokenizer = own.tokenizers[tokenizer_of(encoder)]
        known = len(tokenizer)
        source = target if len(tensors) == 1 else tensors[name]
        pipe.load_textual_inversion(
            source, token=token_of(probe), tokenizer=tokenizer, text_encoder=own.modules[encoder], local_files_only=True
        )
        count, text = count + len(tokenizer) - known, pipe.maybe_convert_prompt(probe, tokenizer)
    yield own, text, count


def token_of(probe: str) -> str:
    """The new word of a text that begins with it."""
    return probe.removesuffix(PROBE).rstrip(" ,")


@contextmanager
def _peft_folder(family: ModuleType, parts: Parts, target: Path, probe: str) -> "Iterator[Read]":
    """Within: the folder is loaded by PEFT."""
    from peft import PeftModel

    folders = {family.card.denoiser: target, **{n: target / n for n in family.card.text_encoders}}
    wrapped = {n: PeftModel.from_pretrained(parts.modules[n], str(f)) for n, f in folders.items() if (f / "adapter_config.json").is_file()}
    try:
        yield parts, probe, _count_layers(list(wrapped.values()))
    finally:
        for name, model in wrapped.items():
            parts.modules[name] = model.unload()


def _count_layers(modules: list[Any]) -> int:
    """PEFT's layers that carry tensors of an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (layer for module in modules for layer in module.modules() if isinstance(layer, BaseTunerLayer))
    return sum(any(len(getattr(layer, name, ())) for name in layer.adapter_layer_names) for layer in layers)


READ_BACK = {  # layout -> what loads it, each compared; others by diffusers
    "peft": (_peft_folder,),
    "embedding": (_embedding_file,),
    "lycoris": (lycoris.by_formula, lycoris.by_peft),
}
