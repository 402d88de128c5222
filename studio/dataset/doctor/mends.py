"""What mends a finding; every mend is one change that can be undone, and no picture file is changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.dataset import removal
from studio.dataset.doctor.base import Found
from studio.dataset.doctor.chart import read_chart, write_chart
from studio.dataset.edit import editing
from studio.dataset.framing import Edit
from studio.dataset.reframe import set_edits
from studio.dataset.removal import add_record, count, forget_record, read_record
from studio.dataset.resplit import preview_split, split_dataset
from studio.dataset.rows import Dataset
from studio.dataset.split_rule import SplitRule, rule_of
from studio.dataset.wording import Wording, apply
from studio.store import Workspace

MAX_TRIM = 0.75  # of a side that borders may take


@dataclass(frozen=True)
class Mend:
    """One way to mend a finding: how its button reads, and what it does with (workspace, dataset's folder, finding, files)."""

    label: str
    title: str
    carry_out: Callable[[Workspace, str, dict[str, Any], list[str]], dict[str, Any]]
    is_offered: Callable[[Found], bool] = lambda found: True
    is_automatic: bool = False  # done by "mend all": loses nothing, and hardly anyone would decide otherwise

    def told(self, found: Found) -> dict[str, str]:
        """How its button reads for this finding: {"label", "title"}."""
        num, copies = len(found.files), len(found.files) - len(found.groups)
        return {"label": self.label.format(num=num, copies="1 copy" if copies == 1 else f"{copies} copies"), "title": self.title}


def _exclude(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    return removal.remove_pictures(workspace, name, files)


def _drop_copies(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    chosen = set(files)
    copies = [file for group in finding["groups"] for file in group["files"] if file != group["best"] and file in chosen]
    return removal.remove_pictures(workspace, name, copies)


def _keep(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Note that these pictures, or these groups of them, are right as they are."""
    chosen = set(files)
    wanted = [[file for file in group["files"] if file in chosen] for group in finding["groups"]] or [[file] for file in files]
    with editing(workspace, name) as dataset:
        pixels = {row.file: row.pixels for row in dataset.rows}
        sets = [sorted({pixels[file] for file in each if file in pixels}) for each in wanted]
        text = f"Kept {count(len(chosen))} as they are ({finding['title'].lower()})"
        return _change_kept(dataset, finding["key"], [each for each in sets if each], text)


def _change_kept(dataset: Dataset, key: str, sets: list[list[str]], text: str) -> dict[str, Any]:
    chart = read_chart(dataset.root)
    new = [each for each in sets if each not in chart.kept.get(key, [])]
    undo = add_record(dataset.root, {"kind": "kept", "text": text, "num": len(new), "key": key, "sets": new})
    write_chart(dataset.root, chart.model_copy(update={"kept": {**chart.kept, key: [*chart.kept.get(key, []), *new]}}))
    return {"undo": undo, "text": text, "count": len(new)}


def undo_kept(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Forget that pictures were said to be right as they are."""
    with editing(workspace, name) as dataset:
        record, chart = read_record(dataset.root, undo), read_chart(dataset.root)
        left = [each for each in chart.kept.get(record["key"], []) if each not in record["sets"]]
        write_chart(dataset.root, chart.model_copy(update={"kept": {**chart.kept, record["key"]: left}}))
        forget_record(dataset.root, undo)
    return {"text": f"Taken back: {record['text']}", "restored": record.get("num", 0)}


def _trim(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Record a crop without the borders for each picture; its file stays as it is."""
    with editing(workspace, name) as dataset:
        chart, chosen = read_chart(dataset.root), set(files)
        edits = {}
        for row in dataset.rows:
            measured = chart.measured.get(row.pixels)
            if row.file not in chosen or not measured:
                continue
            left, top, right, bottom = measured["bars"]
            if left + right < MAX_TRIM * row.width and top + bottom < MAX_TRIM * row.height:
                crop = (left / row.width, top / row.height, 1 - right / row.width, 1 - bottom / row.height)
                edits[row.file] = row.framing.model_copy(update={"crop": crop}) if row.edit else Edit(crop=crop)
    return set_edits(workspace, name, edits, f"Trimmed the borders of {count(len(edits))}")


def _set_upright(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Record the turn that each picture needs; its file stays as it is."""
    with editing(workspace, name) as dataset:
        chart, chosen = read_chart(dataset.root), set(files)
        edits = {
            row.file: row.framing.model_copy(update={"turns": (row.framing.turns + chart.lying[row.pixels][0]) % 4})
            for row in dataset.rows
            if row.file in chosen and row.pixels in chart.lying
        }
    return set_edits(workspace, name, edits, f"Turned {count(len(edits))} upright")


def _fill(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    return apply(workspace, name, Wording(operation="template", text="{name}", files=files))


def _trigger(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    return apply(workspace, name, Wording(operation="trigger", files=files))


def _class_noun(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    return apply(workspace, name, Wording(operation="class_noun", files=files))


def _forget_skipped(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Take the list of files that were not taken out of the dataset's index; the record keeps it."""
    with editing(workspace, name) as dataset:
        skipped = [each.model_dump() for each in dataset.skipped]
        text = f"Put away the list of {count(len(skipped), 'problem')} at import"
        undo = add_record(dataset.root, {"kind": "skipped", "text": text, "num": len(skipped), "skipped": skipped})
        dataset.model_copy(update={"skipped": []}).save()
    return {"undo": undo, "text": text, "count": len(skipped)}


def undo_forgotten(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Bring back the list of files that were not taken."""
    with editing(workspace, name) as dataset:
        record = read_record(dataset.root, undo)
        whole = Dataset.model_validate({**dataset.model_dump(), "skipped": [*record["skipped"], *dataset.model_dump()["skipped"]]})
        whole.save()
        forget_record(dataset.root, undo)
    return {"text": "Brought back the list of problems at import", "restored": len(record["skipped"])}


def _split(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    with editing(workspace, name) as dataset:
        rule = rule_of(dataset)
        told = preview_split(workspace, dataset, rule)
    if finding["key"] == "split" and not told["held_out"]:
        return {"undo": None, "text": told["notes"][0], "count": 0}
    return split_dataset(workspace, name, rule)


def _split_within(workspace: Workspace, name: str, finding: dict[str, Any], files: list[str]) -> dict[str, Any]:
    return split_dataset(workspace, name, SplitRule(within=True))


def _has_groups(found: Found) -> bool:
    return bool(found.groups)


def _has_files(found: Found) -> bool:
    return bool(found.files)


MENDS = {
    "review": Mend("Review", "Look at each group side by side and decide", lambda *_: {}, _has_groups),
    "copies": Mend("Exclude {copies}", "Of each group the largest and sharpest stays", _drop_copies, _has_groups, True),
    "exclude": Mend("Exclude {num}", "Taken out of the dataset and kept aside: can be undone", _exclude, _has_files),
    "trim": Mend("Trim {num}", "Record a crop without the border; the picture file stays as it is", _trim, _has_files, True),
    "upright": Mend("Turn {num} upright", "Record the turn; the picture file stays as it is", _set_upright, _has_files),
    "fill": Mend("Fill {num} by file name", "The name of each file, in words, becomes its caption", _fill, _has_files, True),
    "trigger": Mend("Add it to {num}", "Put the trigger word before these captions", _trigger, _has_files, True),
    "class_noun": Mend("Add it to {num}", "Put the class noun into these captions", _class_noun, _has_files, True),
    "split": Mend("Split anew", "Hold out whole groups, by the rule of this dataset", _split, is_automatic=True),
    "within": Mend(
        "Hold out some of a group",
        "Pictures of one patient or scene then lie on both sides: the verdict is about new pictures of that one, of no other",
        _split_within,
    ),
    "keep": Mend("Keep all", "They are right as they are: not mentioned again", _keep, _has_files),
    "forget": Mend("Put away", "Not mentioned again; can be undone", _forget_skipped),
}
