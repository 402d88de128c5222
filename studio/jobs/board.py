"""Runs side by side: what came of them and every setting, with the rows that differ marked. No torch here."""

import contextlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from studio import registry
from studio.errors import StudioError, one_line
from studio.families.single_file import read_header
from studio.jobs.manage import run_by_id
from studio.jobs.runs import ALIVE, Run
from studio.spec import GROUPS, RunSpec
from studio.store import Workspace, read_json

MAX_RUNS = 12
NONE = "—"
STEP = b'{"kind": "step"'
SHOWN_NUMBERS = 12
ROUNDED, EXACT = 4, 12  # digits of what was measured, and of settings, where the least difference counts
FACTS = (  # key, title, unit
    ("result.state", "State", ""),
    ("result.held_out", "Held-out loss", ""),
    ("result.held_out_base", "Held-out loss of the base", ""),
    ("result.change", "Change against the base", ""),
    ("result.chosen", "Chosen snapshot", ""),
    ("result.reason", "Why it was chosen", ""),
    ("result.loss", "Last training loss", ""),
    ("what.method", "Method", ""),
    ("what.family", "Family of the base", ""),
    ("what.base", "Base model", ""),
    ("what.dataset", "Dataset", ""),
    ("what.train", "Pictures trained on", ""),
    ("what.held_out", "Pictures held out", ""),
    ("what.layers", "Adapted layers", ""),
    ("what.parameters", "Trainable parameters", ""),
    ("cost.size", "Adapter file", "MiB"),
    ("cost.steps", "Steps done", ""),
    ("cost.minutes", "Time", "min"),
    ("cost.memory", "Peak memory", "GiB"),
    ("cost.device", "Device", ""),
)
GROUP_TITLES = {"result": "Result", "what": "What", "cost": "Cost", "run": "Run", "method": "Method", "base": "Base model"}
GROUP_TITLES |= {"data": "Data", "train": "Training", "preview": "Previews", "evaluate": "Evaluation"}


def compare(workspace: Workspace, ids: Iterable[str]) -> dict[str, Any]:
    """{"runs", "rows", "notes"}: facts first, then every setting; a deleted or damaged run is a column that says so.

    A row is {"group", "key", "title", "unit", "values", "differs"}, with one text per run.
    """
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MAX_RUNS:
        raise StudioError(f"{len(wanted)} runs are more than fit side by side: choose at most {MAX_RUNS}")
    columns = [Column(workspace, run_id) for run_id in wanted]
    whole = [c for c in columns if not c.error]
    heads = [{"run": c.id, "name": c.name, "state": c.state, "error": c.error} for c in columns]
    names: dict[str, tuple[str, str]] = {key: (title, unit) for key, title, unit in FACTS}
    for column in whole:
        names |= {key: name for key, name in column.titles.items() if key not in names}
    order = [key for key, *_ in FACTS] + _in_groups(key for key in names if key not in {f[0] for f in FACTS})
    rows = [_row(key, *names[key], columns) for key in order if any(key in c.values for c in whole)]
    return {"runs": heads, "rows": rows, "notes": _notes(whole)}


def _row(key: str, title: str, unit: str, columns: "list[Column]") -> dict[str, Any]:
    told = [c.values.get(key, NONE) for c in columns if not c.error]
    group = GROUP_TITLES[key.partition(".")[0]]
    values = [c.values.get(key, NONE) for c in columns]
    return {"group": group, "key": key, "title": title, "unit": unit, "values": values, "differs": len(set(told)) > 1}


def _in_groups(keys: Iterable[str]) -> list[str]:
    """Setting names group by group, so that those of a method which only a later run has stand beside the others."""
    places = list(GROUP_TITLES)
    return sorted(keys, key=lambda key: places.index(key.partition(".")[0]))


