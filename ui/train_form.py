"""What the Train form means: defaults of a choice, what was typed over them, and what the run would cost."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from studio.dataset.rows import Dataset, list_datasets, open_dataset
from studio.errors import StudioError, one_line
from studio.families.timesteps import Timesteps
from studio.jobs.models.listing import list_models
from studio.jobs.plan.estimate import estimate, in_words
from studio.jobs.runs.create import Request
from studio.jobs.runs.metrics import open_run
from studio.models.bases import EMBEDDED_BASES, Base, find_base, reads_text
from studio.overrides import parse_value
from studio.recipes import Choice, list_recipes, load_recipe, refusal, resolve, suitable
from studio.spec import RunSpec
from studio.store import Workspace
from ui.controls import TITLES, Form, all_settings, changed, gather

OPTIONS = {
    "--set ": "",
    "--goal": "Goal",
    "--memory": "Memory",
    "--dataset": "Dataset",
    "--base": "Base",
    "--recipes": "Recipes",
    "--recipe": "Method",
    "--preset": "Preset",
    "--from": "Continue from",
    "prior.class_noun": "Class noun",
    "prior.token": "Instance token",
}
NOUN = "prior.class_noun"
PRESETS = RunSpec.model_fields["preset"].annotation.__args__


Read = Callable[[str, Base, RunSpec], str]  # has captions looked at as a base reads them; the key to ask for what was found


@dataclass
class Draft:
    """All that the form holds; `defaults` is what its controls would show if nothing had been typed."""

    dataset: str = ""
    base: str = "starter"
    recipe: str = "lora"
    preset: str = "quick"
    name: str = ""
    start_from: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


class TrainForm:
    """Drafts to specs, costs and requests."""

    def __init__(self, workspace: Workspace, form: Form, read: Read | None = None) -> None:
        self.workspace, self.form, self.read = workspace, form, read

    def foreign(self, draft: Draft) -> set[str]:
        """The settings that the chosen recipe or base does not have; none where the recipe is unknown, as the note says then."""
        try:
            return self.form.foreign(draft.recipe, reads_text(draft.base or "starter", self.workspace))
        except StudioError:
            return set()

    def typed(self, draft: Draft) -> list[str]:
        """Names of the settings that a person has changed."""
        return changed(draft.values, draft.defaults) if draft.defaults else []

    def refresh(self, draft: Draft) -> tuple[Draft, dict[str, Any]]:
        """The draft with every untyped setting as recipe and preset have it now, and what the note under the form says."""
        note: dict[str, Any] = {"start_from": draft.start_from, "costs": {}, "num_changed": 0}
        if not draft.dataset:
            return draft, note | {"hint": "Import pictures or load a demo on the Dataset screen first."}
        try:
            draft = self._with_recipe(draft)
            choice, opened = self._choice(draft)
            plain = self._plain(choice, draft.values)
        except (StudioError, OSError) as error:
            return draft, note | {"error": in_plain_words(error)}
        foreign = self.foreign(draft)
        typed = {name: draft.values[name] for name in self.typed(draft) if name not in foreign}
        defaults, values = dict(plain), {**plain, **typed}
        note["num_changed"] = len([name for name in changed(values, plain) if name not in self.form.elsewhere])
        try:
            given = gather(self.form.settings, values, plain)
            spec = resolve(self._with(choice, given))
            follows = self.form.shown(spec)
            for name in plain:
                if name not in typed:
                    defaults[name] = values[name] = follows[name]
            note |= self._cost(spec, *opened, choice, given)
        except (StudioError, OSError) as error:
            note["error"] = in_plain_words(error)
        draft.values, draft.defaults = values, defaults
        return draft, note

    def take(self, draft: Draft, assignments: list[str]) -> tuple[Draft, dict[str, Any]]:
        """The draft with these `key=value` over what recipe and preset say, as if typed."""
        draft, note = self.refresh(draft)
        named = {s.name: s for s in self.form.settings}
        for name, _, text in (assignment.partition("=") for assignment in assignments):
            if name in named:
                draft.values[name] = named[name].show(parse_value(text))
        return self.refresh(draft) if draft.defaults else (draft, note)

    def request(self, draft: Draft) -> Request:
        """What is asked for when the button is pressed."""
        settings = gather(self.form.settings, draft.values, draft.defaults) if draft.defaults else []
        return Request(draft.dataset, draft.base, draft.recipe, draft.preset, draft.name.strip(), draft.start_from, settings)

    def draft_of(self, run_id: str, extend: bool) -> tuple[Draft, dict[str, Any]]:
        """The form as a run was made, to make it again or to continue from its adapter. StudioError where it has none."""
        run = open_run(self.workspace, run_id)
        spec = run.spec()
        if extend and not run.adapter.is_file():
            raise StudioError(f"run {run.id} has no adapter to continue from")
        draft = Draft(spec.dataset, self._base_name(spec.base.source), spec.recipe, spec.preset)
        draft.start_from = run.id if extend else ""
        choice, _ = self._choice(draft)
        automatic = choice.dataset.name + " " + draft.recipe
        draft.name = "" if extend or spec.name == automatic[:120] else spec.name
        draft.values = self.form.shown(spec)
        draft.defaults = self._plain(choice, draft.values)
        if extend:  # as long as the preset says, drawing what it drew
            draft.values["train.steps"] = draft.defaults["train.steps"]
        draft, note = self.refresh(draft)
        if spec.start_from and not extend:
            note["hint"] = "This run continued from another adapter; the new one starts from the base."
        return draft, note

    def _with_recipe(self, draft: Draft) -> Draft:
        """The draft with a recipe that its base can carry: the chosen one, else the first there is."""
        base = find_base(draft.base or "starter", self.workspace)
        if draft.recipe in list_recipes() and refusal(draft.recipe, base):
            return replace(draft, recipe=next(iter(suitable(base)), draft.recipe))
        return draft

    def _choice(self, draft: Draft) -> tuple[Choice, tuple[Dataset, Base]]:
        dataset = open_dataset(self.workspace, draft.dataset)
        base = find_base(draft.base or "starter", self.workspace)
        return Choice(dataset, base, draft.recipe, draft.preset), (dataset, base)

    def _plain(self, choice: Choice, values: dict[str, Any]) -> dict[str, Any]:
        """What the controls show where nothing is typed but a subject's noun, without which there are no settings at all."""
        noun = str(values.get(NOUN) or "").strip()
        is_asked = noun and load_recipe(choice.recipe).get("subject")
        spec = resolve(self._with(choice, [f"{NOUN}={json.dumps(noun)}"] if is_asked else []))
        return self.form.shown(spec) | {NOUN: ""}

    @staticmethod
    def _with(choice: Choice, settings: list[str], preset: str = "") -> Choice:
        return Choice(choice.dataset, choice.base, choice.recipe, preset or choice.preset, settings=settings)

    def _cost(self, spec: RunSpec, dataset: Dataset, base: Base, choice: Choice, given: list[str]) -> dict[str, Any]:
        """What this run costs, and what the other presets would."""
        cost = estimate(self.workspace, spec, dataset, base)
        costs = {}
        for preset in PRESETS:
            other = spec if preset == choice.preset else resolve(self._with(choice, given, preset))
            costs[preset] = in_words(estimate(self.workspace, other, dataset, base)["seconds"])
        levels = base.noise_levels(spec.base.size_px, Timesteps(spec.train.timesteps, spec.train.timestep_shift))
        parts = [in_words(cost["seconds"]), f"{cost['memory_gib']:.1f} GiB of memory", f"{max(1, cost['disk_mib'])} MiB on disk"]
        text = " · ".join(parts)
        told = {"text": text[0].upper() + text[1:], "source": cost["source"], "problem": cost["reason"], "costs": costs, "levels": levels}
        shown = {**spec.data.model_dump(include={"crops", "flip", "turns", "colour"}), "base": base.source, "size_px": spec.base.size_px}
        data = {"dataset": dataset.root.name, "pictures": len(dataset.train_rows), "samples": cost["samples"], **shown}
        reading = self.read(dataset.root.name, base, spec) if self.read else ""
        return told | {"data": data, "reading": reading} | _plan(cost)

    def _base_name(self, source: str) -> str:
        """How the list of bases names a source."""
        return next((m["model"] for m in list_models(self.workspace) if m["path"] == source), source)


