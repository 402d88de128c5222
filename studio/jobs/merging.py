"""Merging: an adapter into its base as a new model folder, adapters into one, or one at a smaller rank; each read back and compared.

`python -m studio.jobs.merging ROOT` carries out one request, a JSON line on its standard input, and tells its stages on its output.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from studio import quiet, registry
from studio.errors import StudioError, one_line
from studio.export.formats import staged, write_adapter
from studio.export.verify import outputs, verify
from studio.export.whole import verify_merged, write_whole
from studio.families.base import Parts
from studio.families.folder import component
from studio.families.signatures import ADAPTER, identify
from studio.jobs.drawings import dropped_folder
from studio.jobs.merge_room import wait_for_room
from studio.jobs.runs import Run, find_run
from studio.jobs.tasks import read_adapter
from studio.methods import layers, lora, several
from studio.methods.describing import describe_file
from studio.methods.imports import add_alphas, said_by
from studio.methods.lora_arithmetic import difference, layers_of, resize, together
from studio.model_facts import component_headers
from studio.models import Base, check, find_base, told
from studio.spec import MethodSpec, explain
from studio.store import Workspace, inside, read_metadata, read_tensors, require_free, slug, write_bytes

Tell = Callable[[str], None]  # a stage: loading, merging, writing, verifying; or what is waited for
HALF = {"F16": "float16", "BF16": "bfloat16"}
PRODUCT_TOLERANCE = 1e-4


@dataclass
class Member:
    """An adapter to merge: a run's id, or a file's path."""

    source: str
    strength: float = 1.0


@dataclass
class Merged:
    """What came of it."""

    file: Path
    text: str
    about: dict[str, Any] = field(default_factory=dict)


def merge(workspace: Workspace, member: Member, base_name: str, out: Path, tell: Tell = lambda stage: None) -> Merged:
    """A model folder at `out` that is the base with the adapter at a strength in its weights; loaded back by diffusers and compared."""
    import torch

    base = _base(workspace, base_name, [member])
    if out.exists():
        raise StudioError(f"{out}: something is there already: choose another name")
    family, parts = _load(workspace, base, tell)
    before = outputs(family, parts)
    adapter, found = _attach(workspace, member, family, parts)
    if not hasattr(adapter, "merge"):
        raise StudioError(f"{member.source}: only adapters on layers can be merged into a base; a learned word is a file beside it")
    with adapter.at([member.strength]):
        ours = outputs(family, parts)
    tell("merging")
    adapter.merge(member.strength)
    dtype = _stored(base, family)
    require_free(out.parent, sum(p.numel() for m in parts.modules.values() for p in m.parameters()) * 4 + 2**20, "the merged model")
    with staged(out) as target:
        tell("writing")
        for module in parts.modules.values():
            module.to(getattr(torch, dtype))
        write_whole(family, parts, target, "model", {})
        write_bytes(target / "README.md", _card(base, parts, member, found).encode())
        for module in parts.modules.values():
            module.to(torch.float32)
        tell("verifying")
        verified = verify_merged(family, parts, target, ours, before, half=dtype != "float32")
    text = f"{base.source} + {Path(member.source).name} at {member.strength:g}: {found}; verified: {verified}"
    return Merged(out, text, {"layers": found, "max_difference": verified.max_difference, "precision": dtype})


def combine(workspace: Workspace, members: list[Member], base_name: str, out: Path, tell: Tell = lambda stage: None) -> Merged:
    """One adapter file at `out` that does what all members do together, of the sum of their ranks; read back and compared."""
    if len(members) < 2:
        raise StudioError("merge: give two adapters or more")
    base = _base(workspace, base_name, members)
    family, parts = _load(workspace, base, tell)
    states = [(_lora_state(workspace, m, family, parts), m.strength) for m in members]
    tell("merging")
    state, rank = together(states)
    off = difference(state, states)
    if off > PRODUCT_TOLERANCE:
        raise StudioError(f"merge: the sum came out wrong by {off:.1e}: please report this")
    verified = _write(family, parts, state, rank, out, tell)
    text = f"{len(members)} adapters in one of rank {rank}, {verified}; the sum of their changes to {off:.0e}"
    return Merged(out, text, {"rank": rank, "layers": verified.layers, "max_difference": verified.max_difference})


def shrink(workspace: Workspace, member: Member, base_name: str, rank: int, out: Path, tell: Tell = lambda stage: None) -> Merged:
    """The adapter at another rank, by its singular values; the share of its change that is lost is told."""
    base = _base(workspace, base_name, [member])
    family, parts = _load(workspace, base, tell)
    whole = _lora_state(workspace, member, family, parts)
    tell("merging")
    state, error = resize(whole, rank)
    verified = _write(family, parts, state, rank, out, tell)
    had = max(whole[f"{n}.lora_A.weight"].shape[0] for n in layers_of(whole))
    text = f"rank {had} to {rank}: {100 * error:.1f} % of the change of weights is lost; {verified}"
    return Merged(out, text, {"rank": rank, "was": had, "error": round(error, 6), "layers": verified.layers})


def _card(base: Base, parts: Parts, member: Member, found: str) -> str:
    """The merged model's card: whose licence it carries, and what was put together. No path is in it."""
    said = told(base.path)
    licence = said.get("license_name") or said.get("license") or parts.facts.licence
    title = f"{said.get('model_name') or parts.facts.title} with {Path(member.source).stem}"
    lines = ["---", f"license_name: {licence}", f"model_name: {title}", "---", "", f"# {title}", ""]
    return "\n".join(
        [*lines, f"The base with an adapter at strength {member.strength:g} in its weights ({found}), merged by Domain Studio.", ""]
    )


