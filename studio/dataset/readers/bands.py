"""Names of the bands of a scene: those on a list alone, since descriptions are free text; and which bands are shown."""

import re
from collections.abc import Sequence
from typing import Any

from studio.errors import StudioError, printable

_COLOURS = ("red", "green", "blue")
_PLAIN = {
    "red", "green", "blue", "nir", "coastal", "pan", "thermal", "cirrus", "aerosol", "yellow", "alpha",
    "elevation", "ndvi", "ndwi", "slope", "height", "water vapour", "cloud", "scl",
}  # fmt: skip
_ALIKE = {
    "near infrared": "nir", "near-infrared": "nir", "infrared": "nir", "panchromatic": "pan", "dem": "elevation", "dsm": "elevation",
    "land cover": "land cover", "landcover": "land cover", "land_cover": "land cover", "worldcover": "land cover", "cover": "land cover",
    "gray": "grey", "grey": "grey", "r": "red", "g": "green", "b": "blue",
    "vv": "VV", "vh": "VH", "hh": "HH", "hv": "HV",
}  # fmt: skip
_NUMBERED = re.compile(r"(?:band|b)[ _-]?0*(\d{1,2})(a?)|(swir|red ?edge|vnir|tir)[ _-]?(\d{0,2})")
_SENTINEL = {"B4": "red", "B3": "green", "B2": "blue"}


def names_of(scene: Any) -> list[str]:
    """A name for each band of a raster: as described where that is on the list, else by its colour, else by its number."""
    colours = [getattr(colour, "name", "") for colour in scene.colorinterp]
    return [
        name_of(description) or (colour if colour in (*_COLOURS, "alpha") and scene.count > 1 else "") or f"band {i}"
        for i, (description, colour) in enumerate(zip(scene.descriptions, colours, strict=True), 1)
    ]


def name_of(description: str | None) -> str:
    """The listed name that a description or a part of a file name stands for, "" where it is none."""
    text = " ".join(str(description or "").split()).casefold()
    if text in _PLAIN or text in _ALIKE:
        return _ALIKE.get(text, text)
    found = _NUMBERED.fullmatch(text)
    if not found:
        return ""
    return f"B{int(found[1])}{found[2].upper()}" if found[1] else f"{found[3]} {found[4]}".strip()


def known_name(name: str) -> bool:
    """Whether a band has a name that says more than its number."""
    return not name.startswith("band ")


def pick_bands(names: Sequence[str], wanted: str) -> list[int]:
    """The bands to show, one or three, counted from 1: those `wanted`, by number or name, else red, green and blue, else the first.

    StudioError where one of them is not there.
    """
    if wanted.strip():
        words = [word.strip() for word in wanted.split(",")]
        chosen = [_find(names, word) for word in words if word]
        if len(chosen) not in {1, 3}:
            raise StudioError(f"bands: name one or three of them, such as 4,3,2 (are {len(chosen)})")
        return chosen
    colours = [[i for i, name in enumerate(names, 1) if colour in {name, _SENTINEL.get(name)}] for colour in _COLOURS]
    if all(colours):
        return [places[0] for places in colours]
    return [1, 2, 3] if len(names) >= 3 else [1]


def _find(names: Sequence[str], word: str) -> int:
    if word.isdecimal() and 1 <= int(word) <= len(names):
        return int(word)
    wanted = {word.casefold(), name_of(word).casefold()} - {""}
    for i, name in enumerate(names, 1):
        if name.casefold() in wanted or (_SENTINEL.get(name) in wanted):
            return i
    there = ", ".join(f"{i} {name}" for i, name in enumerate(names, 1))
    raise StudioError(f"bands: there is no band {printable(word)[:40]!r}: there are {there}")
