"""Captions by a template: the trigger word, the file's name in words, and what is known of each picture: its facts and columns."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from studio.dataset.facts import fill
from studio.dataset.rows import Row
from studio.errors import StudioError, printable

OWN = ("trigger", "name")
MAX_TOLD = 12  # fields named in an error
_NAME = re.compile(r"\W+")
_FIELD = re.compile(r"\{[^{}]*\}")
_LOOSE = re.compile(r"\s*,(?:\s*,)+|\s+,")  # what a missing field leaves behind


def known_fields(rows: Sequence[Row]) -> list[str]:
    """What templates may name: trigger and name, then what any picture has, in the order of the alphabet."""
    return [*OWN, *sorted({name for row in rows for name in _given(row)} - set(OWN))]


def _given(row: Row) -> dict[str, str]:
    """What is known of a picture, by names that a template can write: "Body Part" is body_part; its table knows better than its reader."""
    return {_NAME.sub("_", name.strip()).strip("_").casefold(): str(value) for name, value in (row.facts | row.columns).items()}


def template(text: str, rows: Sequence[Row], trigger: str) -> Callable[[Row], str]:
    """The function from a picture to its caption; StudioError where `text` names what no picture has.

    A part in [brackets] is left out where one of its fields is missing.
    """
    known = known_fields(rows)
    strange = set(_FIELD.findall(text)) - {f"{{{name}}}" for name in known}
    if strange:
        told = ", ".join(f"{{{name}}}" for name in known[:MAX_TOLD])
        raise StudioError(f"template: {printable(min(strange))[:40]} is not known: use {told}")
    if "{trigger}" in text and not trigger:
        raise StudioError("template: it names {trigger}, but there is no trigger word yet: type one first")
    return lambda row: _LOOSE.sub(",", fill(text, {**_given(row), "trigger": trigger, "name": in_words(row.source)})).strip(" ,;")


def in_words(source: str) -> str:
    """The name of a file in words: "axial_t1-012.png" is "axial t1"."""
    words = re.sub(r"[\W_]+", " ", Path(source).stem).split()
    return " ".join(word for word in words if not word.isdigit())
