"""What is known of a run, as rows of the board: what came of it, its method's card, what it took, and every setting. No torch here."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from studio import registry
from studio.errors import StudioError
from studio.families.header import read_header
from studio.jobs.draw.judgements import read_verdict
from studio.jobs.runs.folders import Run
from studio.method_cards import find_card
from studio.overrides import GROUPS
from studio.spec import RunSpec
from studio.store import read_json, sha256

NONE = "—"  # not known, or a run without such a setting
UNSET = "not set"  # a setting that was left to the studio, or empty
STEP = b'{"kind": "step"'
SHOWN_NUMBERS = 12
ROUNDED, EXACT = 4, 12  # digits of what was measured, and of settings, where the least difference counts
FACTS = (  # key, title, unit
    ("result.state", "State", ""),
    ("result.held_out", "Held-out loss", ""),
    ("result.held_out_base", "Held-out loss of the base", ""),
    ("result.change", "Change against the base", ""),
    ("result.domain", "Gap to the domain closed", ""),
    ("result.copies", "Copies of trained pictures", ""),
    ("result.variety", "Variety, against real pictures", ""),
    ("result.captions", "Captions followed", ""),
    ("result.chosen", "Chosen snapshot", ""),
    ("result.reason", "Why it was chosen", ""),
    ("result.loss", "Last training loss", ""),
    ("what.method", "Method", ""),
    ("what.method_family", "Family of the method", ""),
    ("what.paper", "Origin paper", ""),
    ("what.year", "Year", ""),
    ("what.creators", "Creators", ""),
    ("what.family", "Family of the base", ""),
    ("what.base", "Base model", ""),
    ("what.dataset", "Dataset", ""),
    ("what.train", "Pictures trained on", ""),
    ("what.held_out", "Pictures held out", ""),
    ("what.data", "Data fingerprint", ""),
    ("what.layers", "Adapted layers", ""),
    ("what.parameters", "Trainable parameters", ""),
    ("cost.size", "Adapter file", "MiB"),
    ("cost.steps", "Steps done", ""),
    ("cost.minutes", "Time", "min"),
    ("cost.memory", "Peak memory", "GiB"),
    ("cost.device", "Device", ""),
)
CARD = ("what.method", "what.method_family", "what.paper", "what.year", "what.creators")
MEASURED = {key for key, *_ in FACTS} - set(CARD)  # known only once a run has come so far; a card that names no year is known to


def result_facts(run: Run, log: dict[str, Any]) -> dict[str, Any]:
    """What came of a run, from its scores; for a run that goes on, from its newest score."""
    status, scores = run.status(), read_dict(run.folder / "scores.json")
    chosen = scores.get("chosen") if isinstance(scores.get("chosen"), dict) else {}
    held_out = chosen.get("held_out") or log.get("score")
    values: dict[str, Any] = {"result.state": status["state"], "result.reason": scores.get("reason"), "result.loss": log.get("loss")}
    if chosen:
        average = {"ema": "averaged (EMA)", f"raw of step {chosen.get('step')}": "raw"}.get(
            str(chosen.get("average")), chosen.get("average")
        )
        values["result.chosen"] = f"step {chosen.get('step')}, {average}"
    for each in (read_verdict(run) or {}).get("findings", []):
        values[f"result.{each['key']}"] = f"{each['value']}, in doubt" if each["state"] == "doubt" else each["value"] or None
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
        values["result.held_out"], values["result.held_out_base"] = float(held_out["loss"]), float(held_out["base"])
        change = 100 * math.expm1(float(held_out["log_ratio"]))
        sign = "−" if change < 0 else "+"
        values["result.change"] = f"{sign}{abs(change):.1f} %, better on {held_out['num_better']} of {held_out['num_images']}"
    return values


def what_facts(run: Run, spec: RunSpec, origin: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    """What was trained on what."""
    data = origin.get("data") if isinstance(origin.get("data"), dict) else {}
    splits = [row.get("split") for row in data.values() if isinstance(row, dict)]
    return method_facts(spec) | {
        "what.family": log.get("family"),
        "what.base": base_title(spec),
        "what.dataset": spec.dataset,
        "what.train": splits.count("train") if splits else None,
        "what.held_out": splits.count("held_out") if splits else None,
        "what.data": sha256(json.dumps(data, sort_keys=True).encode())[:8] if data else None,
        "what.layers": log.get("layers"),
        "what.parameters": _parameters(run),
    }


def method_facts(spec: RunSpec) -> dict[str, Any]:
    """What the card of a run's recipe says; where the recipe is gone, only which methods it was of."""
    kinds = " + ".join(m.kind for m in spec.methods)
    card = find_card(spec.recipe)
    if card is None:
        return {"what.method": f"{kinds} (its recipe {spec.recipe} is not here any more)"}
    year = str(card.year) if card.year else None
    told = {"method": card.title, "method_family": card.family, "paper": card.source, "year": year, "creators": card.creators}
    return {f"what.{key}": value or None for key, value in told.items()}


