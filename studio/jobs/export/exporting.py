"""Exporting what a run has learned: written, read back and compared, and at its place only when it is equal to the run's own."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio import registry
from studio.errors import StudioError
from studio.export.formats import FOLDERS, card_path, check_target, staged, write_adapter
from studio.export.metadata import Shared, file_metadata, model_card
from studio.export.verify import PROBE, Verified, verify
from studio.export.whole import WHOLE, verify_whole, write_whole
from studio.families.base import card_of
from studio.jobs.draw.adapted import Adapted, load_adapted
from studio.jobs.draw.judgements import read_verdict
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import Run
from studio.methods import several
from studio.models.bases import find_base
from studio.spec import MethodSpec
from studio.store import Workspace, require_free, write_bytes

CLIP_TOKENS = 49408
OWN_WORDS = "its tokenizer is its own, and programs that bring CLIP's read other words: there, use the folder (--format model)"


@dataclass
class Aid:
    """What goes into an export besides the run: a base in memory, what may be shared, someone to tell the stages to."""

    warm: Warm = field(default_factory=Warm)
    shared: Shared = field(default_factory=Shared)
    tell: Callable[[str], None] = lambda stage: None  # loading, writing, verifying
    rank: int = 32  # of a LoRA taken out of a tuned model


def export_run(
    workspace: Workspace, run: Run, layout: str | None, snapshot: int | None, out: Path, aid: Aid | None = None
) -> tuple[Path, Verified]:
    """Write, read back and compare an adapter or a whole model; it appears at `out` only when it is equal to the run's own.

    StudioError for a layout that it has not, or a difference.
    """
    spec, aid = run.spec(), aid or Aid()
    base = find_base(spec.base.source, workspace)
    card = registry.family(base.family).card
    layouts = several.layouts(spec.methods, card)
    layout = layout or layouts[0]
    if layout not in layouts:
        raise StudioError(
            f"--format {layout}: for {spec.recipe} on {card.title} there {'are' if layouts[1:] else 'is only'} {', '.join(layouts)}"
        )
    own = several.writer_of(spec.methods, layout, card)
    out = check_target(out, layout)
    aid.tell("loading")
    adapted = load_adapted(workspace, run, snapshot, "fp32", aid.warm, own)
    adapted.parts.gather()  # what is compared must lie in one place
    counts = _counts(adapted) | {"others": [m.kind.replace("_", " ") for m in spec.methods if m.kind != own.kind]}
    kind = "model" if layout in WHOLE else "lora" if layout == "extracted" else own.kind
    write = {"model": _write_model, "checkpoint": _write_model, "extracted": _write_extracted}.get(layout, _write_adapter)
    with staged(out) as target:
        try:
            verified = write(adapted, own, target, layout, counts, aid)
        finally:
            aid.warm.bare()  # it was taken off to look at the base
        text = model_card(adapted.spec, adapted.parts, counts, str(verified), aid.shared, kind).encode()
        if layout in FOLDERS:
            write_bytes(card_path(target), text)
    if layout not in FOLDERS:
        write_bytes(card_path(out), text)
    return out, verified


def _write_adapter(adapted: Adapted, own: MethodSpec, target: Path, layout: str, counts: dict[str, Any], aid: Aid) -> Verified:
    """An adapter file or folder, read back by the library it is for."""
    method = registry.method(own.kind)
    says = adapted.family.export_metadata(adapted.parts)
    metadata = file_metadata(adapted.spec, adapted.parts, says, method.metadata(own), counts, own.kind) | aid.shared.metadata()
    aid.tell("writing")
    write_adapter(
        target,
        method.export(adapted.state, own, layout, card_of(adapted.family, adapted.parts)),
        metadata,
        layout,
        method.peft_configs(adapted.state, own),
    )
    aid.tell("verifying")
    return verify(adapted.family, adapted.parts, adapted.adapter, target, layout, method.reword(own, PROBE))


def _write_model(adapted: Adapted, own: MethodSpec, target: Path, layout: str, counts: dict[str, Any], aid: Aid) -> Verified:
    """The whole tuned model."""
    needed = sum(p.numel() * 4 for module in adapted.parts.modules.values() for p in module.parameters())
    require_free(target.parent, needed + 2**20, "the tuned model")
    says = adapted.family.export_metadata(adapted.parts)
    metadata = file_metadata(adapted.spec, adapted.parts, says, {}, counts, "model") | aid.shared.metadata()
    aid.tell("writing")
    write_whole(adapted.family, adapted.parts, target, layout, metadata)
    aid.tell("verifying")
    verified = verify_whole(adapted.family, adapted.parts, adapted.adapter, target, layout, target.parent / "configs")
    own_words = layout == "checkpoint" and any(len(t) != CLIP_TOKENS for t in adapted.parts.tokenizers.values())
    return replace(verified, note=OWN_WORDS) if own_words else verified


def _write_extracted(adapted: Adapted, own: MethodSpec, target: Path, layout: str, counts: dict[str, Any], aid: Aid) -> Verified:
    """A LoRA taken out of the tuned model; read back as any LoRA."""
    from studio.methods import layers, lora
    from studio.methods.extraction import extract

    parts, card = adapted.parts, card_of(adapted.family, adapted.parts)
    found = extract(parts, card, adapted.adapter.first(), adapted.state, aid.rank)
    aid.warm.bare()
    taken = aid.warm.put(object(), lambda: layers.Adapter(parts, found.spec, found.targets, lora.KIND, 0, card))
    taken.restore(found.state)
    says = adapted.family.export_metadata(parts)
    metadata = file_metadata(adapted.spec, parts, says, lora.metadata(found.spec), counts, "lora") | aid.shared.metadata()
    aid.tell("writing")
    usual = card.export_layouts[0]
    write_adapter(target, lora.export(found.state, found.spec, usual, card), metadata, usual, {})
    aid.tell("verifying")
    return replace(verify(adapted.family, parts, taken, target, usual), lacks=round(found.error, 4))


def _counts(adapted: Adapted) -> dict[str, Any]:
    """What is told about the data behind an export, in numbers alone; StudioError where the run's origin is damaged."""
    run, score = adapted.run, None
    try:
        splits = [d["split"] for d in run.read("origin.json", "data").values()]
    except (AttributeError, KeyError, TypeError):
        raise StudioError(f"{run.folder / 'origin.json'} is damaged (data): restore it from a copy") from None
    if (run.folder / "scores.json").is_file() and run.read("scores.json", "chosen", "step") == adapted.step:
        score = run.read("scores.json", "chosen", "held_out")
    held_out, found = splits.count("held_out"), read_verdict(run)
    told = {"train": len(splits) - held_out, "held_out_images": held_out, "base": adapted.identity, "step": adapted.step}
    is_this = found and found["step"] == adapted.step
    return told | {"held_out": score, "findings": [(each["title"], each["text"]) for each in found["findings"]] if is_this else []}
