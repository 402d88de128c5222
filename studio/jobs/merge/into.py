"""An adapter into its base as a new model folder: written one tensor at a time, compared tensor by tensor, drawn with where it fits."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from studio import registry
from studio.errors import StudioError
from studio.export import merged as merged_folder
from studio.export.formats import staged
from studio.export.merged import Changes, Counted
from studio.export.verify import Verified, outputs
from studio.export.whole import verify_merged
from studio.families.base import Parts
from studio.families.header import read_header
from studio.jobs.merge.members import Member, attach, changes_of, file_of
from studio.jobs.merge.room import has_room
from studio.jobs.runs.folders import find_run
from studio.models.bases import Base, check, find_base, told
from studio.store import Workspace, require_free, write_bytes

Tell = Callable[[str, float], None]  # a stage (loading, merging, writing, verifying), and which share of it is done
PRECISIONS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
MAX_STRENGTH = 1e6
PROBE_SIDE = 16  # positions a side of the picture that is drawn to compare
LITTLE, MOST = 5e-4, 0.9  # shares of a change that rounding takes: below the one it is not worth a word, above the other nothing is left


@dataclass
class Merged:
    """What came of it."""

    file: Path
    text: str
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Work:
    """One merge into a base at work."""

    workspace: Workspace
    member: Member
    base: Base
    family: ModuleType
    parts: Parts  # without weights where the base is a folder
    changes: Changes
    found: str  # how many of the adapter's layers are on the base
    tell: Tell


def merge(workspace: Workspace, member: Member, base_name: str, out: Path, tell: Tell = lambda stage, share: None) -> Merged:
    """A model folder at `out` that is the base with the adapter at a strength in its weights, in their own precision; compared.

    The base is read and written one tensor at a time. What was written is compared tensor by tensor with what it should be; where the
    model fits into memory, what diffusers draws with it is compared with what base and adapter draw.
    StudioError where `out` is no folder's name, or they do not fit each other.
    """
    base = base_of(workspace, base_name, [member])
    out = new_place(out, base, is_file=False)
    tell("loading", 0.0)
    family = registry.family(base.family)
    parts = structure(base, family)
    work = Work(workspace, member, base, family, parts, *changes_of(workspace, member, parts), tell)
    with staged(out) as target:
        counted = _write(work, target)
        verified = _verify(work, counted, target)
    return _told(work, out, counted, verified)


def structure(base: Base, family: ModuleType) -> Parts:
    """The base without its weights where it is a folder; of a file, with tensors in their own precision, mapped from the disk."""
    import torch

    if base.path.is_dir():
        return family.load(base.path, torch.float32, torch.device("meta"))
    return family.load(base.path, getattr(torch, _precision(base.path)), torch.device("cpu"))


def _precision(file: Path) -> str:
    """The precision that most of a file's numbers have; fp8 is read as bfloat16."""
    header, counts = read_header(file), dict.fromkeys(("float32", "bfloat16", "float16"), 0)
    for name, dtype in header.dtypes.items():
        kind = "bfloat16" if dtype.startswith("F8") else PRECISIONS.get(dtype, "float32").replace("64", "32")
        counts[kind] += math.prod(header.shapes[name])
    return max(counts, key=counts.get)


def _write(work: Work, target: Path) -> Counted:
    found = merged_folder.sources(work.base.path, work.parts)
    require_free(target.parent, merged_folder.num_bytes(found) + 2**24, "the merged model")
    work.tell("writing", 0.0)
    written = merged_folder.write_merged(work.family, work.parts, found, work.changes, target, lambda share: work.tell("writing", share))
    if not written.size:
        raise StudioError(f"{work.member.source}: this adapter changes nothing")
    if written.rounding > MOST:
        kind = PRECISIONS[min(written.kinds)]
        raise StudioError(f"merge: weights in {kind} round so small a change away: use a higher strength, or a base in float32")
    write_bytes(target / "README.md", _card(work).encode())
    return written


