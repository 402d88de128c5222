"""From the declared settings to controls and back: what the spec says of a field is all that a form knows of it."""

import json
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from studio import registry
from studio.overrides import FIXED, GROUPS, text_settings
from studio.recipes import list_recipes, load_recipe
from studio.spec import PriorSpec, RunSpec

TITLES = {"method": "Method", "train": "Training", "data": "Data", "preview": "Previews", "evaluate": "Evaluation", "base": "Base model"}
AUTOMATIC = "automatic"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Setting:
    """One settable name of the spec and how its field is edited."""

    name: str  # as in --set: group.field
    field: FieldInfo

    @property
    def kinds(self) -> list[Any]:
        """The types its annotation allows, without None."""
        given = self.field.annotation
        return [a for a in get_args(given) if a is not NoneType] if get_origin(given) in (Union, UnionType) else [given]

    @property
    def is_optional(self) -> bool:
        """Whether it may be empty."""
        return NoneType in get_args(self.field.annotation)

    @property
    def choices(self) -> list[str]:
        """The values that it takes, where those are a few; else none."""
        return [str(v) for kind in self.kinds if get_origin(kind) is Literal for v in get_args(kind)]

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.kinds == [bool] and not self.is_optional

    @property
    def is_list(self) -> bool:
        """Whether it is several values."""
        return any(get_origin(kind) is list for kind in self.kinds)

    def show(self, value: Any) -> Any:
        """`value` as its control shows it."""
        if self.is_switch:
            return bool(value)
        if value is None:
            return AUTOMATIC if self._is_menu else ""
        if isinstance(value, bool):
            return YES if value else NO
        if isinstance(value, list):
            return "\n".join(map(str, value))
        return repr(value) if isinstance(value, float) else str(value)

    def assign(self, shown: Any) -> str:
        """What its control shows, as `key=value`."""
        if isinstance(shown, bool):
            return f"{self.name}={json.dumps(shown)}"
        text = "" if shown is None else str(shown).strip()
        if self.is_list:
            lines = [line.strip() for line in text.splitlines()]
            return f"{self.name}={json.dumps([line for line in lines if line])}"
        if self.is_optional and text in {"", AUTOMATIC}:
            return f"{self.name}=null"
        if self.kinds == [bool]:
            return f"{self.name}={ {YES: 'true', NO: 'false'}.get(text, json.dumps(text)) }"
        return f"{self.name}={json.dumps(text) if str in self.kinds or self.choices else text}"

    @property
    def _is_menu(self) -> bool:
        return bool(self.choices) or self.kinds == [bool]

    def draw(self, elem_id: str) -> gr.components.Component:
        """Its control, from title, description, unit, type and bounds."""
        unit = (self.field.json_schema_extra or {}).get("unit")
        label = f"{self.field.title} ({unit})" if unit else self.field.title
        common = {"label": label, "info": self.field.description, "interactive": True, "elem_id": elem_id}
        if self.is_switch:
            return gr.Checkbox(value=bool(self.field.default), **common)
        value = self.show(self.field.default)
        if self._is_menu:
            choices = [*([AUTOMATIC] if self.is_optional else []), *(self.choices or [YES, NO])]
            return gr.Dropdown(choices, value=value, allow_custom_value=True, **common)
        numeric = bool({int, float} & set(self.kinds))
        attributes = gr.InputHTMLAttributes(autocomplete="off", spellcheck=False) if numeric else None
        return gr.Textbox(value, max_lines=1, placeholder=AUTOMATIC if self.is_optional else None, html_attributes=attributes, **common)


def settings_of(model: type[BaseModel], prefix: str) -> list[Setting]:
    """The settable fields of a group, in the order they are declared."""
    names = [n for n in model.model_fields if f"{prefix}.{n}" not in FIXED and n != "kind"]
    return [Setting(f"{prefix}.{n}", model.model_fields[n]) for n in names]


