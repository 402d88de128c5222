"""Captions of many pictures at once: prefix, suffix, find and replace, trigger word, template; previewed, applied, undone."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.dataset.captions import clean
from studio.dataset.edit import editing
from studio.dataset.removal import add_record, count, forget_record, read_record
from studio.dataset.rows import Dataset, Row, find_root
from studio.dataset.templates import known_fields, template
from studio.dataset.versions import Version, add_versions, found_version
from studio.dataset.words import mentions
from studio.errors import StudioError, printable
from studio.store import Workspace

MAX_TEXT = 2000
EXAMPLES = 6
_WRITERS = 8
_WORDS = {
    "prefix": "put before",
    "suffix": "put after",
    "replace": "find and replace",
    "trigger": "trigger word",
    "class_noun": "class noun",
    "template": "template",
}
_UNDO = {  # by kind of record, imported on use: those who make changes import this file
    "removed": ("studio.dataset.removal", "restore_pictures"),
    "captions": ("studio.dataset.wording", "undo_wording"),
    "framing": ("studio.dataset.reframe", "undo_edits"),
    "mask": ("studio.dataset.masks", "undo_mask"),
    "split": ("studio.dataset.resplit", "undo_split"),
    "kept": ("studio.dataset.doctor.mends", "undo_kept"),
    "skipped": ("studio.dataset.doctor.mends", "undo_forgotten"),
    "about": ("studio.dataset.about", "undo_about"),
}
_NO_SPACE_BEFORE = tuple(",.;:!?)]'\"")


class Wording(BaseModel):
    """One change of many captions."""

    model_config = ConfigDict(extra="forbid")

    operation: Literal["prefix", "suffix", "replace", "trigger", "class_noun", "template"]
    text: str = Field("", max_length=MAX_TEXT, description="what is put before or after, or the template")
    find: str = Field("", max_length=MAX_TEXT)
    replace: str = Field("", max_length=MAX_TEXT)
    match_case: bool = False
    overwrite: bool = Field(False, description="a template also replaces captions that exist; they stay among the versions")
    files: list[str] | None = Field(None, description="only these pictures; None for all")


@dataclass(frozen=True)
class Change:
    """One caption before and after; `is_cut` where it would have been too long."""

    row: Row
    before: str
    after: str
    is_cut: bool


def preview(dataset: Dataset, wording: Wording, captions: Sequence[str] | None = None) -> dict[str, Any]:
    """What `wording` would change: {"count", "of", "cut", "examples": [{"file", "before", "after"}]}."""
    changes, num = _changes(dataset, wording, captions)
    examples = [{"file": c.row.file, "before": c.before, "after": c.after} for c in changes[:EXAMPLES]]
    return {"count": len(changes), "of": num, "cut": sum(c.is_cut for c in changes), "examples": examples}


def apply(workspace: Workspace, name: str, wording: Wording) -> dict[str, Any]:
    """Change the captions: {"count", "cut", "undo", "text"}; the former ones are kept first, so that it can be undone."""
    with editing(workspace, name) as dataset:
        changes, _ = _changes(dataset, wording, None)
        if not changes:
            return {"count": 0, "cut": 0, "undo": None, "text": "No caption was changed"}
        text = f"Changed {count(len(changes), 'caption')} ({_WORDS[wording.operation]})"
        undo = replace_captions(dataset, changes, text, [Version(by=_WORDS[wording.operation], caption=c.after) for c in changes])
    return {"count": len(changes), "cut": sum(c.is_cut for c in changes), "undo": undo, "text": text}


def replace_captions(dataset: Dataset, changes: Sequence[Change], text: str, versions: Sequence[Version] = ()) -> str:
    """Make `changes`, the former captions kept first; what undoes it. Call it while editing.

    `versions`, one for each change, say who wrote them; none where they are known already.
    """
    known = [(c.row.file, found_version(c.row, c.before)) for c in changes if c.before]
    add_versions(dataset.root, known + [(c.row.file, v) for c, v in zip(changes, versions, strict=bool(versions)) if v.caption])
    kept = {c.row.file: [c.before, c.after] for c in changes}
    undo = add_record(dataset.root, {"kind": "captions", "text": text, "num": len(changes), "captions": kept})
    _write(dataset, [(change.row, change.after) for change in changes])
    return undo


def undo_change(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Undo any change that has a record: {"text", "restored"}."""
    kind = read_record(find_root(workspace, name), undo).get("kind")
    module, function = _UNDO.get(kind, _UNDO["removed"])
    return getattr(import_module(module), function)(workspace, name, undo)