def _base(workspace: Workspace, name: str, members: list[Member]) -> Base:
    """The base that was named, or that a run among the members was trained on."""
    for member in members if not name else ():
        if not _file(workspace, member.source):
            name = find_run(workspace, member.source).spec().base.source
            break
    if not name:
        raise StudioError("--base: say which base model the adapters were made for")
    base = find_base(name, workspace)
    check(base)
    return base


def _load(workspace: Workspace, base: Base, tell: Tell) -> tuple[ModuleType, Parts]:
    """In fp32 on the CPU, where sums are exact enough and memory is largest; once there is room for it."""
    import torch

    wait_for_room(workspace, base, tell)
    tell("loading")
    family = registry.family(base.family)
    return family, family.load(base.path, torch.float32, torch.device("cpu"))


def _file(workspace: Workspace, source: str) -> Path | None:
    """The adapter file that a source names: a path, a PEFT folder, or a file dropped on Compare; None where it names a run."""
    path = Path(os.path.expanduser(source))
    if (path / "adapter_model.safetensors").is_file():
        return path / "adapter_model.safetensors"
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


def _attach(workspace: Workspace, member: Member, family: ModuleType, parts: Parts) -> tuple[Any, str]:
    """(the adapter on the base, how many of its layers were found)."""
    file = _file(workspace, member.source)
    if file is None:
        run: Run = find_run(workspace, member.source)
        adapter = several.attach(parts, run.spec().methods, family.card, run.spec().train.seed)
        adapter.restore(read_adapter(run, None)[0])
        return adapter, f"{adapter.num_layers}/{adapter.num_layers} layers"
    adapter = several.attach(parts, [_settings(file, family.card)], family.card, 0)
    tensors = add_alphas(read_tensors(file), said_by(read_metadata(file), file.parent / "adapter_config.json"))
    return adapter, adapter.load(tensors)


def _settings(file: Path, card: Any) -> MethodSpec:
    """The settings under which a method takes in the whole file."""
    from pydantic import ValidationError

    try:
        return describe_file(file, card)
    except ValidationError as error:
        raise StudioError(f"{file}: {explain(error)}") from None


