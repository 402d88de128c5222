"""A new run from what a person chose; used by every front end. No torch here."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio import registry
from studio.dataset.rows import Dataset, open_dataset
from studio.errors import StudioError
from studio.families.base import Card
from studio.families.folder import refuse_pickle
from studio.families.signatures import identify
from studio.families.signs import EMBEDDING
from studio.jobs.runs.folders import Run, find_run, make_run
from studio.methods.describing import check_continued
from studio.methods.imports import NOT_CONTINUED
from studio.models.bases import Base, check, find_base
from studio.recipes import Choice, default_base, load_recipe, resolve
from studio.spec import RunSpec
from studio.store import Workspace

START = "start.safetensors"
PEFT_FILE = "adapter_model.safetensors"  # in a folder, with its settings beside it


@dataclass
class Request:
    """What was asked for, as typed."""

    dataset: str
    base: str = ""
    recipe: str = "lora"
    preset: str = "balanced"
    name: str = ""
    start_from: str = ""
    settings: list[str] = field(default_factory=list)


def settle(workspace: Workspace, request: Request) -> tuple[RunSpec, Dataset, Base, Run | Path | None]:
    """(every setting, the dataset, the base, what is continued from); StudioError when anything asked for is wrong. Nothing is made."""
    dataset = open_dataset(workspace, request.dataset)
    if not dataset.train_rows:
        raise StudioError(f"dataset {dataset.name}: no pictures to train on: add some")
    source = _find_start(workspace, request.start_from)
    base_name = request.base or (source.spec().base.source if isinstance(source, Run) else default_base(request.recipe))
    base = find_base(base_name, workspace)
    check(base)
    choice = Choice(dataset, base, request.recipe, request.preset, request.name, settings=request.settings)
    if source:
        choice.start_from, choice.methods = START, _method_of(source, base, request.recipe)
    spec = resolve(choice)
    spec.start_kind = "run" if isinstance(source, Run) else "file"
    return spec, dataset, base, source


def create_run(workspace: Workspace, request: Request) -> Run:
    """A run folder, ready to start; StudioError, and nothing made, when anything asked for is wrong."""
    spec, _, _, source = settle(workspace, request)
    run = make_run(workspace, spec)
    if source:
        try:
            shutil.copyfile(source.adapter if isinstance(source, Run) else source, run.folder / START)
            beside = None if isinstance(source, Run) else source.parent / "adapter_config.json"
            if beside and beside.is_file() and source.name == PEFT_FILE:
                shutil.copyfile(beside, (run.folder / START).with_suffix(".json"))
        except OSError:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
    return run


def _find_start(workspace: Workspace, name: str) -> Run | Path | None:
    """The run or adapter file to continue from."""
    if not name:
        return None
    path = Path(os.path.expanduser(name))
    if path.is_file():
        refuse_pickle(path)
        return path
    if path.suffix == ".safetensors":
        raise StudioError(f"--from {name}: no such file")
    if (path / PEFT_FILE).is_file():
        return path / PEFT_FILE
    run = find_run(workspace, name)
    if not run.adapter.is_file():
        raise StudioError(f"--from {name}: run {run.id} has no adapter yet (it is {run.status()['state']})")
    return run


def _method_of(source: Run | Path, base: Base, recipe: str) -> list[dict[str, Any]]:
    """The settings of each method that the start dictates; StudioError where it was made by other methods than the recipe's."""
    kinds = [m["kind"] for m in load_recipe(recipe)["methods"]]
    if isinstance(source, Run):
        theirs = [m.kind for m in source.spec().methods]
        if theirs != kinds:
            raise StudioError(f"--from {source.id}: it was made by --recipe {source.spec().recipe}; continue with the same")
        if find_base(source.spec().base.source).path != base.path:
            raise StudioError(f"--from {source.id}: it was trained on {source.spec().base.source}; continue on the same --base")
        return [m.model_dump(exclude={"kind", "lr", "text_encoder_lr", "embedding_lr"}) for m in source.spec().methods]
    if len(kinds) > 1:
        raise StudioError(f"--from {source}: --recipe {recipe} trains {len(kinds)} methods, and a file is of one: give a run")
    check_continued(source)
    card = registry.family(base.family).card
    _check_recipe(source, kinds[0], card)
    told = registry.method(kinds[0]).describe(source, card)
    if told.get("text_encoder") and not card.te_targets:
        raise StudioError(f"{source}: it adapts text encoders too, which no method trains here on {card.title}, {NOT_CONTINUED}")
    return [told]


def _check_recipe(source: Path, kind: str, card: Card) -> None:
    """StudioError, naming the recipe that goes on with a file, where that is another; or why none does."""
    found = identify(source)
    own = found.adapter.kind.lower() if found.adapter else "textual_inversion" if found.what == EMBEDDING else kind
    if own not in registry.METHODS:
        raise StudioError(f"{source}: this is {found.words()}, a kind that is not read here: use a LoRA, DoRA, LoHa or LoKr")
    if own != kind:
        registry.method(own).describe(source, card)
        raise StudioError(f"{source}: this is {found.words()}: continue it with --recipe {own.replace('_', '-')}")
