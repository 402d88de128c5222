"""The adapters that are merged: runs and files of any layout, as what they make of a base's weights, or on a base in memory."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from studio import registry
from studio.errors import StudioError
from studio.export.merged import Changes, named
from studio.families.base import Card, Parts
from studio.families.signatures import identify
from studio.families.signs import ADAPTER
from studio.jobs.draw.adapted import read_adapter
from studio.jobs.draw.drawings import dropped_folder
from studio.jobs.runs.folders import Run, find_run
from studio.methods import layers, lora, several
from studio.methods.base import Attached
from studio.methods.describing import describe_file, is_foreign
from studio.methods.foreign import Foreign, find_changes
from studio.methods.imports import add_alphas, rename, said_by
from studio.methods.lora_arithmetic import layers_of
from studio.settings import explain
from studio.spec import MethodSpec
from studio.store import Workspace, inside, read_metadata, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

NO_LAYERS = "only adapters on layers can be merged into a base; a learned word is a file beside it"
PEFT_FILE = "adapter_model.safetensors"


@dataclass
class Member:
    """An adapter to merge: a run's id, or a file's path."""

    source: str
    strength: float = 1.0


def file_of(workspace: Workspace, source: str) -> Path | None:
    """The adapter file that a source names: a path, a PEFT folder, or a file dropped on Compare; None where it names a run.

    StudioError where it is no adapter.
    """
    path = Path(os.path.expanduser(source))
    if (path / PEFT_FILE).is_file():
        return path / PEFT_FILE
    if path.is_dir():
        raise StudioError(f"{source}: no {PEFT_FILE} in this folder: give an adapter's file, or the folder that PEFT saved")
    if path.suffix == ".safetensors":
        if not path.is_file() and path.name == source:
            path = inside(dropped_folder(workspace), source)
        if not path.is_file():
            raise StudioError(f"{source}: no such file")
        kind = identify(path)
        if kind.what != ADAPTER:
            raise StudioError(f"{source}: this is {kind.words()}, not an adapter")
        return path
    return None


def changes_of(workspace: Workspace, member: Member, parts: Parts) -> tuple[Changes, str]:
    """(what it makes of the base's weights, how many of its layers were found); `parts` may be without weights.

    StudioError where that is nothing.
    """
    file = file_of(workspace, member.source)
    changes, found = _changes_of_run(workspace, member, parts) if file is None else _changes_of_file(file, member, parts)
    if not changes or not member.strength:
        raise StudioError(f"{member.source}: at strength {member.strength:g} this adapter changes nothing")
    return changes, found


def _changes_of_file(file: Path, member: Member, parts: Parts) -> tuple[Changes, str]:
    try:
        found, matched = find_changes(_tensors(file), _adaptable(parts))
    except StudioError as error:
        raise StudioError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
    if matched.unmatched:
        raise StudioError(f"{member.source}: {matched.words()}: choose the base it was made for")
    changes: Changes = {}
    for name, change in found.items():
        component, _, layer = name.partition(".")
        for part in change.parts:
            if getattr(parts.modules[component].get_submodule(layer), part) is None:
                raise StudioError(f"{member.source}: layer {name} has no {part} here: choose the base it was made for")
            changes[named(component, layer, part)] = _at(getattr(change, part), member.strength)
    return changes, matched.words()


def _at(change: "Callable[[Tensor, float], Tensor]", strength: float) -> "Callable[[Tensor], Tensor]":
    return lambda tensor: change(tensor, strength)


def _changes_of_run(workspace: Workspace, member: Member, parts: Parts) -> tuple[Changes, str]:
    run = find_run(workspace, member.source)
    specs = run.spec().methods
    kind = getattr(registry.method(specs[0].kind), "KIND", None)
    if len(specs) > 1 or kind is None:
        raise StudioError(f"{member.source}: {NO_LAYERS}")
    several.check_strength(specs, member.strength)
    state, changes = read_adapter(run, None)[0], {}
    for layer in layers.layers_of(state):
        component, _, path = layer.partition(".")
        if path not in dict(parts.modules[component].named_modules() if component in parts.modules else ()):
            raise StudioError(f"{member.source}: layer {layer} is not on this base: choose the base that the run was trained on")
        own = {name.removeprefix(f"{layer}."): tensor for name, tensor in state.items() if name.startswith(f"{layer}.")}
        changes[named(component, path, "weight")] = _merged(kind, specs[0], own, member, layer)
    return changes, f"{len(changes)}/{len(changes)} layers"


def _merged(kind: layers.Kind, spec: MethodSpec, own: "dict[str, Tensor]", member: Member, layer: str) -> "Callable[[Tensor], Tensor]":
    def change(weight: "Tensor") -> "Tensor":
        try:
            return layers.merged(kind, spec, weight, own, member.strength)
        except StudioError as error:
            raise StudioError(f"{member.source}: layer {layer}: {error}") from None

    return change


def attach(workspace: Workspace, member: Member, family: ModuleType, parts: Parts) -> Attached:
    """The adapter on a base in memory."""
    file = file_of(workspace, member.source)
    if file is None:
        run: Run = find_run(workspace, member.source)
        adapter = several.attach(parts, run.spec().methods, family.card, run.spec().train.seed)
        adapter.restore(read_adapter(run, None)[0])
        return adapter
    tensors = _tensors(file)
    if is_foreign(file):
        return Foreign(parts, tensors)
    try:
        adapter = several.attach(parts, [_settings(file, family.card)], family.card, 0)
    except StudioError:  # on layers that no method here sits on, as text encoders that are not trained
        return Foreign(parts, tensors)
    try:
        adapter.load(tensors)
    except StudioError:
        adapter.detach()
        return Foreign(parts, tensors)
    return adapter


def lora_state(workspace: Workspace, member: Member, card: Card, parts: Parts) -> "dict[str, Tensor]":
    """A LoRA's tensors under our names at scale 1, without layers that do nothing; `parts` may be without weights.

    StudioError where it is none, of another base, or does nothing at all.
    """
    file = file_of(workspace, member.source)
    spec = find_run(workspace, member.source).spec().methods[0] if file is None else _settings(file, card)
    if not isinstance(spec, lora.Spec):
        raise StudioError(f"{member.source}: only LoRAs can be merged with each other or resized")
    if file is None:
        state = read_adapter(find_run(workspace, member.source), None)[0]
    else:
        try:
            found = rename(_tensors(file), _adaptable(parts))
        except StudioError as error:
            raise StudioError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
        if found.unmatched:
            raise StudioError(f"{member.source}: {found.words()}: choose the base it was made for")
        state = lora.KIND.read(found, spec)
    scaled = {n: t.float() * spec.scale if n.endswith(".lora_B.weight") else t.float() for n, t in state.items()}
    there = {n for n in layers_of(scaled) if scaled[f"{n}.lora_B.weight"].any()}
    if not there:
        raise StudioError(f"{member.source}: this adapter changes nothing")
    return {n: t for n, t in scaled.items() if n.rpartition(".lora_")[0] in there}


def _adaptable(parts: Parts) -> dict[str, Any]:
    return {name: module for name, module in parts.modules.items() if name != "vae"}


def _tensors(file: Path) -> "dict[str, Tensor]":
    beside = file.parent / "adapter_config.json" if file.name == PEFT_FILE else None
    return add_alphas(read_tensors(file), said_by(read_metadata(file), beside))


def _settings(file: Path, card: Card) -> MethodSpec:
    """The settings under which a method takes in the whole file."""
    try:
        return describe_file(file, card)
    except ValidationError as error:
        raise StudioError(f"{file}: {explain(error)}") from None