def undo_wording(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Put back the captions that `replace_captions` changed, but for those edited since."""
    with editing(workspace, name) as dataset:
        record, rows, back, num_edited = read_record(dataset.root, undo), {row.file: row for row in dataset.rows}, [], 0
        for file, (before, after) in record.get("captions", {}).items():
            if file not in rows:
                continue
            if dataset.caption(rows[file]) != after:
                num_edited += 1
                continue
            back.append((rows[file], before))
        _write(dataset, back)
        forget_record(dataset.root, undo)
    stayed = f"; {num_edited} edited since stay as they are" if num_edited else ""
    return {"text": f"Put back {count(len(back), 'caption')}{stayed}", "restored": len(back)}


def _write(dataset: Dataset, captions: Sequence[tuple[Row, str]]) -> None:
    """Write captions, several at a time: the disk is waited for, not the processor."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        for _ in pool.map(lambda pair: dataset.set_caption(*pair), captions):
            pass


def _changes(dataset: Dataset, wording: Wording, captions: Sequence[str] | None) -> tuple[list[Change], int]:
    """The captions that would change, and how many were looked at."""
    captions = captions if captions is not None else [dataset.caption(row) for row in dataset.rows]
    rewrite = _rewriter(wording, dataset)
    chosen = None if wording.files is None else set(wording.files)
    changes, num = [], 0
    for row, before in zip(dataset.rows, captions, strict=True):
        if chosen is not None and row.file not in chosen:
            continue
        num += 1
        after, note = clean(rewrite(row, before))
        if after != before:
            changes.append(Change(row, before, after, bool(note)))
    return changes, num


def _rewriter(wording: Wording, dataset: Dataset):
    """The function (row, caption) -> caption that `wording` asks for; StudioError where it asks for nothing."""
    trigger, noun = str(dataset.about.get("trigger", "")), str(dataset.about.get("class_noun", ""))
    if wording.operation == "replace":
        return _replacer(wording)
    if wording.operation == "trigger":
        return _trigger(trigger)
    if wording.operation == "class_noun":
        return _class_noun(trigger, noun)
    if not wording.text.strip():
        raise StudioError(f"{wording.operation}: type the text first")
    if wording.operation == "template":
        by_template = template(wording.text, known_fields(dataset.rows), trigger)
        return lambda row, caption: caption if caption and not wording.overwrite else by_template(row)
    text = printable(wording.text)
    if wording.operation == "prefix":
        return lambda row, caption: text + ("" if text[-1].isspace() else " ") + caption if caption else text.strip().rstrip(",")
    gap = "" if text[0].isspace() or text.startswith(_NO_SPACE_BEFORE) else " "
    return lambda row, caption: caption + gap + text if caption else text.strip().lstrip(", ")


def _replacer(wording: Wording):
    if not wording.find:
        raise StudioError("find and replace: type what to find first")
    pattern = re.compile(re.escape(wording.find), 0 if wording.match_case else re.IGNORECASE)
    return lambda row, caption: pattern.sub(lambda match: wording.replace, caption)


def _trigger(trigger: str):
    if not trigger:
        raise StudioError("trigger word: type it first, then add it to the captions")
    has = mentions(trigger)

    def rewrite(row: Row, caption: str) -> str:
        if has.search(caption):
            return caption
        return f"{trigger}, {caption}" if caption else trigger

    return rewrite


def _class_noun(trigger: str, noun: str):
    """The noun after the trigger word that it explains, else before everything (DreamBooth, Ruiz 2023)."""
    if not noun:
        raise StudioError("class noun: type it first, then add it to the captions")
    has, known = mentions(noun), mentions(trigger) if trigger else None

    def rewrite(row: Row, caption: str) -> str:
        if not caption or has.search(caption):
            return caption
        if known and known.search(caption):
            return known.sub(lambda match: f"{match.group()} {noun}", caption, count=1)
        return f"{noun}, {caption}"

    return rewrite
