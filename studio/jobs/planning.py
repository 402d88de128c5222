"""The memory plan of a run: asked from its settings, told before it starts, kept in its folder and obeyed by its process. No torch here."""

import contextlib
from dataclasses import replace
from typing import Any

from studio import extras, registry
from studio.errors import StudioError
from studio.jobs.runs import Run
from studio.memory_plan import Ask, Plan, Sizes, plan, read_sizes
from studio.methods import several
from studio.model_facts import Memory, memory
from studio.models import Base
from studio.spec import RunSpec
from studio.store import Workspace, read_json, write_json

FILE = "plan.json"
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
        trained=several.trained(spec.methods, sizes.denoiser),
        micro_batch=spec.train.micro_batch or spec.train.batch_size,
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
        names = Plan.__dataclass_fields__
        return replace(Plan(False, False, 16, 0.0, {}, None), **{n: values[n] for n in names if n in values or n != "recorded"})
    return None
