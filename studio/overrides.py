"""Settings by name, as `--set train.steps=200` gives them: which there are, and how a value comes into a spec."""

import difflib
import json
from typing import Any

from studio import registry
from studio.errors import StudioError
from studio.spec import RunSpec

GROUPS = ("base", "data", "prior", "train", "preview", "evaluate")  # of a RunSpec
FIXED = {"base.source", "train.snapshot_steps", "preview.at_steps"}  # decided when a run is made, by none of these names


def known_settings(methods: list[str]) -> dict[str, str]:
    """Every settable name (`train.steps`, `method.rank`, …) with its description."""
    groups = {name: field.annotation for name, field in RunSpec.model_fields.items() if name in GROUPS}
    names = {f"{g}.{n}": f.description or "" for g, model in groups.items() for n, f in model.model_fields.items()}
    for kind in methods:
        names |= {f"method.{n}": f.description or "" for n, f in registry.method(kind).Spec.model_fields.items() if n != "kind"}
    return {n: d for n, d in names.items() if n not in FIXED} | {"name": "Shown in lists"}


def text_settings(methods: list[str]) -> set[str]:
    """The settable names that mean nothing to a base model without text."""
    models = {name: RunSpec.model_fields[name].annotation for name in GROUPS}
    found = {f"{g}.{n}" for g, model in models.items() for n, field in model.model_fields.items() if _needs_text(field)}
    specs = [registry.method(kind).Spec for kind in methods]
    return found | {f"method.{n}" for spec in specs for n, field in spec.model_fields.items() if _needs_text(field)}


def _needs_text(field: Any) -> bool:
    return bool((field.json_schema_extra or {}).get("needs_text"))


def apply_setting(values: dict, assignment: str) -> None:
    """Put `key=value`, named as in the spec, into the plain dict of a RunSpec; StudioError for an unknown key."""
    key, equals, text = assignment.partition("=")
    key = key.strip()
    if not equals:
        raise StudioError(f"--set {assignment}: write it as key=value, for example train.steps=200")
    kinds = [m["kind"] for m in values["methods"]]
    known = known_settings(kinds)
    if key not in known:
        near = difflib.get_close_matches(key, known, 3, 0.4) or sorted(known)[:3]
        raise StudioError(f"--set {key}: no such setting; did you mean {', '.join(near)}?")
    group, _, name = key.rpartition(".")
    if group == "method":
        owners = [m for m in values["methods"] if name in registry.method(m["kind"]).Spec.model_fields]
        if len(owners) > 1:
            raise StudioError(f"--set {key}: several methods of this recipe have it ({', '.join(m['kind'] for m in owners)})")
        owners[0][name] = parse_value(text)
    elif group:
        values.setdefault(group, {})[name] = parse_value(text)
    else:
        values[name] = text


def parse_value(text: str) -> Any:
    """`text` as JSON where it is JSON (numbers, true, null, lists), else as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested beyond reading
        return text
    return text if isinstance(value, dict) else value
