"""What is written beside the pictures: caption files by stem, and the rows of a `metadata.jsonl` or `metadata.csv` (HF ImageFolder)."""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.dataset.captions import clean, decode, read_caption, read_regular
from studio.dataset.kinds import suffix_of
from studio.dataset.rows import Split
from studio.dataset.sources import CAPTION_SUFFIXES, NAMES, TEXTS, Found, Picture
from studio.errors import printable

MAX_TABLE_BYTES = 64 * 2**20
MAX_LINES_REPORTED = 50  # of one table
MAX_COLUMNS, _MAX_VALUE = 24, 120  # kept of a line, to group pictures by; characters
_OWN = {NAMES[0], TEXTS[0], "split", "repeats"}
_FORMULA = re.compile(r"\s*(?:[=@]|[+-](?:\s*[\w.]+\s*[(!]|.*\|.*!))")  # how spreadsheets tell formulas
_NO_CAPTION = re.compile(
    r"(?i)(?:^|/)(?:read[ _-]?me|licen[cs]e|copying|notice|authors|credits|changelog|classes|labels|tags|prompts?)[^/]*$"
)
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("held_out", "held-out", "validation", "valid", "val", "dev", "eval", "test"), "held_out"),
}


class _Unusable(str):
    """Why a line of a table has no value."""


@dataclass(frozen=True)
class Words:
    """What is said about one picture; None and "" where nothing is."""

    text: str | None = None
    split: Split | None = None
    group: str = ""
    notes: tuple[str, ...] = ()
    repeats: int = 0  # 0 where it is not said how often the picture counts
    columns: dict[str, str] = field(default_factory=dict)


class Captions:
    """Looks up the words of a picture; a `.txt` beside it wins over `metadata.jsonl`."""

    def __init__(self, found: Found) -> None:
        given = found.given_captions
        self._given = {_same(stem): path for stem, path in given.items()} | given
        self._rows: dict[str, Words] = {}
        self._folders: dict[Path, dict[str, str]] = {}
        by_folder = {folder_split(picture.label) for picture in found.pictures}
        self._has_folders = {"train", "held_out"} <= by_folder  # as HF ImageFolder has them; one alone may be called so by chance
        here = {key for picture in found.pictures for key in _keys(picture)}
        for table in found.tables:
            rows = _read_table(table, found)
            lost = [name for name, keys in rows.named if here.isdisjoint(keys)]
            if lost:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                found.skip(table.label, f"names {lost[0]}{more}, which {'are' if more else 'is'} not there")
            twice = [name for name, keys in rows.named if keys[0] in self._rows]
            if twice:
                found.skip(table.label, f"names {twice[0]}, as another table does: what that one says stays ({len(twice)} in all)")
            for key, words in rows.words.items():
                self._rows.setdefault(key, words)

    def of(self, picture: Picture) -> Words:
        """The words of `picture`, with a note on all that could not be used."""
        words = next((self._rows[key] for key in _keys(picture) if key in self._rows), Words())
        if self._has_folders and not words.split:
            words = replace(words, split=folder_split(picture.label))
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
        stems = dict.fromkeys((*_stems(picture), *map(_same, _stems(picture))))
        for name in (stem + suffix for suffix in CAPTION_SUFFIXES for stem in stems):
            if name in names:
                return picture.path.parent / names[name]
        return next((self._given[stem] for stem in stems if picture.was_given and stem in self._given), None)

    def tell_strays(self, found: Found) -> None:
        """Say in `found` which caption files lie beside pictures and belong to none: most often one of the two was renamed."""
        stems: dict[Path | None, set[str]] = {}
        labels: dict[Path, str] = {}
        for picture in found.pictures:
            if not picture.shot:  # notes beside scans may be called after a person
                place = None if picture.was_given else picture.path.parent
                stems.setdefault(place, set()).update(map(_same, _stems(picture)))
                labels.setdefault(picture.path.parent, picture.label[: len(picture.label) - len(picture.label.rpartition("/")[2])])
        strays = [path.name for stem, path in found.given_captions.items() if _same(stem) not in stems.get(None, set())]
        for place in stems.keys() - {None}:
            names = dict.fromkeys(self._names(place).values())
            strays += [labels[place] + name for name in names if _same(os.path.splitext(name)[0]) not in stems[place]]
        strays = sorted(name for name in strays if not _NO_CAPTION.search(name))
        if stems and strays:
            more = f" and {len(strays) - 1} more captions belong" if len(strays) > 1 else "belongs"
            found.skip(strays[0], f"{more} to no picture: a picture and its caption have the same name".strip())

    def _names(self, folder: Path) -> dict[str, str]:
        """The caption files of a folder by comparable name: `IMG.TXT` and a decomposed accent find their picture."""
        if folder not in self._folders:
            try:
                parts = [os.path.splitext(name) for name in os.listdir(folder)]
            except OSError:
                parts = []
            named = [(stem, end.casefold(), stem + end) for stem, end in parts if end.casefold() in CAPTION_SUFFIXES]
            alike = {_same(stem) + end: name for stem, end, name in named}
            self._folders[folder] = alike | {stem + end: name for stem, end, name in named}
        return self._folders[folder]


def _stems(picture: Picture) -> tuple[str, str]:
    """What the caption file of a picture may be called before its suffix."""
    return picture.path.stem, picture.path.name


def folder_split(label: str) -> Split | None:
    """The part of a dataset that the outermost of a picture's folders so called names; None where none does."""
    return next((_SPLITS[part.casefold()] for part in label.split("/")[:-1] if part.casefold() in _SPLITS), None)