def base_title(spec: RunSpec) -> str:
    """The base's name without the folders it lies in."""
    return Path(spec.base.source).name or spec.base.source


def cost_facts(run: Run, log: dict[str, Any]) -> dict[str, Any]:
    """What a run took."""
    size = round(run.adapter.stat().st_size / 2**20, 3) if run.adapter.is_file() else None
    minutes = round(log["seconds"] / 60, 2) if log["seconds"] else None
    peak = run.status().get("peak_memory_gib")
    device = ", ".join(str(log[k]) for k in ("device", "precision") if log.get(k)) or None
    steps = run.summary()["step"]
    return {"cost.size": size, "cost.steps": steps, "cost.minutes": minutes, "cost.memory": peak, "cost.device": device}


def _parameters(run: Run) -> int | None:
    """How many numbers the adapter has, told by a file's header."""
    files = [run.adapter, *sorted(run.snapshots.glob("*/ema.safetensors"))]
    for file in files:
        with contextlib.suppress(StudioError, OSError):
            if file.is_file():
                return sum(math.prod(shape) for shape in read_header(file).shapes.values())
    return None


def summarise_log(path: Path) -> dict[str, Any]:
    """The facts in a run's events; of 100,000 steps only the last of each session are read as JSON."""
    facts: dict[str, Any] = {"seconds": 0.0}
    begun = last = None
    step: bytes = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            if line.startswith(STEP):
                step = line
                continue
            event = _parse(line)
            if event.get("kind") == "loaded":
                facts["seconds"] += _between(begun, _later(last, step))
                begun, step = event.get("time"), b""
            _take(facts, event)
            last = event.get("time", last)
    facts["seconds"] += _between(begun, _later(last, step))
    facts["loss"] = _parse(step).get("loss", facts.get("loss"))
    return facts


def _take(facts: dict[str, Any], event: dict[str, Any]) -> None:
    facts |= {key: event[key] for key in ("family", "device", "precision", "layers") if isinstance(event.get(key), str | int)}
    if event.get("kind") == "score" and isinstance(event.get("held_out"), dict):
        facts["score"] = event["held_out"]


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _later(time: Any, step: bytes) -> Any:
    times = [t for t in (time, _parse(step).get("time")) if isinstance(t, int | float)]
    return max(times, default=None)


def _between(begun: Any, ended: Any) -> float:
    both = isinstance(begun, int | float) and isinstance(ended, int | float)
    return max(0.0, ended - begun) if both else 0.0


def settings(spec: RunSpec) -> list[tuple[str, str, str, str]]:
    """(key, title, unit, value as text) of every setting, titles from the fields; those of several methods stand in one row by name."""
    rows = [(f"run.{name}", *_title(RunSpec, name), _told(getattr(spec, name))) for name in ("recipe", "preset", "start_from")]
    for group in GROUPS:
        part = getattr(spec, group)
        rows += [(f"{group}.{name}", *_title(type(part), name), _told(getattr(part, name))) for name in type(part).model_fields]
    shared: dict[str, list[tuple[str, Any]]] = {}
    titles: dict[str, tuple[str, str]] = {}
    for method in spec.methods:
        for name in (n for n in type(method).model_fields if n != "kind"):
            shared.setdefault(name, []).append((method.kind, getattr(method, name)))
            titles.setdefault(name, _title(registry.method(method.kind).Spec, name))
    for name, values in shared.items():
        told = [_told(v) + (f" ({kind})" if len(values) > 1 else "") for kind, v in values]
        rows.append((f"method.{name}", *titles[name], ", ".join(told)))
    return rows


def _told(value: Any) -> str:
    """A setting as a person reads it."""
    return UNSET if value is None or value in ("", [], ()) else text(value, EXACT)


def personal_settings(spec: RunSpec) -> set[str]:
    """Names of the settings that hold what a person typed, or what was taken from their captions."""
    told = {f"method.{n}" for m in spec.methods for n, f in type(m).model_fields.items() if (f.json_schema_extra or {}).get("personal")}
    return told | {"preview.prompts", "preview.negative"}


def _title(model: type[BaseModel], name: str) -> tuple[str, str]:
    """(title, unit) of a field."""
    field = model.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return field.title or name, str(extra.get("unit") or "")


def text(value: Any, digits: int = ROUNDED) -> str:
    """A value as a person reads it; empty ones as a dash."""
    if value is None or value == "" or value == []:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**12 else str(value)
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        told = [text(v, digits) for v in value[:SHOWN_NUMBERS]]
        joint = " · " if any(isinstance(v, str) for v in value) else ", "
        return joint.join(told) + (f" … ({len(value)})" if len(value) > SHOWN_NUMBERS else "")
    return str(value)


def read_dict(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where it is missing or damaged."""
    with contextlib.suppress(StudioError, OSError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}
