"""A whole tuned model for other programs: a diffusers folder, or one checkpoint file; loaded back by diffusers alone and compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from studio.errors import StudioError
from studio.export.verify import TOLERANCE, Verified, distance, outputs
from studio.families.base import Parts
from studio.methods.base import Attached
from studio.store import read_json, write_json, write_tensors

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor

WHOLE = ("model", "checkpoint")  # layouts
HALF_TOLERANCE = 2e-2  # of the output's own size, where weights are kept in half precision
PATHS = ("_name_or_path", "name_or_path")  # where the libraries write where a model came from


def write_whole(family: ModuleType, parts: Parts, target: Path, layout: str, metadata: dict[str, str]) -> None:
    """Write the base as it is now, fp32: a folder that any diffusers program loads, or one file under the original names."""
    if layout == "checkpoint":
        write_tensors(target, family.checkpoint(parts), metadata)
        return
    make_pipeline(family, parts).save_pretrained(target, safe_serialization=True)
    _drop_paths(target)


def verify_whole(family: ModuleType, parts: Parts, adapter: Attached, target: Path, layout: str, scratch: Path) -> Verified:
    """Compare what diffusers loads from `target` with the tuned model; StudioError when a weight is missing or an output differs."""
    ours = outputs(family, parts)
    if not all(out.isfinite().all() for out in ours):
        raise StudioError("export: what this model draws is not a number: it has diverged; choose an earlier --snapshot")
    with adapter.at([0.0]):
        base = outputs(family, parts)
    with _loaded(family, parts, target, layout, scratch) as theirs:
        tuned = parts.modules[family.card.denoiser].state_dict()
        came = theirs.modules[family.card.denoiser].state_dict()
        same = sum(name in came and came[name].shape == value.shape and bool((came[name] == value).all()) for name, value in tuned.items())
        back = outputs(family, theirs)
    difference, effect = distance(ours, back), distance(ours, base)
    size = max(float(a.abs().max()) for a in ours)
    if same != len(tuned) or not difference <= TOLERANCE * size or difference > effect / 2:
        raise StudioError(
            f"export: the model did not come back as it was written ({same}/{len(tuned)} tensors, difference {difference:.1e}, "
            f"effect {effect:.1e}); it was not kept. Try another --format"
        )
    return Verified(same, len(tuned), difference, effect, "tensors")


def verify_merged(
    family: ModuleType, parts: Parts, target: Path, ours: "list[Tensor]", before: "list[Tensor]", half: bool = False
) -> Verified:
    """Compare what diffusers loads from the folder `target` with `ours`, the outputs of base and adapter; `before` = of the base alone.

    `half` = it was written in half precision, which rounds. StudioError when a weight is missing or an output differs.
    """
    if not all(out.isfinite().all() for out in ours):
        raise StudioError("merge: what base and adapter draw is not a number: lower the strength")
    with _loaded(family, parts, target, "model", target) as theirs:
        names = {f"{c}.{n}": t.shape for c, m in parts.modules.items() for n, t in m.state_dict().items()}
        for module in theirs.modules.values():
            module.float()
        came = {f"{c}.{n}": t.shape for c, m in theirs.modules.items() for n, t in m.state_dict().items()}
        back = outputs(family, theirs)
    same = sum(came.get(name) == shape for name, shape in names.items())
    found, effect, size = distance(ours, back), distance(ours, before), max(float(a.abs().max()) for a in ours)
    if same != len(names) or not found <= (HALF_TOLERANCE if half else TOLERANCE) * size or found > effect / 2:
        raise StudioError(
            f"merge: the model did not come back as base and adapter draw ({same}/{len(names)} tensors, difference {found:.1e}, "
            f"effect {effect:.1e}); it was not kept. Try a higher strength"
        )
    return Verified(same, len(names), found, effect, "tensors")


@contextmanager
def _loaded(family: ModuleType, parts: Parts, target: Path, layout: str, scratch: Path) -> Iterator[Parts]:
    """Within: the model as diffusers loads it, from local files alone."""
    import torch
    from diffusers.utils import logging

    logging.disable_progress_bar()  # of its parts, on stderr
    ours = make_pipeline(family, parts)
    if layout == "model":
        absent = {name: None for name, part in ours.components.items() if part is None and name not in ours._optional_components}
        pipe = type(ours).from_pretrained(target, use_safetensors=True, local_files_only=True, **absent)
    else:
        write_configs(ours, scratch)
        pipe = type(ours).from_single_file(
            target, config=str(scratch), local_files_only=True, torch_dtype=torch.float32, safety_checker=None
        )
    modules = {name: getattr(pipe, name).to(parts.device).eval() for name in parts.modules}
    yield replace(parts, modules=modules, tokenizers={name: getattr(pipe, name) for name in parts.tokenizers}, scheduler=pipe.scheduler)


def make_pipeline(family: ModuleType, parts: Parts) -> "DiffusionPipeline":
    """The family's pipeline with the noise schedule as the base is used: a person may have said what it predicts."""
    pipe = family.pipeline(parts)
    pipe.scheduler = type(parts.scheduler).from_config(parts.scheduler.config, **parts.facts.told_to_schedulers())
    return pipe


def write_configs(pipe: "DiffusionPipeline", folder: Path) -> None:
    """Everything of a diffusers folder but its weights, without the places on this machine where they were."""
    pipe.save_config(folder)
    for name, part in pipe.components.items():
        if hasattr(part, "save_config"):
            part.save_config(folder / name)
        elif hasattr(part, "config"):
            part.config.save_pretrained(folder / name)
        elif part is not None:
            part.save_pretrained(folder / name)
    _drop_paths(folder)


def _drop_paths(folder: Path) -> None:
    """Take out of the configurations where on this machine the base was; and let everyone read the files, as all exports."""
    for file in folder.rglob("*"):
        if file.suffix == ".json" and file.name.endswith(("config.json", "model_index.json")):
            values = read_json(file)
            told = [values.pop(key, None) for key in PATHS]
            if any(told):
                write_json(file, values)
        if file.is_file():
            file.chmod(0o644)
