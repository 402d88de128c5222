"""Scenes of any size: GeoTIFF, multi-band TIFF and band files in JPEG 2000, read by windows, stretched, and cut into tiles."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.kinds import suffix_of
from studio.dataset.readers import geo_files as files
from studio.dataset.readers import geo_layers as layers
from studio.dataset.readers import tiles
from studio.dataset.readers.bands import known_name, pick_bands
from studio.dataset.readers.base import Choices, Scan, Set, Take
from studio.dataset.readers.grey import picture, strange_values, to_levels
from studio.errors import StudioError

TITLE = "a GeoTIFF or JPEG 2000 scene"
EXTRA = files.EXTRA
CAPTION = "satellite image[ of {cover}][, {bands}][, {resolution} per pixel][, {date}][, {cloud} cloud cover][, {place}]"
FIELDS = frozenset({"bands", "resolution", "date", "place", "cover", "cloud"})
LIMIT = "max_tiles"
SUBJECT = "s"
COVERS = {  # the classes of ESA WorldCover, told by the values of a band that is named as land cover
    10: "tree cover", 20: "shrubland", 30: "grassland", 40: "cropland", 50: "built-up land", 60: "bare land", 70: "snow and ice",
    80: "water", 90: "wetland", 95: "mangroves", 100: "moss and lichen",
}  # fmt: skip
COVER_SHARE = 0.4  # of a tile that a class must fill to be named
CLOUDS = (8, 9, 10)  # of Sentinel-2's scene classification
_SUFFIXES = {".tif", ".tiff", ".gtif", ".gtiff", ".btf", ".tf8", ""}
_MAGIC = re.compile(rb"II[*+]\0|MM\0[*+]")
_FINER = 4  # times finer than the finest band chosen: the most that pixels are made up


def recognise(name: str, head: bytes) -> bool:
    """Whether this is a TIFF or JPEG 2000 file; `survey` then tells scenes from pictures."""
    return (suffix_of(name) in _SUFFIXES and _MAGIC.match(head) is not None) or head[:8] == files.JP2


def survey(path: Path, salt: str) -> dict[str, Any] | None:
    """What a scene holds; None for an ordinary picture, or one that can be read as such without the extra."""
    if not files.is_scene(path):
        return None
    with files.opened(path) as scene:
        return files.about(path, scene, salt)


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per scene: band files of one name and place together, each band from its finest file."""
    scenes: dict[tuple, list[tuple[Any, dict[str, Any]]]] = {}
    for file, head in surveyed:
        key = (files.scene_folder(file.path), head["stem"], head["crs"]) if head["stem"] else (str(file.path),)
        scenes.setdefault(key, []).append((file, head))
    sets = [_set(members) for group in scenes.values() for members in _of_one_place(group)]
    stems = {head["stem"] for each in sets for head in each.heads} - {""}
    for each in sets:
        shared, kind = files.side_file(each.files[0].path.name) if stems and len(each.files) == 1 else ("", "")
        if kind and any(stem.startswith(shared) for stem in stems):
            each.title, each.aside = f"scene ({kind})", "comes beside the bands of a scene and is none of them"
    return sets


def _of_one_place(group: list[tuple[Any, dict[str, Any]]]) -> list[list[tuple[Any, dict[str, Any]]]]:
    """The members of a group that lie on grids like its finest, together; each other by itself."""
    group = sorted(group, key=lambda each: (-each[1]["width"], _order(each[1]["bands"][0])))
    first = group[0][1]
    together = [each for each in group if each is group[0] or _is_alike(first, each[1])]
    return [together, *([each] for each in group if each not in together)]


