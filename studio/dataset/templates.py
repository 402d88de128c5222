"""Captions by a template: the trigger word, the file's name in words, and what is known of each picture: its facts and columns."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from studio.dataset.captions import clean
from studio.dataset.facts import check_partners, fill, synonyms, value_of
from studio.dataset.rows import Row
from studio.errors import StudioError, printable

OWN = ("trigger", "name")
FOLDER = "folder"  # may always be named, for pictures that lie in none among them
MAX_TOLD = 12  # fields named in an error
_NAME = re.compile(r"\W+")
_FIELD = re.compile(r"\{([^{}]*)\}")
_PART = re.compile(rf"\{{\{{|\}}\}}|{_FIELD.pattern}")
_OPTIONAL = re.compile(r"\[[^\[\]]*\]")  # left out where a field of it is missing
_LOOSE = re.compile(r"\s*,(?:\s*,)+|\s+,")  # what a missing field leaves behind
_BRACES = {"{{": "\x01", "}}": "\x02"}  # doubled they are text; no caption has these characters


def known_fields(rows: Sequence[Row]) -> list[str]:
    """What templates may name: trigger and name, then what any picture has, in the order of the alphabet."""
    return [*OWN, *sorted({name for row in rows for name in _given(row)} - set(OWN))]


def _given(row: Row) -> dict[str, str]:
    """What is known of a picture, by names that a template can write; its table knows better than its reader."""
    return {_field_name(name): str(value) for name, value in (row.facts | row.columns).items()}


def _field_name(name: str) -> str:
    """A name as templates write it: "Body Part" is body_part."""
    return _NAME.sub("_", unicodedata.normalize("NFC", name).strip()).strip("_").casefold()


def _read(text: str) -> str:
    """A template with its fields by their names, and braces that are text set aside."""

    def part(match: re.Match) -> str:
        return _BRACES.get(match[0]) or (f"{{{_field_name(match[1])}}}" if _field_name(match[1]) else match[0])

    return _PART.sub(part, clean(text)[0])


def check(text: str, known: Sequence[str], trigger: str) -> None:
    """StudioError in one line where `text` is no template for pictures with these fields."""
    if not text.strip():
        raise StudioError("template: type the text first, as {name}")
    read, known_names = _read(text), {*known, *synonyms(known), FOLDER}
    written = [match[1] for match in _PART.finditer(clean(text)[0]) if match[0] not in _BRACES]
    strange = [name for name in written if _field_name(name) not in known_names]
    if strange:
        told = ", ".join(f"{{{name}}}" for name in known[:MAX_TOLD]) + (" …" if len(known) > MAX_TOLD else "")
        raise StudioError(f"template: {{{printable(min(strange))[:40]}}} is not known: use {told}")
    check_partners(read, "template", ", {{ or }} for a brace that is text")
    if "{trigger}" in _OPTIONAL.sub("", read) and not trigger:
        raise StudioError("template: it names {trigger}, but there is no trigger word yet: type one first")


def template(text: str, known: Sequence[str], trigger: str) -> Callable[[Row], str]:
    """The function from a picture to its caption; StudioError where `text` names what no picture has.

    A part in [brackets] is left out where one of its fields is missing; the caption is empty where nothing that it names is known.
    """
    check(text, known, trigger)
    read = _read(text)
    named = set(_FIELD.findall(read)) - {"trigger"}

    def write(row: Row) -> str:
        given = {**_given(row), "trigger": trigger, "name": in_words(row.source)}
        if named and not any(value_of(given, name).strip() for name in named):
            return ""
        filled = fill(read, given)
        for doubled, mark in _BRACES.items():
            filled = filled.replace(mark, doubled[0])
        return _LOOSE.sub(",", filled).strip(" ,;")

    return write


def in_words(source: str) -> str:
    """The name of a file in words: "axial_t1-012.png" is "axial t1"."""
    words = re.sub(r"[\W_]+", " ", Path(source).stem).split()
    return " ".join(word for word in words if not word.isdigit())
