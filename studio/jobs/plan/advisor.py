"""The advisor: from a number of pictures, a goal and some memory to a recipe and settings, each with its reason. No torch here."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.jobs.plan.advice_rules import FIT, GOALS, HINTS, LONG, PARTS, RULES, SHORT, Reason, Rule
from studio.jobs.plan.duel import recipes_for
from studio.jobs.plan.estimate import estimate
from studio.jobs.runs.metrics import read_machine
from studio.method_cards import read_card
from studio.models.bases import find_base
from studio.overrides import known_settings
from studio.recipes import Choice, resolve, stand_in
from studio.store import Workspace

FEW = 8  # pictures up to which a quick run is enough
MOST_GIB = 4096
Cost = Callable[[str, list[str]], tuple[float, int]]  # (recipe, settings) -> (GiB it needs, pictures per step)


@dataclass(frozen=True)
class Situation:
    """What advice depends on; `recipes` are those that the base supports, in their order."""

    num_images: int
    goal: str
    memory_gib: float
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """A recipe with settings, why, and what else would do."""

    recipe: str
    preset: str
    settings: tuple[str, ...]
    reasons: tuple[Reason, ...]
    instead: tuple[tuple[str, Reason], ...]
    needs_gib: float
    fits: bool
    warnings: tuple[str, ...]


def advise(situation: Situation, cost: Cost) -> Advice:
    """What to do in a situation; StudioError where it cannot be, or the base supports no recipe."""
    _check(situation)
    matching = _matching(situation)
    fitted = [(rule, *_fit(rule.recipe, situation, cost)) for rule in matching]
    rule, parts, needs, part_reason = next((f for f in fitted if f[2] <= situation.memory_gib), fitted[0])
    hints = [h for h in HINTS if situation.goal in h.goals and h.least <= situation.num_images <= h.most and h.recipe in ("", rule.recipe)]
    few = situation.num_images <= FEW
    settings = [h.assignment for h in hints if h.assignment] + parts
    reasons = [rule.reason, SHORT if few else LONG, *(h.reason for h in hints), *part_reason]
    instead = [(other.recipe, other.reason) for other, _, gib, _ in fitted if other is not rule and gib <= situation.memory_gib]
    fits, warnings = needs <= situation.memory_gib, []
    if not fits:
        warnings.append(f"It needs about {needs:.1f} GiB, more than the {situation.memory_gib:g} there are: choose a smaller base or size.")
    if rule is not matching[0]:
        warnings.append(f"{matching[0].recipe} would suit better, but needs more than {situation.memory_gib:g} GiB.")
    if few:
        warnings.append("So few pictures leave one or none to test on: judge by eye, and add pictures if you can.")
    return Advice(
        rule.recipe, "quick" if few else "balanced", tuple(settings), tuple(reasons), tuple(instead), round(needs, 2), fits, tuple(warnings)
    )


def _check(situation: Situation) -> None:
    if situation.goal not in GOALS:
        raise StudioError(f"--goal {situation.goal[:40]}: choose one of {', '.join(GOALS)}")
    if not (math.isfinite(situation.memory_gib) and 0 < situation.memory_gib <= MOST_GIB):
        raise StudioError(f"--memory {situation.memory_gib:g}: give GiB, more than 0 and at most {MOST_GIB}")
    if situation.num_images < 1:
        raise StudioError("there are no pictures to train on: add some first")
    if not situation.recipes:
        raise StudioError("no recipe here supports this base: choose another base")


def _matching(situation: Situation) -> list[Rule]:
    """The rules that hold, best first, one per recipe; without any, the first recipe that the base supports, by its own card."""
    found: dict[str, Rule] = {}
    for rule in RULES:
        if situation.goal in rule.goals and rule.least <= situation.num_images <= rule.most and rule.recipe in situation.recipes:
            found.setdefault(rule.recipe, rule)
    if found:
        return list(found.values())
    card = read_card(situation.recipes[0])
    return [Rule(card.recipe, GOALS, 1, situation.num_images, Reason(card.use_when or card.about, card.source))]


def _fit(recipe: str, situation: Situation, cost: Cost) -> tuple[list[str], float, list[Reason]]:
    """(settings, GiB, reasons) by which a recipe fits the memory: the batch in ever smaller parts, down to single pictures."""
    whole, batch = cost(recipe, [])
    part, needs = batch, whole
    while needs > situation.memory_gib and part > 1:
        part //= 2
        needs = cost(recipe, [f"train.micro_batch={part}"])[0]
    if part == batch or needs > situation.memory_gib:
        return [], needs, []
    return [f"train.micro_batch={part}"], needs, [Reason(PARTS.format(part=part, needs=needs, whole=whole), FIT)]


def advise_for(workspace: Workspace, dataset: str, goal: str, memory_gib: float | None = None, base: str = "") -> dict[str, Any]:
    """Advice for a dataset and a base of this workspace, by default within this machine's memory, as JSON."""
    opened, found = open_dataset(workspace, dataset), find_base(base or "starter", workspace)
    recipes = tuple(r["recipe"] for r in recipes_for(workspace, dataset, base, "quick") if not r["refusal"])
    memory = machine_gib(workspace) if memory_gib is None else memory_gib
    situation = Situation(len(opened.train_rows) + len(opened.held_out_rows), goal, memory, recipes)

    def cost(recipe: str, settings: list[str]) -> tuple[float, int]:
        spec = resolve(Choice(opened, found, recipe, "quick", settings=[*stand_in(recipe), *settings]))
        return estimate(workspace, spec, opened, found)["memory_gib"], spec.train.batch_size

    advice = advise(situation, cost)
    spec = resolve(Choice(opened, found, advice.recipe, advice.preset, settings=stand_in(advice.recipe)))
    known = known_settings([m.kind for m in spec.methods])
    settings = [s for s in advice.settings if s.partition("=")[0] in known]
    told = asdict(advice) | {"title": read_card(advice.recipe).title, "settings": settings, "memory_gib": round(memory, 2)}
    if stand_in(advice.recipe):
        told["warnings"] = [
            *told["warnings"],
            "It needs the class noun, which only you can tell: what your pictures show, as dog or teapot.",
        ]
    told["instead"] = [{"recipe": r, "title": read_card(r).title, **asdict(reason)} for r, reason in advice.instead]
    return told | {"num_images": situation.num_images, "goal": goal, "dataset": opened.root.name, "base": base or "starter"}


def machine_gib(workspace: Workspace) -> float:
    """Memory of the GPU where there is one, else of the machine."""
    machine = read_machine(workspace)
    on_gpu = machine.get("device") == "cuda" and isinstance(machine.get("memory_gib"), int | float)
    return float(machine["memory_gib"]) if on_gpu else psutil.virtual_memory().total / 2**30