def _verify(work: Work, counted: Counted, target: Path) -> Verified | None:
    """What diffusers draws with the folder, compared with base and adapter; None where they do not fit into memory."""
    import torch

    work.tell("verifying", 0.0)
    found = merged_folder.sources(work.base.path, work.parts)
    merged_folder.compare_tensors(found, work.changes, target, lambda share: work.tell("verifying", share))
    merged_folder.check_structure(work.family, work.parts, target)
    if not has_room(work.base):
        return None
    whole = work.family.load(work.base.path, torch.float32, torch.device("cpu"))
    facts = whole.facts
    side = -(-PROBE_SIDE * facts.vae_scale // facts.pixel_multiple) * facts.pixel_multiple
    whole.facts = replace(facts, size_px=min(facts.size_px, side))  # weights are compared: a small picture tells as much, and sooner
    before = outputs(work.family, whole)
    adapter = attach(work.workspace, work.member, work.family, whole)
    with adapter.at([work.member.strength]):
        ours = outputs(work.family, whole)
    adapter.detach()
    for module in whole.modules.values():
        module.to("meta")  # its memory is for the one that is read back
    return verify_merged(work.family, whole, target, ours, before, half=counted.kinds != {"F32"})


def _told(work: Work, out: Path, counted: Counted, verified: Verified | None) -> Merged:
    member, precision = work.member, "/".join(sorted(PRECISIONS[kind] for kind in counted.kinds))
    about: dict[str, Any] = {"layers": work.found, "tensors": counted.tensors, "changed": counted.changed}
    about |= {"precision": precision, "rounding": round(counted.rounding, 6)}
    text = f"{work.base.source} + {Path(member.source).name} at {member.strength:g}: {work.found}; "
    text += f"verified: all {counted.tensors} tensors came back, {counted.changed} of them changed"
    if counted.rounding > LITTLE:
        text += f"; rounding to {precision} takes {100 * counted.rounding:.1f} % of the change"
    if verified:
        about["max_difference"] = verified.max_difference
        text += f"; loaded by diffusers, it computes what base and adapter do, max difference {verified.max_difference:.0e}"
    else:
        text += "; too large for this machine's memory to be drawn with for comparison"
    return Merged(out, text.replace("0e+00", "0"), about)


def new_place(out: Path, base: Base, is_file: bool) -> Path:
    """`out` as a path; StudioError where something would be overwritten, in the base's own folder too, or it has no such file's name."""
    out = out.expanduser()
    if is_file != (out.suffix == ".safetensors"):
        what = "an adapter is a file: give a name that ends in" if is_file else "a merged model is a folder: give a name without"
        raise StudioError(f"{out}: {what} .safetensors")
    if out.exists():
        raise StudioError(f"{out}: something is there already: choose another name")
    if base.path.resolve() in out.resolve().parents:
        raise StudioError(f"{out}: this lies in the folder of the base, which stays as it is: choose another place")
    return out


def base_of(workspace: Workspace, name: str, members: list[Member], most: float = MAX_STRENGTH) -> Base:
    """The base that was named, or that a run among the members was trained on; `most` = the largest strength.

    StudioError where neither says so, or no number is meant.
    """
    for member in members:
        if not abs(member.strength) <= most:  # false for what is no number, too
            raise StudioError(f"{member.source}: strength {member.strength:g}: give one between -{most:g} and {most:g}")
    for member in members if not name else ():
        if not file_of(workspace, member.source):
            name = find_run(workspace, member.source).spec().base.source
            break
    if not name:
        raise StudioError("--base: say which base model the adapters were made for")
    base = find_base(name, workspace)
    check(base)
    return base


def _card(work: Work) -> str:
    """The merged model's card: whose licence it carries, and what was put together. No path is in it."""
    said, facts, member = told(work.base.path), work.parts.facts, work.member
    licence = said.get("license_name") or said.get("license") or facts.licence
    title = f"{said.get('model_name') or facts.title} with {Path(member.source).stem}"
    lines = ["---", f"license_name: {licence}", f"model_name: {title}", "---", "", f"# {title}", ""]
    return "\n".join(
        [*lines, f"The base with an adapter at strength {member.strength:g} in its weights ({work.found}), merged by Domain Studio.", ""]
    )