class Column:
    """One run's values as texts, by key; `error` says why there are none."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.id, self.name, self.state, self.error = run_id, run_id, "gone", ""
        self.values: dict[str, str] = {}
        self.titles: dict[str, tuple[str, str]] = {}
        self.origin: dict[str, Any] = {}
        try:
            run = run_by_id(workspace, run_id)
            self.state = "damaged"
            self.spec = run.spec()
            self.name, self.state = self.spec.name, run.status()["state"]
            self._read(run)
        except (StudioError, OSError) as error:
            self.error = one_line(error)

    def _read(self, run: Run) -> None:
        self.origin = _dict(run.folder / "origin.json")
        log = summarise_log(run.events)
        known = result_facts(run, log) | what_facts(run, self.spec, self.origin, log) | cost_facts(run, log)
        self.values = {key: text(value) for key, value in known.items() if value is not None}
        for key, title, unit, value in settings(self.spec):
            self.values[key] = text(value, EXACT)
            self.titles[key] = (title, unit)


def result_facts(run: Run, log: dict[str, Any]) -> dict[str, Any]:
    """What came of a run, from its scores; for a run that goes on, from its newest score."""
    status, scores = run.status(), _dict(run.folder / "scores.json")
    chosen = scores.get("chosen") if isinstance(scores.get("chosen"), dict) else {}
    held_out = chosen.get("held_out") or log.get("score")
    values: dict[str, Any] = {"result.state": status["state"], "result.reason": scores.get("reason"), "result.loss": log.get("loss")}
    if chosen:
        average = {"ema": "averaged (EMA)", f"raw of step {chosen.get('step')}": "raw"}.get(
            str(chosen.get("average")), chosen.get("average")
        )
        values["result.chosen"] = f"step {chosen.get('step')}, {average}"
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
    return {
        "what.method": " + ".join(m.kind for m in spec.methods),
        "what.family": log.get("family"),
        "what.base": base_title(spec),
        "what.dataset": spec.dataset,
        "what.train": splits.count("train") if splits else None,
        "what.held_out": splits.count("held_out") if splits else None,
        "what.layers": log.get("layers"),
        "what.parameters": _parameters(run),
    }


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


def settings(spec: RunSpec) -> list[tuple[str, str, str, Any]]:
    """(key, title, unit, value) of every setting, with titles from the fields; those of several methods stand in one row by name."""
    rows = [(f"run.{name}", *_title(RunSpec, name), getattr(spec, name)) for name in ("recipe", "preset", "start_from")]
    for group in GROUPS:
        part = getattr(spec, group)
        rows += [(f"{group}.{name}", *_title(type(part), name), getattr(part, name)) for name in type(part).model_fields]
    shared: dict[str, list[tuple[str, Any]]] = {}
    titles: dict[str, tuple[str, str]] = {}
    for method in spec.methods:
        for name in (n for n in type(method).model_fields if n != "kind"):
            shared.setdefault(name, []).append((method.kind, getattr(method, name)))
            titles.setdefault(name, _title(registry.method(method.kind).Spec, name))
    for name, values in shared.items():
        told = [text(v, EXACT) + (f" ({kind})" if len(values) > 1 else "") for kind, v in values]
        rows.append((f"method.{name}", *titles[name], ", ".join(told)))
    return rows


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


def _dict(path: Path) -> dict[str, Any]:
    with contextlib.suppress(StudioError, OSError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def _notes(columns: list[Column]) -> list[str]:
    """What must be known before figures are compared."""
    notes = []
    if _differ(columns, lambda c: c.origin.get("data"), lambda c: c.spec.dataset):
        notes.append("These runs were trained on different data: their losses are not comparable, their changes against the base roughly.")
    if _differ(columns, lambda c: c.origin.get("base"), lambda c: c.spec.base.source):
        notes.append("These runs adapt different base models: their losses are not comparable.")
    if _differ(columns, lambda c: [c.spec.evaluate.model_dump(), c.spec.base.size_px, c.spec.base.prediction_type]):
        notes.append("These runs were measured differently (see Evaluation and Base model): their held-out losses are not comparable.")
    going = [c.id for c in columns if c.state in ALIVE]
    if going:
        notes.append(f"Still going, so that figures change: {', '.join(going)}.")
    return notes


def _differ(columns: list[Column], *facts: Any) -> bool:
    """Whether the first fact that all columns know differs between them."""
    for fact in facts:
        told = [json.dumps(fact(c), sort_keys=True, default=str) for c in columns]
        if "null" not in told:
            return len(set(told)) > 1
    return False
