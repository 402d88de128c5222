"""The memory plan of a run: asked from its settings, told before it starts, kept in its folder and obeyed by its process. No torch here."""

import contextlib
from dataclasses import MISSING, fields, replace
from itertools import combinations
from typing import Any

from studio import extras, registry
from studio.errors import StudioError
from studio.jobs.runs.folders import Run
from studio.methods import several
from studio.models.bases import Base
from studio.models.facts import GIB, Memory, memory
from studio.models.memory_plan import Ask, Drawing, Plan, plan, plan_drawing
from studio.models.sizes import Sizes, read_sizes
from studio.spec import RunSpec
from studio.store import Workspace, read_json, write_json

FILE = "plan.json"
SMALLER_PX = (768, 512)  # that are proposed where a picture of a base's own size does not fit
MAX_CHANGES = 4  # of settings that are proposed together
FREE = {  # a part of what is asked -> what leaves it to the plan, and the setting that says so
    "checkpointing": ("auto", "train.gradient_checkpointing=auto"),
    "offload": ("auto", "train.offload=auto"),
    "recorded": ("auto", "train.recorded=auto"),
    "micro_batch": (None, "train.micro_batch=null"),
    "bits": ("auto", "train.base_bits=auto"),
}
NO_SIZES = Sizes(0.0, 0.0, 0.0, 64, 512)


def plan_of(workspace: Workspace, spec: RunSpec, base: Base, here: Memory | None = None) -> Plan:
    """How a run with this spec fits the machine's memory; `here` as it is known."""
    here = here or memory(workspace)
    card = registry.family(base.family).card
    sizes = read_sizes(base.path, card) or NO_SIZES
    return plan(sizes, ask_of(spec, card, sizes, here), here)


def ask_of(spec: RunSpec, card: Any, sizes: Sizes, here: Memory) -> Ask:
    """What of a run's settings decides its memory."""
    each = {"fp32": 4, "bf16": 2, "fp16": 2}.get(spec.train.precision, here.bytes_per_number)
    live = bool(several.live(spec.methods) & set(card.text_encoders))
    return Ask(
        trained=several.trained(spec.methods, sizes),
        batch=spec.train.batch_size,
        micro_batch=spec.train.micro_batch,
        size_px=spec.base.size_px,
        optimizer=spec.train.optimizer,
        bytes_per_number=each,
        text_is_live=live,
        checkpointing=spec.train.gradient_checkpointing,
        offload=spec.train.offload,
        bits=spec.train.base_bits,
        recorded=spec.train.recorded if several.recordable(spec.methods) and spec.train.precision != "fp16" else "off",
        can_quantise=extras.installed("quant") and here.where != "this machine" and several.keeps_base(spec.methods),
        previews=bool(spec.preview.at_steps),
    )


def drawing_of(workspace: Workspace, spec: RunSpec, base: Base) -> Drawing:
    """How a picture is drawn with this base on this machine, before and after training."""
    here = memory(workspace)
    sizes = read_sizes(base.path, registry.family(base.family).card)
    if sizes is None or here.where == "this machine":
        return Drawing()
    few = extras.installed("quant") and several.keeps_base(spec.methods)
    return plan_drawing(sizes, spec.base.size_px or base.shape_px[0], 1, here.bytes_per_number, here.total_gib * GIB, few)


def way_out(workspace: Workspace, spec: RunSpec, base: Base) -> str:
    """The settings under which a run that does not fit would, few and gentle ones first, or nothing; with what it then needs."""
    here, size_px = memory(workspace), spec.base.size_px or base.shape_px[0]
    card = registry.family(base.family).card
    sizes = read_sizes(base.path, card)
    if sizes is None or here.where == "this machine":
        return ""
    ask = ask_of(spec, card, sizes, here)
    changes = [
        *_freed(spec, ask, sizes),
        *_saving(spec, ask),
        *(({"size_px": px}, f"base.size_px={px}") for px in SMALLER_PX if px < size_px),
    ]
    for few in (chosen for count in range(1, MAX_CHANGES + 1) for chosen in combinations(changes, count)):
        values = {key: value for change, _ in few for key, value in change.items()}
        if len(values) == sum(len(change) for change, _ in few) and (found := plan(sizes, replace(ask, **values), here)).fits:
            return f"with {' and '.join(name for _, name in few)} it would need about {found.peak_gib:.1f} GiB"
    return ""


def _freed(spec: RunSpec, ask: Ask, sizes: Sizes) -> list[tuple[dict[str, Any], str]]:
    """What a person has fixed, left to the plan again: (parts of what is asked, the setting)."""
    found = [({part: free}, name) for part, (free, name) in FREE.items() if getattr(ask, part) != free]
    alone = [m.model_copy(update={"text_encoder": False}) if getattr(m, "text_encoder", False) else m for m in spec.methods]
    if ask.text_is_live and alone != spec.methods:
        found.append(({"text_is_live": False, "trained": several.trained(alone, sizes)}, "method.text_encoder=false"))
    return found


def _saving(spec: RunSpec, ask: Ask) -> list[tuple[dict[str, Any], str]]:
    """What saves memory with the extra for it: the base in few bits, or, where all of it is trained, the optimizer's moments."""
    extra = f"the extra quant ({extras.advice('quant')})"
    if several.keeps_base(spec.methods):
        return [] if ask.can_quantise else [({"can_quantise": True}, extra)]
    few = "train.optimizer=adamw8bit"
    return [({"optimizer": "adamw8bit"}, few if extras.installed("quant") else f"{extra} and {few}")] if ask.optimizer == "adamw" else []


def settled(run: Run, spec: RunSpec, base: Base, workspace: Workspace, here: Memory) -> Plan:
    """The plan in the run's folder, made now if there is none: a run that goes on does as it began."""
    kept = read(run)
    if kept is None:
        kept = plan_of(workspace, spec, base, here)
        write_json(run.folder / FILE, kept.record() | {"memory_gib": round(here.total_gib, 2), "where": here.where})
    return kept


def read(run: Run) -> Plan | None:
    """The plan that a run was begun with; None where there is none yet."""
    with contextlib.suppress(StudioError, TypeError, AttributeError, KeyError):
        values = read_json(run.folder / FILE)
        names = [f.name for f in fields(Plan) if f.name in values or f.default is MISSING]  # later fields may lack in older plans
        return replace(Plan(False, False, 16, 0.0, {}, None), **{name: values[name] for name in names})
    return None
