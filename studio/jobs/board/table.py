"""Runs side by side: what came of them and every setting, with the rows that differ marked. No torch here."""

import json
import re
from collections.abc import Iterable
from typing import Any

from studio.errors import StudioError, one_line
from studio.jobs.board.facts import (
    FACTS,
    MEASURED,
    NONE,
    base_title,
    cost_facts,
    personal_settings,
    read_dict,
    result_facts,
    settings,
    summarise_log,
    text,
    what_facts,
)  # fmt: skip
from studio.jobs.runs.folders import ALIVE, Run, find_run
from studio.jobs.runs.manage import run_by_id
from studio.store import Workspace

MAX_RUNS = 12
GROUP_TITLES = {"result": "Result", "what": "What", "cost": "Cost", "run": "Run", "method": "Method", "base": "Base model"}
GROUP_TITLES |= {"data": "Data", "train": "Training", "preview": "Previews", "evaluate": "Evaluation"}
WHOLE_ID = re.compile(r"([0-9]{1,9})(-.+)?")


def named_runs(workspace: Workspace, names: Iterable[str]) -> list[str]:
    """Ids of at least two runs named as on the command line; what was once a run is kept, and the board says that it is gone.

    StudioError for a name that never was one, for fewer than two, and where none of them is here.
    """
    ids = list(dict.fromkeys(_name_to_id(workspace, name) for name in names))
    if len(ids) < 2:
        what = f"{ids[0]} alone" if ids else "no run"
        raise StudioError(f"{what} is nothing to compare: name two runs or more, as in board 1 2")
    if not any((workspace.runs / i).is_dir() for i in ids):
        raise StudioError(f"none of these runs is here (any more): {', '.join(ids)[:200]}; runs lists those that are")
    return ids


def _name_to_id(workspace: Workspace, name: str) -> str:
    try:
        return find_run(workspace, name).id
    except StudioError:
        found = WHOLE_ID.fullmatch(name)
        if found and found[2] and len(found[1]) > 3 and "/" not in name:
            return name  # a run's whole id: its folder is gone, or without settings
        number = int(found[1]) if found else 0
        numbers = {int(n) for n in (entry.name.partition("-")[0] for entry in workspace.runs.glob("*-*")) if n.isascii() and n.isdigit()}
        if 0 < number <= max(numbers, default=0):
            return name.zfill(4)  # a number that was given once
        raise


def compare(workspace: Workspace, ids: Iterable[str]) -> dict[str, Any]:
    """{"runs", "rows", "notes"}: facts first, then every setting; a deleted or damaged run is a column that says so.

    A row is {"group", "key", "title", "unit", "values", "differs", "personal"}, with one text per run.
    StudioError for more than MAX_RUNS.
    """
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MAX_RUNS:
        raise StudioError(f"{len(wanted)} runs are more than fit side by side: choose at most {MAX_RUNS}")
    columns = [Column(workspace, run_id) for run_id in wanted]
    whole = [c for c in columns if not c.error]
    heads = [{"run": c.id, "name": c.name, "state": c.state, "error": c.error, "recipe": c.recipe, "base": c.base} for c in columns]
    names: dict[str, tuple[str, str]] = {key: (title, unit) for key, title, unit in FACTS}
    for column in whole:
        names |= {key: name for key, name in column.titles.items() if key not in names}
    order = [key for key, *_ in FACTS] + _in_groups([key for key in names if key not in {f[0] for f in FACTS}])
    rows = [_row(key, *names[key], columns) for key in order if any(key in c.values for c in whole)]
    return {"runs": heads, "rows": rows, "notes": _notes(whole)}


def _row(key: str, title: str, unit: str, columns: "list[Column]") -> dict[str, Any]:
    group = key.partition(".")[0]
    told = {c.values.get(key, NONE) for c in columns if not c.error}
    if key in MEASURED:
        told.discard(NONE)  # what is not known (yet) is not different; a setting that a run does not have is
    row = {"group": GROUP_TITLES.get(group, group.capitalize()), "key": key, "title": title, "unit": unit}
    row["values"] = [c.values.get(key, NONE) for c in columns]
    return row | {"differs": len(told) > 1, "personal": any(key in c.personal for c in columns)}


def _in_groups(keys: list[str]) -> list[str]:
    """Setting names group by group, so that those of a method which only a later run has stand beside the others."""
    groups = [key.partition(".")[0] for key in keys]
    places = list(dict.fromkeys([*GROUP_TITLES, *groups]))
    return sorted(keys, key=lambda key: places.index(key.partition(".")[0]))


class Column:
    """One run's values as texts, by key; `error` says why there are none."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.id, self.name, self.state, self.error = run_id, run_id, "gone", ""
        self.values: dict[str, str] = {}
        self.titles: dict[str, tuple[str, str]] = {}
        self.origin: dict[str, Any] = {}
        self.personal: set[str] = set()
        self.recipe = self.base = ""
        try:
            run = run_by_id(workspace, run_id)
            self.state = "damaged"
            self.spec = run.spec()
            self.name, self.state = self.spec.name, run.status()["state"]
            self.recipe, self.base = self.spec.recipe, base_title(self.spec)
            self._read(run)
        except (StudioError, OSError) as error:
            self.error = one_line(error)

    def _read(self, run: Run) -> None:
        self.origin = read_dict(run.folder / "origin.json")
        log = summarise_log(run.events)
        known = result_facts(run, log) | what_facts(run, self.spec, self.origin, log) | cost_facts(run, log)
        self.values = {key: text(value) for key, value in known.items() if value is not None}
        for key, title, unit, value in settings(self.spec):
            self.values[key] = value
            self.titles[key] = (title, unit)
        self.personal = personal_settings(self.spec)


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
