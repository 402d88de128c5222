"""Taking away, and bringing back: pictures go to a hidden folder of their dataset, datasets to the trash; nothing is deleted."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.dataset.doctor.chart import read_chart
from studio.dataset.edit import HISTORY, REMOVED, editing, keep_chart, locked, regroup, renewed
from studio.dataset.rows import Dataset, Row, files_of, find_root
from studio.errors import StudioError, printable
from studio.store import Workspace, inside, read_json, write_json
from studio.trash import from_trash, to_trash

MAX_RECORDS = 100  # of each kind below, kept per dataset; records of removed pictures are all kept
_PRUNED = ("captions", "framing", "mask", "about")


def remove_pictures(workspace: Workspace, name: str, files: Sequence[str]) -> dict[str, Any]:
    """Take pictures out of a dataset: {"undo": what brings them back, "text"}; those already gone are left out.

    The order is copy, record, index, delete: killed anywhere in it, the dataset is as before or as after. StudioError where all are.
    """
    with editing(workspace, name) as dataset:
        wanted = set(files)
        gone = [(position, row) for position, row in enumerate(dataset.rows) if row.file in wanted]
        if not gone:
            raise StudioError("these pictures are not in the dataset any more: they were removed in another window")
        hidden = dataset.root / REMOVED
        hidden.mkdir(exist_ok=True)
        for _, row in gone:
            _pass_on(dataset.root, hidden, row)
        text = f"Removed {count(len(gone))}"
        rows = [{"position": position, "row": row.model_dump()} for position, row in gone]
        undo = add_record(dataset.root, {"kind": "removed", "text": text, "num": len(gone), "rows": rows})
        dataset.model_copy(update={"rows": [row for row in dataset.rows if row.file not in wanted]}).save()
        for _, row in gone:
            _delete(dataset.root, row)
    return {"undo": undo, "text": text, "removed": len(gone)}


def restore_pictures(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Bring back what `remove_pictures` took, each picture to its place and side of the split. StudioError where none can be."""
    with editing(workspace, name) as dataset:
        record, hidden = read_record(dataset.root, undo), dataset.root / REMOVED
        here, rows, back = {row.file for row in dataset.rows}, list(dataset.rows), []
        for entry in record.get("rows", []):
            row = Row.model_validate(entry["row"])
            inside(dataset.root, row.file)
            if row.file not in here and (hidden / row.file).exists():
                _pass_on(hidden, dataset.root, row)
                rows.insert(min(entry["position"], len(rows)), row)
                back.append(row)
        if back:
            whole = dataset.model_copy(update={"rows": rows})
            chart = renewed(workspace, whole, read_chart(dataset.root), {row.pixels for row in back})
            regroup(whole, chart).save()
            keep_chart(whole, chart)
        for row in back:
            _delete(hidden, row)
        forget_record(dataset.root, undo)
    if not back:
        raise StudioError("these pictures cannot be brought back: they are here already, or were deleted by hand")
    return {"text": f"Brought back {count(len(back))}", "restored": len(back)}


def delete_dataset(workspace: Workspace, name: str) -> str:
    """Move a whole dataset to the trash; the token that `restore_dataset` takes."""
    root = find_root(workspace, name)
    with locked(workspace, root):
        label = root.name
        with suppress(StudioError):  # a damaged one can be thrown away as well
            label = Dataset.load(root).name
        return to_trash(workspace, root, "dataset", label)


def restore_dataset(workspace: Workspace, token: str) -> str:
    """Bring a dataset back from the trash; the name of its folder."""
    return from_trash(workspace, token).name


def list_history(dataset: Dataset) -> list[dict[str, Any]]:
    """What can be undone in this dataset, newest first: {"undo", "kind", "text", "time", "num"}."""
    records = []
    for path in sorted((dataset.root / HISTORY).glob("[0-9]*.json"), reverse=True):
        with suppress(StudioError, OSError, AttributeError):
            record = read_json(path)
            records.append({"undo": path.stem, **{key: record.get(key) for key in ("kind", "text", "time", "num")}})
    return records


def add_record(root: Path, record: dict[str, Any]) -> str:
    """Keep what is needed to undo a change; its id. Call it while editing."""
    folder = root / HISTORY
    folder.mkdir(exist_ok=True)
    undo = f"{time.time_ns():020d}"  # never given twice, so that a late click undoes nothing else
    write_json(_record_path(root, undo), {**record, "time": time.time()})
    _prune(root)
    return undo


def read_record(root: Path, undo: str) -> dict[str, Any]:
    """A record by its id; StudioError where it was undone already."""
    path = _record_path(root, undo)
    if not path.exists():
        raise StudioError("this was undone already, perhaps in another window")
    record = read_json(path)
    if not isinstance(record, dict):
        raise StudioError(f"{path} is damaged: it cannot be undone")
    return record


def forget_record(root: Path, undo: str) -> None:
    """Nothing is left to undo there."""
    _record_path(root, undo).unlink(missing_ok=True)


def count(num: int, noun: str = "picture") -> str:
    """A number of things in words."""
    return f"{num} {noun}" if num == 1 else f"{num:,} {noun}s"


def _record_path(root: Path, undo: str) -> Path:
    if not (undo.isascii() and undo.isdigit()):
        raise StudioError(f"{printable(undo)[:40]!r} is nothing that can be undone")
    return inside(root / HISTORY, f"{undo}.json")


def _prune(root: Path) -> None:
    """Forget the oldest changes of captions, framing, masks and words, beyond MAX_RECORDS."""
    records: dict[str, list[Path]] = {kind: [] for kind in _PRUNED}
    for path in sorted((root / HISTORY).glob("[0-9]*.json")):
        records.get(_kind(path), []).append(path)
    for paths in records.values():
        for path in paths[:-MAX_RECORDS]:
            path.unlink(missing_ok=True)


def _kind(path: Path) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            head = file.read(200)
    except OSError:
        return ""
    return next((kind for kind in _PRUNED if f'"kind": "{kind}"' in head), "")


def _pass_on(here: Path, there: Path, row: Row) -> None:
    """Have the picture of `row`, its caption and its mask in both folders, as far as they are there."""
    for name in files_of(row.file):
        source, target = here / name, there / name
        if not source.exists():
            continue
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)  # not every file system has links


def _delete(folder: Path, row: Row) -> None:
    for name in files_of(row.file):
        (folder / name).unlink(missing_ok=True)
