"""The split of a whole dataset made anew by a rule: groups by file name or column, a share, a seed; previewed, made, undone."""

from collections import Counter
from typing import Any

from studio.dataset.alike import ALIKE, group
from studio.dataset.doctor.pairs import index_pairs
from studio.dataset.edit import editing, known_pairs
from studio.dataset.removal import add_record, count, forget_record, read_record
from studio.dataset.rows import Dataset, Row, changed
from studio.dataset.split import MIN_TESTABLE, hold_out
from studio.dataset.split_rule import RULE, SplitRule, columns_of, given_names, known_group, shared_groups
from studio.errors import StudioError
from studio.store import Workspace

MAX_GROUPS = 12  # named in a preview
_WAY_OUT = "add others, name smaller groups, or hold out pictures within groups"


def split_rows(workspace: Workspace, dataset: Dataset, rule: SplitRule) -> list[Row]:
    """The rows of `dataset`, split anew by `rule`: copies, look-alikes and named groups stay on one side."""
    rows, pixels = dataset.rows, [row.pixels for row in dataset.rows]
    names = group(pixels, index_pairs(pixels, known_pairs(workspace, dataset)), given_names(rows, rule))
    if rule.within:  # the names of the groups outlive it
        rows = [changed(row, columns=row.columns | {"group": known_group(row)}) if known_group(row) else row for row in rows]
    free = [changed(row, group=name, split=None) for row, name in zip(rows, names, strict=True)]
    return hold_out(free, share=rule.share, seed=rule.seed)


def preview_split(workspace: Workspace, dataset: Dataset, rule: SplitRule) -> dict[str, Any]:
    """What `rule` would do: {"train", "held_out", "changed", "groups" (named), "alike_groups", "largest": [[name, num]], "alone", …}.

    StudioError where there are no pictures, or the rule fits none.
    """
    if not dataset.rows:
        raise StudioError(f"{dataset.name} has no pictures: add some first")
    rows = split_rows(workspace, dataset, rule)
    num_held = sum(row.split == "held_out" for row in rows)
    names = Counter(row.group for row in rows if row.group and not row.group.startswith(ALIKE))
    alike = {row.group for row in rows if row.group.startswith(ALIKE)}
    before = {row.file: row.split for row in dataset.rows}
    return {
        "train": len(rows) - num_held,
        "held_out": num_held,
        "changed": sum(before[row.file] != row.split for row in rows),
        "groups": len(names),
        "alike_groups": len(alike),
        "largest": [list(each) for each in names.most_common(MAX_GROUPS)],
        "alone": sum(not row.group for row in rows),
        "columns": sorted({key for row in dataset.rows for key in columns_of(row)}),
        "rule": rule.model_dump(),
        "notes": _notes(dataset, rows, rule),
    }


def _notes(dataset: Dataset, rows: list[Row], rule: SplitRule) -> list[str]:
    """What a split means for what can be said of a run, and what to do about it."""
    held, notes = [row for row in rows if row.split == "held_out"], []
    groups = {row.group for row in rows}
    if not held and len(rows) > 1 and len(groups) == 1 and "" not in groups:
        same = "look alike" if rows[0].group.startswith(ALIKE) else "are of one group"
        notes.append(f"all pictures {same}: none is held out, and there is no verdict on unseen ones; {_WAY_OUT}")
    elif not held:
        notes.append("no group is small enough to be held out: name smaller groups, or hold out a larger share")
    elif len(held) < MIN_TESTABLE:
        notes.append(f"weak: a comparison on fewer than {MIN_TESTABLE} held-out pictures is no proof")
    if shared := shared_groups(rows):
        notes.append(shared)
    named = given_names(dataset.rows, rule) if rule.column or rule.groups_by else []
    if alone := named.count(""):
        what = "have nothing in this column" if rule.column else "do not match the pattern"
        notes.append(f"{count(alone)} {what}: each counts by itself")
    return notes


def split_dataset(workspace: Workspace, name: str, rule: SplitRule) -> dict[str, Any]:
    """Split `name` anew by `rule`, which later pictures follow too: {"undo", "text", "train", "held_out", …}."""
    with editing(workspace, name) as dataset:
        told = preview_split(workspace, dataset, rule)
        rows = split_rows(workspace, dataset, rule)
        before = {row.file: [row.split, row.group, row.columns] for row in dataset.rows}
        text = f"Split anew: {told['train']} to train on, {told['held_out']} held out"
        record = {"kind": "split", "text": text, "num": told["changed"], "rows": before, "rule": dataset.about.get(RULE)}
        undo = add_record(dataset.root, record)
        about = {**dataset.about, RULE: rule.model_dump()}
        dataset.model_copy(update={"rows": rows, "about": about}).save()
    return {**told, "undo": undo, "text": text}


def undo_split(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Put back the split as it was; pictures added since stay where they are."""
    with editing(workspace, name) as dataset:
        record = read_record(dataset.root, undo)
        before = record.get("rows", {})
        rows = [
            row.model_copy(update=dict(zip(("split", "group", "columns"), before[row.file], strict=False))) if row.file in before else row
            for row in dataset.rows
        ]
        about = {key: value for key, value in dataset.about.items() if key != RULE} | ({RULE: record["rule"]} if record.get("rule") else {})
        dataset.model_copy(update={"rows": rows, "about": about}).save()
        forget_record(dataset.root, undo)
    return {"text": f"Put back the split of {count(len(before))}", "restored": len(before)}