def all_settings() -> dict[str, list[Setting]]:
    """Every settable name by group: those of all recipes' methods first, then those of the spec."""
    methods = dict.fromkeys(m["kind"] for r in list_recipes() for m in load_recipe(r)["methods"])
    found = {s.name: s for kind in methods for s in settings_of(registry.method(kind).Spec, "method")}
    groups = {"method": [*found.values(), *settings_of(PriorSpec, "prior")]}
    order = [g for g in TITLES if g in GROUPS] + [g for g in GROUPS if g not in TITLES and g != "prior"]
    return groups | {g: settings_of(RunSpec.model_fields[g].annotation, g) for g in order}


def read_spec(spec: RunSpec, settings: list[Setting]) -> dict[str, Any]:
    """What the controls of `settings` show for a spec; a setting that its methods do not have shows its default."""
    values = {}
    for setting in settings:
        group, _, name = setting.name.partition(".")
        owners = [m for m in spec.methods if name in type(m).model_fields] if group == "method" else [getattr(spec, group)]
        values[setting.name] = setting.show(getattr(owners[0], name) if owners else setting.field.default)
    return values


def gather(settings: list[Setting], values: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """`key=value` of every control that shows something else than its default."""
    return [s.assign(values[s.name]) for s in settings if s.name in values and _differs(values[s.name], defaults.get(s.name))]


def changed(values: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """Names of the controls that show something else than their default."""
    return [name for name, value in values.items() if _differs(value, defaults.get(name))]


def _differs(shown: Any, default: Any) -> bool:
    same = shown if isinstance(shown, bool) else "\n".join(line.strip() for line in str(shown or "").strip().splitlines())
    return same != (default if isinstance(default, bool) else str(default or "").strip())


class Form:
    """The controls of all settings, folded by group; `elsewhere` names those that the page draws itself."""

    def __init__(self, elsewhere: dict[str, gr.components.Component]) -> None:
        self._groups = all_settings()
        self.settings = [s for group in self._groups.values() for s in group]
        self.elsewhere = elsewhere
        self.can_be_foreign = {s.name for s in self._groups["method"]} | text_settings([])  # what some recipe or base does not have
        self.drawn: dict[str, gr.components.Component] = {}

    def draw(self, prefix: str) -> None:
        """Draw the groups, the first one open, at the present place of the page."""
        for i, (group, settings) in enumerate(self._groups.items()):
            here = [s for s in settings if s.name not in self.elsewhere]
            if not here:
                continue
            with gr.Accordion(TITLES.get(group, group), open=i == 0, elem_id=f"{prefix}-{group}", elem_classes="settings-group"):
                for setting in here:
                    self.drawn[setting.name] = setting.draw(f"{prefix}-{setting.name.replace('.', '-')}")

    @property
    def controls(self) -> list[gr.components.Component]:
        """One control per setting, in the order of `settings`."""
        return [self.elsewhere.get(s.name) or self.drawn[s.name] for s in self.settings]

    def read(self, values: tuple | list) -> dict[str, Any]:
        """The values of `controls` by name."""
        return {s.name: value for s, value in zip(self.settings, values, strict=True)}

    def shown(self, spec: RunSpec) -> dict[str, Any]:
        """What all controls show for a spec."""
        return read_spec(spec, self.settings)

    def foreign(self, recipe: str, is_text: bool = True) -> set[str]:
        """Names of the settings that a recipe lacks: other methods', a subject's, or such as mean nothing to a base without text."""
        chosen = load_recipe(recipe)
        kinds = [m["kind"] for m in chosen["methods"]]
        own = {s.name for kind in kinds for s in settings_of(registry.method(kind).Spec, "method")}
        own |= {s.name for s in settings_of(PriorSpec, "prior")} if chosen.get("subject") else set()
        return {s.name for s in self._groups["method"]} - own | (set() if is_text else text_settings(kinds))
