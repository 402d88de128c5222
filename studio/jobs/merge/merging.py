"""Merging: an adapter into its base as a new model folder, adapters into one, or one at a smaller rank; each read back and compared.

`python -m studio.jobs.merge.merging ROOT` carries out one request, a JSON line on its standard input, and tells its stages on its output.
"""

import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from studio import quiet, registry
from studio.errors import StudioError
from studio.export.formats import staged, write_adapter
from studio.export.verify import Diverged, Verified, verify
from studio.families.base import Parts, card_of
from studio.jobs.merge.into import Merged, Tell, base_of, merge, new_place, structure
from studio.jobs.merge.members import Member, lora_state
from studio.jobs.merge.room import has_room
from studio.jobs.processes import talking
from studio.methods import layers, lora
from studio.methods.imports import rename
from studio.methods.lora_arithmetic import difference, layers_of, resize, together
from studio.models.bases import Base
from studio.store import Workspace, read_tensors, require_free, slug

PRODUCT_TOLERANCE = 1e-4
MAX_TOGETHER = 1000.0  # strength in a sum; a hundred times what drawing takes
CANCELLED = 1e-6  # share of the largest change among adapters, of which nothing is left where they cancel each other


def combine(workspace: Workspace, members: list[Member], base_name: str, out: Path, tell: Tell = lambda stage, share: None) -> Merged:
    """One adapter file at `out` that does what all members do together, of the sum of their ranks; read back and compared.

    StudioError for fewer than two, or a wrong sum.
    """
    if len(members) < 2:
        raise StudioError("merge: give two adapters or more")
    base = base_of(workspace, base_name, members, MAX_TOGETHER)
    out = new_place(out, base, is_file=True)
    if idle := next((m for m in members if not m.strength), None):
        raise StudioError(f"{idle.source}: at strength 0 this adapter changes nothing")
    family, parts, fits = _load(base, tell)
    states = [(lora_state(workspace, m, family.card, parts), m.strength) for m in members]
    tell("merging", 0.0)
    state, rank = together(states)
    off, largest = difference(state, states), difference(state, [])
    if off > PRODUCT_TOLERANCE * max(1.0, largest):
        raise StudioError(f"merge: the sum came out wrong by {off:.1e}: please report this")
    if largest <= CANCELLED * max(abs(weight) * difference(one, []) for one, weight in states):
        raise StudioError("merge: together these adapters change nothing, for their strengths cancel: choose others")
    verified = _write(family, parts, fits, state, rank, out, tell)
    text = f"{len(members)} adapters in one of rank {rank}, {verified}; the sum of their changes to {off:.0e}"
    return Merged(out, text, {"rank": rank, "layers": verified.layers, "max_difference": verified.max_difference})


def shrink(workspace: Workspace, member: Member, base_name: str, rank: int, out: Path, tell: Tell = lambda stage, share: None) -> Merged:
    """The adapter at another rank, by its singular values; the share of its change that is lost is told."""
    base = base_of(workspace, base_name, [member])
    out = new_place(out, base, is_file=True)
    family, parts, fits = _load(base, tell)
    whole = lora_state(workspace, member, family.card, parts)
    most = max(min(whole[f"{n}.lora_A.weight"][0].numel(), whole[f"{n}.lora_B.weight"].shape[0]) for n in layers_of(whole))
    if rank > most:
        raise StudioError(f"--rank {rank}: the largest of its layers has no more than rank {most}: use at most that")
    tell("merging", 0.0)
    state, error = resize(whole, rank)
    verified = _write(family, parts, fits, state, rank, out, tell)
    had = max(whole[f"{n}.lora_A.weight"].shape[0] for n in layers_of(whole))
    text = f"rank {had} to {rank}: {100 * error:.1f} % of the change of weights is lost; {verified}"
    return Merged(out, text, {"rank": rank, "was": had, "error": round(error, 6), "layers": verified.layers})


def _load(base: Base, tell: Tell) -> tuple[ModuleType, Parts, bool]:
    """(family, base, whether its weights are there): in fp32 on the CPU, where sums are exact enough, if there is room for it."""
    import torch

    tell("loading", 0.0)
    family, fits = registry.family(base.family), has_room(base)
    return family, family.load(base.path, torch.float32, torch.device("cpu")) if fits else structure(base, family), fits