def _is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two files show the same ground but for two pixels of the coarser one."""
    way = layers.between(one["grid"], other["grid"])
    if way is None or min(way[0], way[2]) <= 0:
        return False
    ends = (way[1], way[3], way[0] * one["width"] + way[1] - other["width"], way[2] * one["height"] + way[3] - other["height"])
    return max(map(abs, ends)) <= 2 / min(1.0, way[0])


def _order(band: str) -> tuple[int, str]:
    return (int(re.sub(r"\D", "", band) or 99), band)


def _set(members: list[tuple[Any, dict[str, Any]]]) -> Set:
    finest: dict[str, tuple[Any, dict[str, Any]]] = {}
    for file, head in members:  # the finest first
        finest.setdefault(head["bands"][0] if len(members) > 1 else "", (file, head))
    chosen = sorted(finest.values(), key=lambda each: _order(each[1]["bands"][0])) if len(members) > 1 else members
    heads = [head for _, head in chosen]
    first = max(heads, key=lambda head: head["width"])
    names = [name for head in heads for name in head["bands"]]
    kinds = ", ".join(dict.fromkeys(kind for head in heads for kind in head["dtypes"]))
    about = [f"{first['width']}x{first['height']} px", f"{len(names)} {'bands' if len(names) > 1 else 'band'} of {kinds}"]
    about += [_told_metres(first["metres"]) + " per pixel"] if first["metres"] else []
    notes = [f"{len(chosen)} band files as one scene"] if len(chosen) > 1 else []
    notes += [f"{len(members) - len(chosen)} coarser copies of its bands left out"] if len(members) > len(chosen) else []
    notes += ["its complex numbers are shown by their magnitude"] if any(kind.startswith("complex") for kind in first["dtypes"]) else []
    default = Choices()
    return Set(
        reader="geo",
        title="scene",
        about=", ".join(about),
        files=[file for file, _ in chosen],
        heads=heads,
        subject=first["subject"],
        num=len(tiles.grid(first["width"], first["height"], default.tile, default.overlap)),
        choices=("bands", "stretch", "low", "high", "tile", "overlap", "ground", "empty", "skip_empty", "max_tiles", "place"),
        bands=[_told_band(i, head, name) for i, (head, name) in enumerate(_bands(heads), 1)],
        notes=notes,
    )


def _bands(heads: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    return [(head, name) for head in heads for name in head["bands"]]


def _told_band(number: int, head: dict[str, Any], name: str) -> str:
    return f"{number} {name}" + (f" ({_told_metres(head['metres'])})" if head["stem"] and head["metres"] else "")


def _told_metres(metres: float) -> str:
    return f"{metres * 100:.3g} cm" if metres < 1 else f"{metres:.4g} m"


@dataclass(frozen=True)
class Shown:
    """The bands chosen of a scene, over the grid that they share: the finest of theirs, or of the size asked for."""

    bands: list[layers.Layer]
    dtypes: list[str]
    grid: list[float]
    size: tuple[int, int]  # width, height
    metres: float  # per pixel, 0 where not known
    is_coloured: bool  # by a table of colours


def _shown(found: Set, choices: Choices) -> Shown:
    places = [(i, band) for i, head in enumerate(found.heads) for band in range(1, len(head["bands"]) + 1)]
    chosen = [places[number - 1] for number in pick_bands([name for _, name in _bands(found.heads)], choices.bands)]
    first = max((found.heads[i] for i, _ in chosen), key=lambda head: head["width"])
    factor = 1.0
    if choices.ground:
        if not first["metres"]:
            raise StudioError("ground: the size of its pixels in metres is not known: leave it at 0")
        factor = choices.ground / first["metres"]
        if factor < 1 / _FINER:
            raise StudioError(f"ground: its pixels are {_told_metres(first['metres'])}: ask for no less than a {_FINER}th of that")
    grid = layers.scaled(first["grid"], factor)
    return Shown(
        bands=[layers.layer(found.files[i].path, found.heads[i], band, grid) for i, band in chosen],
        dtypes=[found.heads[i]["dtypes"][band - 1] for i, band in chosen],
        grid=grid,
        size=(max(1, int(first["width"] / factor + 1e-6)), max(1, int(first["height"] / factor + 1e-6))),
        metres=first["metres"] * factor,
        is_coloured=len(chosen) == 1 and found.heads[chosen[0][0]]["is_palette"][chosen[0][1] - 1],
    )


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """The bands chosen, once, unless their values are shown as they are."""
    shown = _shown(found, choices)
    if _stretch(shown, choices) == "none":
        return []
    return [(found.files[0], {"measure": [choices.low, choices.high], "layers": shown.bands, "size": shown.size})]


def _stretch(shown: Shown, choices: Choices) -> str:
    if shown.is_coloured or choices.stretch != "auto":
        return "none" if shown.is_coloured else choices.stretch
    return "none" if set(shown.dtypes) == {"uint8"} else "joint"


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """The tiles, at most so many as are asked for; more stand by for those that turn out to be empty."""
    shown, first = _shown(found, choices), found.heads[0]
    names = [each["name"] for each in shown.bands]
    ends, said = _ends(shown, choices, ranges)
    is_choice = len(names) != len(_bands(found.heads))
    facts = {"bands": ", ".join(names) if all(map(known_name, names)) and is_choice else ""}
    facts |= {"resolution": _told_metres(shown.metres) if shown.metres else "", "date": first["date"]}
    facts |= {"place": first["place"] if choices.place else ""}
    facts = {name: value for name, value in facts.items() if value}
    boxes = tiles.grid(*shown.size, choices.tile, choices.overlap, is_apart=choices.blocks)
    ask = {"layers": shown.bands, "range": ends, "said": f"bands {', '.join(names)}; {said}", "empty": choices.empty}
    ask |= {"skip_empty": choices.skip_empty, "is_coloured": shown.is_coloured, "codes": _codes(found, shown.grid)}
    height = shown.size[1]
    return [
        Take(found.files[0], f"scene {found.number} tile {i + 1:05d}", {**ask, "box": boxes[i]}, facts, 10 * boxes[i][1] // height)
        for i in tiles.spread(len(boxes), choices.max_tiles)
    ]


def _codes(found: Set, grid: list[float]) -> dict[str, layers.Layer]:
    """The layers whose codes say what a tile shows: land cover, and Sentinel-2's classification."""
    kinds = {"land cover": "cover", "scl": "cloud"}
    pairs = zip(found.files, found.heads, strict=True)
    named = [(kinds.get(name), file, head, at) for file, head in pairs for at, name in enumerate(head["bands"], 1)]
    return {kind: layers.layer(file.path, head, at, grid) for kind, file, head, at in named if kind}


