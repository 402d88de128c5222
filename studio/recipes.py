"""From a recipe, a preset and a few settings to a whole RunSpec: what people choose, resolved before step 1."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from studio import domains, registry, subject
from studio.dataset.rows import Dataset
from studio.errors import StudioError
from studio.methods import several
from studio.models.bases import EMBEDDED_BASES, Base
from studio.overrides import apply_setting, text_settings
from studio.spec import NO_GUIDANCE, MethodSpec, RunSpec, clean_prompt, fixed_steps, validate
from studio.store import ASSETS, read_json

PREVIEW_PROMPTS = 4
PREVIEWS, SNAPSHOTS = 4, 6
PARTS = {"title": str, "about": str, "methods": list, "bases": dict}  # what a recipe's file has at the least


@dataclass
class Choice:
    """What a person chose for a run."""

    dataset: Dataset
    base: Base
    recipe: str = "lora"
    preset: str = "balanced"
    name: str = ""
    start_from: str | None = None
    methods: list[dict[str, Any]] = field(default_factory=list)  # settings of each that an adapter to continue from dictates
    settings: list[str] = field(default_factory=list)  # key=value, in order


def list_recipes() -> list[str]:
    """Names of the recipes there are, in the order of their files' "order"; those without one last, those that cannot be read left out."""
    found = []
    for path in (ASSETS / "presets").glob("*.json"):
        with contextlib.suppress(StudioError, OSError):
            recipe = read_json(path)
            if _is_whole(recipe):
                order = recipe.get("order")
                found.append((order if isinstance(order, int | float) else math.inf, path.stem))
    return [name for _, name in sorted(found)]


def _is_whole(recipe: Any) -> bool:
    """Whether a recipe's file has all that is needed, and only methods that there are."""
    if not isinstance(recipe, dict) or not all(isinstance(recipe.get(part), kind) for part, kind in PARTS.items()):
        return False
    return bool(recipe["methods"]) and all(isinstance(m, dict) and m.get("kind") in registry.METHODS for m in recipe["methods"])


def _read(name: str) -> dict[str, Any]:
    return read_json(ASSETS / "presets" / f"{name}.json")


def load_recipe(name: str) -> dict[str, Any]:
    """A recipe by name; StudioError naming the known ones."""
    if name not in list_recipes():
        raise StudioError(f"--recipe {name}: no such recipe; there are: {', '.join(list_recipes())}")
    return _read(name)


def default_base(recipe: str) -> str:
    """The embedded base that a recipe is for; the first one where it has presets for several."""
    return next((name for name in EMBEDDED_BASES if name in load_recipe(recipe)["bases"]), next(iter(EMBEDDED_BASES)))


def refusal(name: str, base: Base) -> str | None:
    """Why a recipe cannot be used on a base, in a sentence; None when it can."""
    recipe, card = load_recipe(name), registry.family(base.family).card
    refusals = [registry.method(m["kind"]).supports(card) for m in recipe["methods"]]
    if any(refusals):
        return next(filter(None, refusals))
    if _presets(recipe, base):
        return None
    families = [registry.family(key).card.title for key in recipe["bases"] if key in registry.FAMILIES]
    single = [key for key in recipe["bases"] if key not in registry.FAMILIES]  # one base: an embedded one
    return f"there are no presets for this kind of base, only for {', '.join([*families, *single])}"


def _presets(recipe: dict[str, Any], base: Base) -> dict[str, Any] | None:
    """A recipe's presets for a base: its own, else those that its family shares; None where it has neither."""
    keys = (base.preset_key, registry.family(base.family).card.presets)
    return next((recipe["bases"][key] for key in keys if key in recipe["bases"]), None)


def suitable(base: Base) -> list[str]:
    """The recipes that a base can carry."""
    return [name for name in list_recipes() if refusal(name, base) is None]


