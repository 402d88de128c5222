"""What kinds of pictures there are, and which changes of them, as augmentation, leave their meaning alone; found by name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from studio.errors import StudioError, printable


@dataclass(frozen=True)
class Domain:
    """A kind of pictures; `data` are the settings of a run's data that suit it, where the person says nothing else."""

    title: str
    why: str
    data: dict[str, Any] = field(default_factory=dict)


DOMAINS = {
    "medical": Domain("Medical pictures", "left and right, up and down have a meaning, and so has brightness: nothing is changed"),
    "microscopy": Domain("Microscopy", "a slide has no up and no left: turned and mirrored", {"flip": True, "turns": True}),
    "satellite": Domain("Satellite and aerial", "from above, no north that matters: turned and mirrored", {"flip": True, "turns": True}),
    "map": Domain("Maps, north up", "north is up and names are written: nothing is changed"),
    "texture": Domain("Textures and materials", "no up and no left: turned and mirrored", {"flip": True, "turns": True}),
    "photographs": Domain("Photographs", "mirrored, a scene is as good; its colours may shift a little", {"flip": True, "colour": 0.05}),
    "artwork": Domain("Artwork of one style", "mirrored, a style is the same; its colours belong to it", {"flip": True}),
    "icons": Domain("Icons and logos", "arrows point and letters are read: nothing is changed"),
    "text": Domain("Writing, screens, charts", "mirrored, it cannot be read: nothing is changed"),
    "subject": Domain("One person or thing", "its left and right differ: nothing is changed"),
}  # fmt: skip


_SIDES = re.compile(r"\b(left|right|leftmost|rightmost|leftward|rightward|(?:anti-?|counter-?)?clockwise)\b", re.IGNORECASE)
_PLACES = re.compile(r"\b(top|bottom|upper|lower|above|below|upright|upside|horizontal|vertical|north|south|east|west)\b", re.IGNORECASE)


def contradicted(captions: Iterable[str], flip: bool, turns: bool) -> str:
    """What mirrored or turned versions of pictures would make untrue in their captions, in a sentence; "" where nothing is found."""
    told = [
        set(map(str.lower, [*(_SIDES.findall(text) if flip or turns else ()), *(_PLACES.findall(text) if turns else ())]))
        for text in captions
    ]
    num, words = sum(map(bool, told)), sorted(set().union(*told))
    if not num:
        return ""
    named = f"{num:,} captions name" if num > 1 else "1 caption names"
    change, setting = ("turned", "Quarter turns") if turns else ("mirrored", "Mirror")
    few = ", ".join(words[:4])
    return f"{named} a side ({few}), which is not true of {change} pictures: switch {setting} off, or leave sides out of the captions"


def find_domain(name: str) -> Domain:
    """The kind of pictures with this name; StudioError naming the known ones."""
    if name not in DOMAINS:
        raise StudioError(f"domain {printable(name)[:60]!r}: no such kind of pictures; there are {', '.join(DOMAINS)}")
    return DOMAINS[name]


def defaults(about: dict[str, Any]) -> dict[str, Any]:
    """The data settings that suit a dataset, by what is known about it; empty where its kind is not known."""
    found = DOMAINS.get(str(about.get("domain", "")))
    return dict(found.data) if found else {}