def _plan(cost: dict[str, Any]) -> dict[str, str]:
    """What is done so that the run fits the memory, and where the memory goes."""
    drawing = cost["drawing"] and cost["drawing"] + ("" if cost["drawing_fits"] else "; even so they do not fit this GPU")
    return {
        "plan": cost["plan"][:1].upper() + cost["plan"][1:],
        "plan_details": f"About {cost['plan_gib']:.1f} GiB: {cost['plan_details']}" + (f". Pictures: {drawing}" if drawing else ""),
    }


def in_plain_words(error: Exception) -> str:
    """An error for a form: settings as their controls are called, and without the names of command line options."""
    text = one_line(error)
    place, _, rest = text.removeprefix("--set ").partition(":")
    for group, settings in all_settings().items():
        named = next((s.field.title for s in settings if s.name == place and place not in OPTIONS), None)
        if named:
            return f"{named} ({TITLES.get(group, group)}):{rest}".replace("a valid boolean", "yes or no")
    for option, word in OPTIONS.items():
        text = text.replace(option, word)
    return text[0].upper() + text[1:] if text else text


def dataset_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Label and folder of each dataset, newest first."""
    found = sorted(list_datasets(workspace), key=lambda d: d.created, reverse=True)
    return [(f"{d.name} ({len(d.rows)})", d.root.name) for d in found]


def base_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Label and name of each usable base model, the embedded ones first."""
    usable = [m["model"] for m in list_models(workspace) if m["usable"]]
    return [(name.replace("-", " ").capitalize() if name in EMBEDDED_BASES else name, name) for name in usable]


def recipe_choices(workspace: Workspace, base: str) -> list[tuple[str, str]]:
    """Title of each recipe that a base can carry, of all where the base is unknown; the chosen one's cost is told beside its presets."""
    names = list_recipes()
    with contextlib.suppress(StudioError, OSError):
        names = suitable(find_base(base or "starter", workspace)) or names
    return [(load_recipe(name)["title"], name) for name in names]


def preset_choices(costs: dict[str, str]) -> list[tuple[str, str]]:
    """Each preset with what it costs."""
    return [(f"{p.capitalize()} {costs[p].replace('about', '≈')}" if p in costs else p.capitalize(), p) for p in PRESETS]


def about(workspace: Workspace, recipe: str, base: str) -> str:
    """What a recipe is for, in its own words, and why others are not offered on this base."""
    try:
        told, found = load_recipe(recipe)["about"], find_base(base or "starter", workspace)
    except (StudioError, OSError):
        return ""
    reasons: dict[str, list[str]] = {}
    for name in list_recipes():
        reason = refusal(name, found)
        if reason:
            reasons.setdefault(reason, []).append(load_recipe(name)["title"])
    return " ".join([told, *(f"Not on this base: {', '.join(titles)} ({reason})." for reason, titles in reasons.items())])


def dump(defaults: dict[str, Any]) -> str:
    return json.dumps(defaults)


def undump(text: str) -> dict[str, Any]:
    """The defaults last shown to this page; empty where the page has none yet."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