def resolve(choice: Choice) -> RunSpec:
    """The whole spec of a run: recipe, preset for this base and this many pictures, then the person's own settings.

    StudioError naming the first setting that is wrong, or means nothing here.
    """
    recipe = load_recipe(choice.recipe)
    values: dict[str, Any] = {
        "name": choice.name or f"{choice.dataset.name} {choice.recipe}"[:120],
        "dataset": choice.dataset.root.name,
        "recipe": choice.recipe,
        "preset": choice.preset,
        "start_from": choice.start_from,
        "base": {"source": choice.base.source},
        "methods": [dict(m) for m in recipe["methods"]],
    }
    _apply_preset(values, recipe, choice)
    for method, dictated in zip(values["methods"], choice.methods, strict=False):
        method |= dictated
    for name, value in domains.defaults(choice.dataset.about).items():
        apply_setting(values, f"data.{name}={json.dumps(value)}")
    given = list(choice.settings)
    card = registry.family(choice.base.family).card
    for assignment in given:
        apply_setting(values, assignment)
        if not card.text and _name_of(assignment) in text_settings([m["kind"] for m in values["methods"]]):
            raise StudioError(f"--set {_name_of(assignment)}: {card.title} reads no text, so this has no meaning there: leave it out")
    spec = validate(values)
    if not card.te_targets and any(getattr(m, "text_encoder", False) for m in spec.methods):
        raise StudioError(f"--set method.text_encoder: the text encoders of {card.title} are not trained here: leave it off")
    if spec.preview.negative and not card.negative:
        raise StudioError(f"--set preview.negative: {card.title} knows no negative prompts: leave it out")
    if not card.text:
        spec.preview.prompts, spec.preview.guidance = [""] * PREVIEW_PROMPTS, NO_GUIDANCE
    spec.methods = [_adopted(m, choice.dataset) for m in spec.methods]
    spec.prior = subject.adopt(spec.prior, choice.dataset.about, recipe.get("subject", False))
    if not any(a.replace(" ", "").startswith("train.steps=") for a in given):
        spec.train.steps = max(1, round(_samples(recipe, choice) / spec.train.batch_size))
    return fix_steps(spec, choice.dataset)


def _name_of(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _apply_preset(values: dict[str, Any], recipe: dict[str, Any], choice: Choice) -> None:
    reason = refusal(choice.recipe, choice.base)
    if reason:
        others = ", ".join(suitable(choice.base))
        raise StudioError(f"--recipe {choice.recipe}: {reason}" + (f"; on this base there is {others}" if others else ""))
    own = _presets(recipe, choice.base)
    presets = own["presets"]
    if choice.preset not in presets:
        raise StudioError(f"--preset {choice.preset}: no such preset; there are: {', '.join(presets)}")
    for key, value in own["settings"].items():
        apply_setting(values, f"{key}={value}")
    usual = registry.family(choice.base.family).card.guidance
    if usual is not None:
        values.setdefault("preview", {}).setdefault("guidance", usual)


def _samples(recipe: dict[str, Any], choice: Choice) -> float:
    """Samples to train on: the recipe's budget for this many pictures, times the preset's share."""
    base = _presets(recipe, choice.base)
    count = len(choice.dataset.train_rows)
    budget = next(samples for limit, samples in base["samples"].items() if count <= float(limit))
    return budget * base["presets"][choice.preset]


def fix_steps(spec: RunSpec, dataset: Dataset) -> RunSpec:
    """Fix when snapshots and previews happen, and which prompts are drawn, before step 1."""
    steps = spec.train.steps
    spec.train.snapshot_steps = fixed_steps(spec.train.snapshot_every, steps, SNAPSHOTS)
    spec.preview.at_steps = fixed_steps(spec.preview.every, steps, PREVIEWS)
    if not spec.preview.prompts:
        spec.preview.prompts = list(dict.fromkeys(worded(spec, p) for p in preview_prompts(dataset)))
    return spec


def stand_in(recipe: str) -> list[str]:
    """Settings without which a recipe cannot be resolved at all, for looking at what it would be: a noun for a subject."""
    return ["prior.class_noun=thing"] if load_recipe(recipe).get("subject") else []


def worded(spec: RunSpec, caption: str) -> str:
    """A caption as a run trains on it: with its new word, or its subject's token and noun."""
    return subject.reword(spec.prior, several.reword(spec.methods, caption))


def _adopted(method: MethodSpec, dataset: Dataset) -> MethodSpec:
    """A method's settings with what the dataset decides filled in."""
    captions = [dataset.caption(r) for r in dataset.train_rows]
    return registry.method(method.kind).adopt(method, dataset.about, captions, dataset.name)


def preview_prompts(dataset: Dataset) -> list[str]:
    """Prompts the dataset's makers chose, else different captions, held-out pictures first; one empty prompt without captions."""
    given = dataset.about.get("preview_prompts") or []
    captions = [dataset.caption(r) for r in (*dataset.held_out_rows, *dataset.train_rows)]
    chosen = [c[:300] for c in (given or captions) if c.strip()]
    spread = list(dict.fromkeys(clean_prompt(c) for c in chosen))
    return spread[:PREVIEW_PROMPTS] or [""]
