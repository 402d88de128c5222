"""Versions of captions compared, and one of them picked: for one picture, for some, or for all that a source has captioned."""

from collections.abc import Sequence
from typing import Any

from studio.dataset.edit import editing, find_row
from studio.dataset.removal import count
from studio.dataset.rows import Dataset, Row, open_dataset
from studio.dataset.versions import read_versions, require_source, told_versions, version_of
from studio.dataset.wording import Change, replace_captions
from studio.errors import printable
from studio.store import Workspace


def list_versions(workspace: Workspace, name: str, file: str) -> list[dict[str, Any]]:
    """The versions of one picture, newest first: {"source", "by", "caption", "time", "is_used"}; StudioError where it is not there."""
    dataset = open_dataset(workspace, name)
    row = _row(dataset, file)
    return told_versions(row, read_versions(dataset).get(row.file, []), dataset.caption(row))


def _row(dataset: Dataset, file: str) -> Row:
    """The picture called `file`, as it is stored or as it was called when it came."""
    return next((row for row in dataset.rows if row.source == file and row.file != file), None) or find_row(dataset, file)


def pick(workspace: Workspace, name: str, source: str, files: Sequence[str] | None = None) -> dict[str, Any]:
    """Make the newest caption of `source` the caption of every picture that has one: {"count", "undo", "text", "lack"}.

    Only of `files`, where given. What was there can be brought back, as one change; `lack` counts pictures without such a version.
    """
    with editing(workspace, name) as dataset:
        rows = dataset.rows if files is None else [_row(dataset, file) for file in files]
        versions = read_versions(dataset)
        require_source({row.file: versions.get(row.file, []) for row in rows}, source)
        found = [(row, version_of(versions.get(row.file, []), source)) for row in rows]
        picked = [Change(row, dataset.caption(row), version.caption, False) for row, version in found if version]
        changes = [each for each in picked if each.before != each.after]
        told = {"count": len(changes), "undo": None, "text": "No caption was changed", "lack": len(rows) - len(picked)}
        if changes:
            text = f"Picked {count(len(changes), 'caption')} ({printable(source)})"
            told |= {"undo": replace_captions(dataset, changes, text), "text": text}
    return told
