"""What is written beside the pictures: caption files by stem, and the rows of a `metadata.jsonl` (HF ImageFolder)."""

import json
import os
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio.dataset.captions import clean, decode, read_caption, read_regular
from studio.dataset.rows import Split
from studio.dataset.sources import CAPTION_SUFFIXES, Found, Picture
from studio.errors import printable

MAX_TABLE_BYTES = 64 * 2**20
MAX_LINES_REPORTED = 50  # of one table
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("held_out", "held-out", "validation", "valid", "val", "dev", "eval", "test"), "held_out"),
}


@dataclass(frozen=True)
class Words:
    """What is said about one picture; None and "" where nothing is."""

    text: str | None = None
    split: Split | None = None
    group: str = ""
    notes: tuple[str, ...] = ()


class Captions:
    """Looks up the words of a picture; a `.txt` beside it wins over `metadata.jsonl`."""

    def __init__(self, found: Found) -> None:
        self._given = {_same(stem): path for stem, path in found.given_captions.items()}
        self._rows: dict[str, Words] = {}
        self._folders: dict[Path, dict[str, str]] = {}
        here = {key for picture in found.pictures for key in _keys(picture)}
        for table in found.tables:
            rows = _read_table(table, found)
            lost = [name for key, name in rows.names.items() if not here & {key, rows.flat_key(name)}]
            if lost:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                found.skip(table.label, f"names {lost[0]}{more}, which is not there")
            for key, words in rows.words.items():
                self._rows.setdefault(key, words)

    def of(self, picture: Picture) -> Words:
        """The words of `picture`, with a note on all that could not be used."""
        words = next((self._rows[key] for key in _keys(picture) if key in self._rows), Words())
        path = self._beside(picture)
        if path is None:
            return words
        try:
            text, note = read_caption(path)
        except OSError:
            return replace(words, notes=(*words.notes, f"its caption file {printable(path.name)} cannot be read"))
        return replace(words, text=text, notes=(*words.notes, note) if note else words.notes)

    def _beside(self, picture: Picture) -> Path | None:
        names = self._names(picture.path.parent)
        for suffix in CAPTION_SUFFIXES:
            name = names.get(_same(picture.path.stem) + suffix)
            if name is not None:
                return picture.path.parent / name
        return self._given.get(_same(picture.path.stem)) if picture.was_given else None

    def _names(self, folder: Path) -> dict[str, str]:
        """The caption files of a folder by comparable name: `IMG.TXT` and a decomposed accent find their picture."""
        if folder not in self._folders:
            try:
                parts = [os.path.splitext(name) for name in os.listdir(folder)]
            except OSError:
                parts = []
            self._folders[folder] = {_same(stem) + end.casefold(): stem + end for stem, end in parts if end.casefold() in CAPTION_SUFFIXES}
        return self._folders[folder]


class _Table:
    """The rows of one table by comparable path; `names` keeps each path as it was written."""

    def __init__(self, table: Picture) -> None:
        self._table = table
        self.words: dict[str, Words] = {}
        self.names: dict[str, str] = {}

    def flat_key(self, name: str) -> str:
        """The key of a picture that was given directly, as was the table: by its name alone."""
        return _same(os.path.basename(name)) if self._table.was_given else ""

    def add(self, name: str, words: Words) -> bool:
        """Keep `words` for the picture `name`; False where the table named it before."""
        key = _same(os.path.normpath(self._table.path.parent / name))
        if key in self.words:
            return False
        self.words[key] = words
        self.names[key] = printable(name)
        if self._table.was_given:
            self.words.setdefault(self.flat_key(name), words)
        return True


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _keys(picture: Picture) -> list[str]:
    key = _same(os.path.normpath(picture.path))
    return [key, _same(picture.path.name)] if picture.was_given else [key]


def _read_table(table: Picture, found: Found) -> _Table:
    rows = _Table(table)
    problems = []
    try:
        data = read_regular(table.path, MAX_TABLE_BYTES + 1)
    except OSError:
        found.skip(table.label, "cannot be read")
        return rows
    if len(data) > MAX_TABLE_BYTES:
        problems.append(f"is larger than {MAX_TABLE_BYTES >> 20} MiB: the rest was not read")
    for number, line in enumerate(decode(data[:MAX_TABLE_BYTES]).split("\n"), 1):
        problem = _read_line(line, rows) if line.strip() else None
        if problem:
            problems.append(f"line {number} {problem}")
    for problem in problems[:MAX_LINES_REPORTED]:
        found.skip(table.label, problem)
    if len(problems) > MAX_LINES_REPORTED:
        found.skip(table.label, f"has {len(problems) - MAX_LINES_REPORTED} more lines that cannot be used")
    return rows


def _read_line(line: str, rows: _Table) -> str | None:
    """Add one line to `rows`; its problem, if it has one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(value, dict):
        return "is not a JSON object"
    name = value.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        return 'has no "file_name"'
    words, problem = _words(value)
    if not rows.add(name, words):
        return f"names {printable(name)} a second time: the first stays"
    return problem


def _words(value: dict[str, Any]) -> tuple[Words, str | None]:
    notes, problem = [], None
    text = value.get("text")
    if isinstance(text, str):
        text, note = clean(text)
        notes += [note] if note else []
    else:
        others = [key for key in ("caption", "prompt") if isinstance(value.get(key), str)]
        has = f": rename {others[0]!r} to 'text'" if others else ""
        problem = f"has no text{has}" if text is None else 'has a "text" that is not a string'
        text = None
    split = value.get("split")
    if split is not None and _SPLITS.get(str(split).casefold()) is None:
        notes.append(f"its split {printable(str(split))[:40]!r} is not known and was ignored")
    group = value.get("group")
    group = printable(str(group)).strip()[:120] if isinstance(group, str | int) else ""
    return Words(text, _SPLITS.get(str(split).casefold()), group, tuple(notes)), problem