def _lora_state(workspace: Workspace, member: Member, family: ModuleType, parts: Parts) -> dict[str, Any]:
    """A LoRA's tensors under our names at scale 1; the base is bare again afterwards."""
    adapter, _ = _attach(workspace, member, family, parts)
    try:
        spec = getattr(adapter, "spec", None)
        if not isinstance(spec, lora.Spec):
            raise StudioError(f"{member.source}: only LoRAs can be merged with each other or resized")
        state = {n: t.detach().clone() for n, t in adapter.state().items()}
    finally:
        adapter.detach()
    scaled = {n: t * spec.scale if n.endswith(".lora_B.weight") else t for n, t in state.items()}
    there = {n for n in layers_of(scaled) if scaled[f"{n}.lora_B.weight"].any()}  # layers that a file has not do nothing
    if not there:
        raise StudioError(f"{member.source}: this adapter changes nothing")
    return {n: t for n, t in scaled.items() if n.rpartition(".lora_")[0] in there}


def _write(family: ModuleType, parts: Parts, state: dict[str, Any], rank: int, out: Path, tell: Tell) -> Any:
    """Write a LoRA in the layout that most programs read, and have it read back."""
    if out.exists():
        raise StudioError(f"{out}: something is there already: choose another name")
    spec = lora.Spec.model_construct(rank=rank, alpha=float(rank), rslora=False)
    targets: dict[str, list[str]] = {}
    for layer in layers_of(state):
        targets.setdefault(layer.partition(".")[0], []).append(layer.partition(".")[2])
    taken = layers.Adapter(parts, spec, targets, lora.KIND, 0, family.card)
    taken.restore(state)
    layout = family.card.export_layouts[0]
    metadata = family.export_metadata(parts) | lora.metadata(spec)
    require_free(out.parent, sum(t.numel() * 4 for t in state.values()) + 2**20, "the merged adapter")
    with staged(out) as target:
        tell("writing")
        write_adapter(target, lora.export(state, spec, layout, family.card), metadata, layout, {})
        tell("verifying")
        return verify(family, parts, taken, target, layout)


def _stored(base: Base, family: ModuleType) -> str:
    """The precision that a base's denoiser is stored in, so that the merged one is no larger."""
    headers = component_headers(component(base.path, family.card.denoiser)) if base.path.is_dir() else []
    kinds = {dtype for header in headers for dtype in header.dtypes.values()}
    return HALF.get(next(iter(kinds)), "float32") if len(kinds) == 1 else "float32"


STAGES = {"loading": 0, "merging": 1, "writing": 2, "verifying": 3}


def carry_out(workspace: Workspace, request: dict[str, Any], tell: Tell) -> Merged:
    """What a page asks: {"what": into, together or resize, "adapters": [{"source", "strength"}], "base", "rank", "name"}."""
    try:
        members = [Member(str(a["source"]), float(a.get("strength", 1.0))) for a in request["adapters"]]
        what, base, rank, name = str(request["what"]), str(request.get("base") or ""), int(request.get("rank") or 8), str(request["name"])
    except (KeyError, TypeError, ValueError):
        raise StudioError("merge: say what to merge, with which adapters, and a name") from None
    if not members:
        raise StudioError("merge: choose an adapter")
    out = workspace.models / (slug(name) or "merged")
    if what == "into":
        return merge(workspace, members[0], base, out, tell)
    out = out.with_name(out.name + ".safetensors")
    return combine(workspace, members, base, out, tell) if what == "together" else shrink(workspace, members[0], base, rank, out, tell)


def main(root: Path) -> int:
    """Carry out the one request on standard input."""
    quiet.silence()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**told: Any) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    try:
        request = json.loads(sys.stdin.readline())
        merged = carry_out(Workspace.at(root), request, lambda stage: say(done=STAGES.get(stage, 0), total=len(STAGES), note=stage))
        say(state="finished", done=len(STAGES), path=str(merged.file), text=merged.text)
        return 0
    except Exception as error:
        say(state="failed", error=one_line(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
