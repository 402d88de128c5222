"""A duel: the same pictures and the same budget for several recipes, each a run of its own; the board compares them. No torch here."""

import contextlib
import json
import shutil
from dataclasses import dataclass, field
from typing import Any

from studio.dataset.rows import Dataset, open_dataset
from studio.errors import StudioError
from studio.jobs.plan.estimate import estimate
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import Run
from studio.models.bases import Base, find_base
from studio.overrides import known_settings
from studio.recipes import Choice, list_recipes, load_recipe, refusal, resolve, stand_in
from studio.spec import RunSpec
from studio.store import Workspace

FEWEST, MOST = 2, 4
SAME = {  # what all take over from the first, so that their figures and pictures can be compared
    "train": ("seed", "snapshot_every"),
    "preview": ("every", "negative", "seed", "steps", "guidance", "sampler"),
    "evaluate": ("num_timesteps", "max_images"),
}


@dataclass
class Wanted:
    """What was asked for, as typed."""

    dataset: str
    recipes: list[str]
    base: str = ""
    preset: str = "quick"
    settings: list[str] = field(default_factory=list)  # key=value, for every recipe that has it


@dataclass
class Duel:
    """A duel that can be held: who takes part, under which settings."""

    wanted: Wanted
    dataset: Dataset
    base: Base
    settings: dict[str, list[str]]  # by recipe: what is the same for all, then what was typed
    specs: dict[str, RunSpec]

    def budget(self) -> dict[str, int]:
        """{"samples", "batch_size", "steps"} of each run."""
        train = next(iter(self.specs.values())).train
        return {"samples": train.steps * train.batch_size, "batch_size": train.batch_size, "steps": train.steps}


def plan_duel(workspace: Workspace, wanted: Wanted) -> Duel:
    """The settings of every run; StudioError where anything asked for is wrong, or the base cannot carry one of the recipes.

    Pictures per step are those of the recipe with the fewest, samples those of the recipe with the most, and no run ends early.
    """
    recipes = [r.strip() for r in wanted.recipes if r.strip()]
    if not FEWEST <= len(recipes) <= MOST:
        raise StudioError(f"--recipes: {len(recipes)} given; a duel is between {FEWEST} and {MOST} of: {', '.join(list_recipes())}")
    twice = next((r for r in recipes if recipes.count(r) > 1), None)
    if twice:
        raise StudioError(f"--recipes: {twice} is named twice, and would only meet itself: name different ones")
    dataset = open_dataset(workspace, wanted.dataset)
    if not dataset.train_rows:
        raise StudioError(f"dataset {dataset.name}: no pictures to train on: add some")
    base = find_base(wanted.base or "starter", workspace)
    given = {recipe: _settings_for(recipe, recipes, wanted.settings) for recipe in recipes}
    choices = {r: Choice(dataset, base, r, wanted.preset, settings=given[r]) for r in recipes}
    same = _same_for_all([resolve(choice) for choice in choices.values()], wanted.settings)
    settings = {r: [*same, *given[r]] for r in recipes}
    specs = {r: resolve(Choice(dataset, base, r, wanted.preset, settings=settings[r])) for r in recipes}
    return Duel(wanted, dataset, base, settings, specs)


def _settings_for(recipe: str, recipes: list[str], settings: list[str]) -> list[str]:
    """The typed settings that a recipe has; one that no recipe of the duel has is left for it to refuse.

    What is said of a subject concerns the recipes about one, where there are such.
    """
    subjects = [r for r in recipes if load_recipe(r).get("subject")]
    if subjects and recipe not in subjects:
        settings = [s for s in settings if not s.strip().startswith("prior.")]
    known = {r: known_settings([m["kind"] for m in load_recipe(r)["methods"]]) for r in recipes}
    names = [assignment.partition("=")[0].strip() for assignment in settings]
    if "name" in names:
        raise StudioError("--set name: the runs of a duel are named by what they try")
    chosen = zip(names, settings, strict=True)
    return [assignment for name, assignment in chosen if name in known[recipe] or not any(name in k for k in known.values())]


def _same_for_all(specs: list[RunSpec], settings: list[str]) -> list[str]:
    """The assignments that make runs of different recipes comparable, where nothing else was typed."""
    typed = {assignment.partition("=")[0].strip() for assignment in settings}
    batch = min(s.train.batch_size for s in specs)
    samples = max(s.train.steps * s.train.batch_size for s in specs)
    values: dict[str, Any] = {"train.batch_size": batch, "train.early_stop": False}
    values["train.steps"] = specs[0].train.steps if "train.steps" in typed else max(1, round(samples / batch))
    for group, names in SAME.items():
        values |= {f"{group}.{name}": getattr(getattr(specs[0], group), name) for name in names}
    return [f"{key}={json.dumps(value)}" for key, value in values.items() if key not in typed]


def create_duel(workspace: Workspace, wanted: Wanted) -> tuple[Duel, list[Run]]:
    """A run folder per recipe, ready to start; StudioError, and nothing made, when anything is wrong."""
    duel, runs = plan_duel(workspace, wanted), []
    try:
        for recipe, settings in duel.settings.items():
            name = f"{duel.dataset.name[:60]} duel {load_recipe(recipe)['title']}"[:120]
            request = Request(wanted.dataset, wanted.base, recipe, wanted.preset, name, settings=settings)
            runs.append(create_run(workspace, request))
    except (StudioError, OSError):
        for run in runs:
            shutil.rmtree(run.folder, ignore_errors=True)
        raise
    return duel, runs


def describe(workspace: Workspace, duel: Duel) -> dict[str, Any]:
    """{"samples", "batch_size", "steps", "seconds"}: the budget of each run, and how long all of them take together."""
    seconds = [estimate(workspace, spec, duel.dataset, duel.base)["seconds"] for spec in duel.specs.values()]
    return duel.budget() | {"seconds": round(sum(seconds), 1)}


def recipes_for(workspace: Workspace, dataset: str, base: str, preset: str) -> list[dict[str, Any]]:
    """{"recipe", "title", "about", "refusal", "subject"} of every recipe; `refusal` says why this base or dataset cannot have it."""
    opened = found = None
    with contextlib.suppress(StudioError):
        opened, found = open_dataset(workspace, dataset), find_base(base or "starter", workspace)
    rows = []
    for name in list_recipes():
        recipe, reason = load_recipe(name), (refusal(name, found) if found else "") or ""
        if opened and found and not reason:
            try:
                resolve(Choice(opened, found, name, preset, settings=stand_in(name)))
            except StudioError as error:
                reason = str(error).removeprefix(f"--recipe {name}: ")
        rows.append(
            {"recipe": name, "title": recipe["title"], "about": recipe["about"], "refusal": reason}
            | {"subject": bool(recipe.get("subject"))}
        )
    return rows