def _write(family: ModuleType, parts: Parts, fits: bool, state: dict[str, Any], rank: int, out: Path, tell: Tell) -> Verified:
    """Write a LoRA in the layout that most programs read, and have it read back: by diffusers where the base is in memory."""
    spec = lora.Spec.model_construct(rank=rank, alpha=float(rank), rslora=False)
    layout = family.card.export_layouts[0]
    metadata = family.export_metadata(parts) | lora.metadata(spec)
    with staged(out) as target:
        require_free(target.parent, sum(t.numel() * 4 for t in state.values()) + 2**20, "the merged adapter")
        tell("writing", 0.0)
        write_adapter(target, lora.export(state, spec, layout, card_of(family, parts)), metadata, layout, {})
        tell("verifying", 0.0)
        if not fits:
            return _compare_file(parts, state, target)
        targets: dict[str, list[str]] = {}
        for layer in layers_of(state):
            targets.setdefault(layer.partition(".")[0], []).append(layer.partition(".")[2])
        taken = layers.Adapter(parts, spec, targets, lora.KIND, 0, family.card)
        taken.restore(state)
        try:
            return verify(family, parts, taken, target, layout)
        except Diverged:
            raise StudioError("merge: what comes of these strengths draws no numbers: lower them, or leave out what has diverged") from None


def _compare_file(parts: Parts, state: dict[str, Any], target: Path) -> Verified:
    """A LoRA's file read back under our names, its products compared with those of `state`: for bases larger than memory."""
    spec = lora.Spec.model_construct(rank=max(t.shape[0] for n, t in state.items() if ".lora_A." in n), alpha=None, rslora=False)
    came = lora.KIND.read(rename(read_tensors(target), {n: m for n, m in parts.modules.items() if n != "vae"}), spec)
    there, off = set(layers_of(came)), difference(state, [(came, 1.0)])
    if there != set(layers_of(state)) or off > PRODUCT_TOLERANCE:
        raise StudioError(f"merge: the file did not come back as it was written (difference {off:.1e}); it was not kept")
    return Verified(len(there), len(there), off, 0.0, note="compared by its tensors, for the base is larger than this machine's memory")


STAGES = {"loading": 0, "merging": 1, "writing": 2, "verifying": 3}


def carry_out(workspace: Workspace, request: dict[str, Any], tell: Tell) -> Merged:
    """What a page asks: {"what": into, together or resize, "adapters": [{"source", "strength"}], "base", "rank", "name"}.

    StudioError where that is not whole.
    """
    try:
        members = [Member(str(a["source"]), float(a.get("strength", 1.0))) for a in request["adapters"]]
        what, base, rank, name = str(request["what"]), str(request.get("base") or ""), int(request.get("rank") or 8), str(request["name"])
    except (KeyError, TypeError, ValueError):
        raise StudioError("merge: say what to merge, with which adapters, and a name") from None
    if not members:
        raise StudioError("merge: choose an adapter")
    out = workspace.models / (slug(name) or "merged")
    if what != "together" and len(members) > 1:
        raise StudioError("merge: this takes one adapter: choose one, or make several into one first (Several adapters as one)")
    if what == "into":
        return merge(workspace, members[0], base, out, tell)
    out = out.with_name(out.name + ".safetensors")
    return combine(workspace, members, base, out, tell) if what == "together" else shrink(workspace, members[0], base, rank, out, tell)


def _told(stage: str, share: float) -> dict[str, Any]:
    """How far a merge is, for a progress bar and beside it."""
    done = STAGES[stage] + round(share, 2)
    return {"done": done, "total": len(STAGES), "note": f"{stage}, {100 * share:.0f} %" if share else stage}


def main(root: Path) -> int:
    """Carry out the one request on standard input."""
    quiet.silence()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a stop: what was begun is taken away on the way out
    return talking.carry_out(partial(_answer, Workspace.at(root)))


def _answer(workspace: Workspace, request: dict[str, Any], say: talking.Say) -> dict[str, Any]:
    """Merge as asked, and tell what came of it."""
    merged = carry_out(workspace, request, lambda stage, share: say(**_told(stage, share)))
    return {"state": "finished", "done": len(STAGES), "path": str(merged.file), "text": merged.text}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
