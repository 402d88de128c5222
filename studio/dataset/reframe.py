"""Crops, focal points, turns and mirror images of pictures, decided and undone; the picture files stay as they are."""

from collections.abc import Mapping
from typing import Any

from studio.dataset.edit import editing, find_row
from studio.dataset.framing import Edit, check_edit, describe_edit
from studio.dataset.removal import add_record, count, forget_record, read_record
from studio.dataset.rows import Dataset, Row
from studio.errors import StudioError
from studio.store import Workspace


def set_edits(
    workspace: Workspace, name: str, edits: Mapping[str, Edit], text: str = "", before: Mapping[str, Edit] | None = None
) -> dict[str, Any]:
    """Decide how pictures (by file) are framed, all in one change: {"count", "undo", "text"}; an `Edit()` takes everything back.

    StudioError where a picture is not there, too little of one would be left, or one is no longer framed as in `before`.
    """
    with editing(workspace, name) as dataset:
        changes = {}
        for file, edit in edits.items():
            row = find_row(dataset, file)
            check_edit(edit, row.width, row.height)
            if before and file in before and row.framing not in (before[file], edit):
                raise StudioError(f"{file} was framed in another window meanwhile ({_words(row)}): it is shown now, change that")
            if edit != row.framing:
                changes[file] = [_dump(row.framing), _dump(edit)]
        if not changes:
            return {"count": 0, "undo": None, "text": "Nothing was changed"}
        undo = add_record(dataset.root, {"kind": "framing", "text": text or _say(changes), "num": len(changes), "edits": changes})
        _write(dataset, {file: after for file, (_, after) in changes.items()})
    return {"count": len(changes), "undo": undo, "text": text or _say(changes)}


def undo_edits(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Put back how pictures were framed before, but for those framed anew since."""
    with editing(workspace, name) as dataset:
        record = read_record(dataset.root, undo)
        now = {row.file: _dump(row.framing) for row in dataset.rows}
        edits = record.get("edits", {})
        back = {file: before for file, (before, after) in edits.items() if now.get(file) == after}
        num_edited = sum(file in now and now[file] != after for file, (_, after) in edits.items())
        _write(dataset, back)
        forget_record(dataset.root, undo)
    stayed = f"; {num_edited} changed since stay as they are" if num_edited else ""
    return {"text": f"Put back the framing of {count(len(back))}{stayed}", "restored": len(back)}


def _words(row: Row) -> str:
    return describe_edit(row.edit) or "all of it is taken"


def _dump(edit: Edit) -> dict[str, Any] | None:
    return None if edit == Edit() else edit.model_dump(mode="json")


def _say(changes: dict[str, list[Any]]) -> str:
    if len(changes) > 1:
        return f"Framed {count(len(changes))}"
    file, (_, after) = next(iter(changes.items()))
    return f"{file}: {describe_edit(Edit.model_validate(after)) if after else 'framing taken back'}"


def _write(dataset: Dataset, edits: Mapping[str, dict[str, Any] | None]) -> None:
    rows = [
        row.model_copy(update={"edit": Edit.model_validate(edits[row.file]) if edits[row.file] else None}) if row.file in edits else row
        for row in dataset.rows
    ]
    dataset.model_copy(update={"rows": rows}).save()