class _Table:
    """The rows of one table, under every key by which a picture may ask; `named` lists the names as they were written."""

    def __init__(self, table: Picture) -> None:
        self._table = table
        self._exact: set[str] = set()
        self.words: dict[str, Words] = {}
        self.named: list[tuple[str, list[str]]] = []

    def add(self, name: str, words: Words) -> bool:
        """Keep `words` for the picture `name`; False where the table named it before."""
        keys = _keys(replace(self._table, path=self._table.path.parent / name))
        if keys[0] in self._exact:
            return False
        self._exact.add(keys[0])
        self.words[keys[0]] = words
        for key in keys[1:]:
            self.words.setdefault(key, words)
        self.named.append((printable(name), keys))
        return True


def _same(name: str) -> str:
    """`name` with its accents composed, as most systems write them."""
    return unicodedata.normalize("NFC", name)


def _keys(picture: Picture) -> list[str]:
    """What a picture is looked up by: its path, exactly and composed; its name alone where it and the table were given."""
    exact = os.path.normpath(picture.path)
    names = [picture.path.name, _same(picture.path.name)] if picture.was_given else []
    return [exact, _same(exact), *names]


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
    text = decode(data[:MAX_TABLE_BYTES])
    for number, value in _csv_lines(text) if suffix_of(table.path.name) == ".csv" else _json_lines(text):
        problem = str(value) if isinstance(value, _Unusable) else _add_entry(value, rows)
        if problem:
            problems.append(f"line {number} {problem}")
    if data and not problems and not rows.named:
        problems.append("holds no line that can be used: each names a picture (file_name) and says its caption (text)")
    for problem in problems[:MAX_LINES_REPORTED]:
        found.skip(table.label, problem)
    if len(problems) > MAX_LINES_REPORTED:
        found.skip(table.label, f"has {len(problems) - MAX_LINES_REPORTED} more lines that cannot be used")
    return rows


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """(line number, its value, or an _Unusable that says why it has none) of JSON lines."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, _Unusable("is not JSON")


def _csv_lines(text: str) -> Iterator[tuple[int, Any]]:
    """The same of a CSV table with a line of names first; a formula of a spreadsheet is no caption."""
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)  # spreadsheets write semicolons where the comma is the decimal mark
    lines = csv.DictReader(io.StringIO(text, newline=""), restkey="", delimiter=delimiter)
    try:
        for value in lines:
            value = {_plain(name): cell for name, cell in value.items() if name}
            formulas = [name for name in (*TEXTS, *NAMES) if _FORMULA.match(str(value.get(name) or ""))]
            filled = {name: cell for name, cell in value.items() if isinstance(cell, str) and (cell or name == "text")}
            yield lines.line_num, _Unusable(f"holds a formula in {formulas[0]!r}, which was left out") if formulas else filled
        if text.count('"') % 2:
            yield lines.line_num, _Unusable("ends within quotes: a caption before it may have swallowed lines")
    except csv.Error as error:
        yield lines.line_num, _Unusable(f"cannot be read ({error}): the rest was left out")


def _plain(name: str) -> str:
    """A column's name; in small letters where it is one of ours."""
    return name.strip().casefold() if name.strip().casefold() in {*NAMES, *TEXTS, *_OWN} else name.strip()


def _add_entry(value: Any, rows: _Table) -> str | None:
    """Add one line to `rows`; its problem, if it has one."""
    if not isinstance(value, dict):
        return "is not a JSON object"
    name = next((value[key] for key in NAMES if isinstance(value.get(key), str) and value[key]), "")
    if not name or "\0" in name:
        return 'has no "file_name"'
    words, problem = words_of({key: each for key, each in value.items() if each != name or key not in NAMES})
    if not rows.add(name, words):
        return f"names {printable(name)} a second time: the first stays"
    return problem


def words_of(value: dict[str, Any]) -> tuple[Words, str | None]:
    """What a line of a table, by its columns, says of its picture; and what is wrong with it."""
    notes, problem, columns = [], None, _columns(value)
    said = {key: each for key in TEXTS if (each := _strings(value.get(key))) is not None}
    key = next((key for key, each in said.items() if any(each)), next(iter(said), ""))
    text = next(filter(None, said[key]), "") if key else None
    columns.pop(key, None)
    if text is not None:
        notes += [f"the first of its {len(said[key])} captions was taken"] if len(said[key]) > 1 else []
        text, note = clean(text)
        notes += [note] if note else []
    elif value.get("text") is not None:
        problem = 'has a "text" that is not a string'
    elif not columns:  # else it is a table of columns, which templates and the split use
        problem = "has no text"
    split = value.get("split")
    if split is not None and _SPLITS.get(str(split).casefold()) is None:
        notes.append(f"its split {printable(str(split))[:40]!r} is not known and was ignored")
    group = value.get("group")
    group = printable(str(group)).strip()[:120] if isinstance(group, str | int) else ""
    repeats = str(value.get("repeats", ""))
    repeats = int(repeats) if re.fullmatch(r"[1-9]\d{0,2}", repeats) else 0
    return Words(text, _SPLITS.get(str(split).casefold()), group, tuple(notes), repeats, columns), problem


def _strings(value: Any) -> list[str] | None:
    """A string, or a list of them, as a list; None for all else."""
    value = [value] if isinstance(value, str) else value
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def _columns(value: dict[str, Any]) -> dict[str, str]:
    """The short plain values of a line, by name, but for those that have their own place."""
    others = {key: each for key, each in value.items() if key not in _OWN and isinstance(each, str | int | float)}
    found = {printable(key).strip()[:_MAX_VALUE]: printable(str(each)).strip() for key, each in list(others.items())[:MAX_COLUMNS]}
    return {key: each for key, each in found.items() if key and each and len(each) <= _MAX_VALUE}