def _ends(shown: Shown, choices: Choices, ranges: list[list[list[float]]]) -> tuple[list[list[float]], str]:
    """What becomes black and white in each band, and how that is told."""
    how = _stretch(shown, choices)
    if how == "none":
        kind = np.dtype(shown.dtypes[0])
        ends = [float(np.iinfo(kind).min), float(np.iinfo(kind).max)] if kind.kind in "iu" else [0.0, 1.0]
        return [ends], "in the colours of its table" if shown.is_coloured else f"values {ends[0]:g} to {ends[1]:g} shown"
    each, joint = ranges[0][:-1], ranges[0][-1]
    told = f"{choices.low:g} to {choices.high:g} % of its values shown"
    return (each, f"{told}, each band by itself") if how == "each" else ([joint], f"{told} ({joint[0]:g} to {joint[1]:g}), bands alike")


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One tile, or the percentiles of the whole from windows spread over it: of each band, then of all together."""
    if "measure" in ask:
        return Scan(ranges=layers.measure(ask["layers"], ask["size"], ask["measure"]))
    values, is_void = layers.window(ask["layers"], ask["box"])
    table = layers.colours(ask["layers"][0]) if ask["is_coloured"] else None
    if table is not None:
        levels = table[np.clip(values[0], 0, 255).astype(np.uint8)]  # code 0 has its colour, too
    else:
        ends = ask["range"] if len(ask["range"]) == len(values) else ask["range"] * len(values)
        levels = np.stack([to_levels(band, *pair) for band, pair in zip(values, ends, strict=True)], axis=-1)
        levels = levels if len(values) == 3 else levels[..., 0]
        levels[is_void] = 0
    scan = Scan(picture(levels), [ask["said"], *strange_values(values)], facts=_told_codes(ask))
    scan.is_empty = float(is_void.mean()) > ask["empty"] or bool(is_void.all() or (ask["skip_empty"] and levels.min() == levels.max()))
    return scan


def _told_codes(ask: dict[str, Any]) -> dict[str, str]:
    """The land cover that fills most of a tile, where a class does; and how much of it is under clouds."""
    told = {}
    for kind, item in ask["codes"].items():
        values = layers.window([item], ask["box"])[0][0]
        if kind == "cloud":
            told["cloud"] = f"{100 * float(np.isin(values, CLOUDS).mean()):.0f} %"
            continue
        codes, counts = np.unique(values, return_counts=True)
        best = int(counts.argmax())
        name = COVERS.get(int(codes[best]), "") if counts[best] >= COVER_SHARE * values.size else ""
        told |= {"cover": name} if name else {}
    return told
