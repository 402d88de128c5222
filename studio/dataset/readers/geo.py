"""GeoTIFF and other multi-band TIFF: scenes of any size, read by windows, stretched, and cut into tiles."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import TiffImagePlugin

from studio import extras
from studio.dataset.kinds import suffix_of
from studio.dataset.pixels import MAX_PIXELS, Unreadable
from studio.dataset.readers import tiles
from studio.dataset.readers.bands import known_name, names_of, pick_bands
from studio.dataset.readers.base import Choices, Scan, Set, Take
from studio.dataset.readers.grey import percentiles, picture, strange_values, to_levels

TITLE = "a GeoTIFF scene"
EXTRA = "geo"
CAPTION = "satellite image[ of {cover}][, {bands}][, {resolution} per pixel][, {date}][, {place}]"
FIELDS = frozenset({"bands", "resolution", "date", "place", "cover"})
LIMIT = "max_tiles"
SUBJECT = "s"
COVERS = {  # the classes of ESA WorldCover, told by the values of a band that is named as land cover
    10: "tree cover", 20: "shrubland", 30: "grassland", 40: "cropland", 50: "built-up land", 60: "bare land", 70: "snow and ice",
    80: "water", 90: "wetland", 95: "mangroves", 100: "moss and lichen",
}  # fmt: skip
COVER_SHARE = 0.4  # of a tile that a class must fill to be named
NUM_MEASURED, MEASURED_PX = 24, 256  # windows from which percentiles are taken
_SUFFIXES = {".tif", ".tiff", ".gtif", ".gtiff", ".btf", ".tf8", ""}
_MAGIC = re.compile(rb"II[*+]\0|MM\0[*+]")
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _GEO = 256, 257, 258, 277, {33550, 33922, 34264, 34735}
_CACHE_MB = 64


def recognise(name: str, head: bytes) -> bool:
    """Whether this is a TIFF file; `survey` then tells scenes from pictures."""
    return suffix_of(name) in _SUFFIXES and _MAGIC.match(head) is not None


def survey(path: Path, salt: str) -> dict[str, Any] | None:
    """Size, bands, place and date of a scene; None for a TIFF that is an ordinary picture, or can be read as one without the extra."""
    tags = _tags(path)
    samples, bits = tags.get(_SAMPLES, 1), max(tags.get(_BITS, (8,)))
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    is_plain = bits <= 8 and samples in {1, 3, 4} and width * height <= MAX_PIXELS
    if not (_GEO & set(tags) or samples in {2} or samples > 4 or (samples > 1 and bits > 16) or width * height > MAX_PIXELS):
        return None
    if is_plain and not extras.installed(EXTRA):
        return None
    with _open(path) as scene:
        if scene.dtypes[0].startswith("complex"):
            raise Unreadable("is a scene of complex numbers: export their magnitude")
        key = hashlib.blake2b(str(path).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
        return {
            "subject": key.hexdigest(),
            "width": scene.width,
            "height": scene.height,
            "dtype": scene.dtypes[0],
            "bands": names_of(scene),
            "resolution": _resolution(scene),
            "date": _date(scene),
            "place": _place(scene),
        }


def _tags(path: Path) -> dict[int, Any]:
    """The tags of the first directory of a TIFF file; nothing is decoded."""
    with open(path, "rb") as file:
        head = file.read(8)
        head += file.read(8) if head[2:3] == b"+" or head[3:4] == b"+" else b""
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The raster in `path`, by the GeoTIFF driver alone and without the files beside it."""
    rasterio = extras.need(EXTRA)
    quiet = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": _CACHE_MB}
    try:
        with rasterio.Env(**quiet), rasterio.open(path, driver="GTiff") as scene:
            yield scene
    except rasterio.errors.RasterioError as error:
        cut = re.search("read|short|unexpected|past end", str(error), re.IGNORECASE)
        what = "is cut short or damaged: copy or download it again" if cut else f"is a damaged scene ({type(error).__name__})"
        raise Unreadable(what) from None


def _resolution(scene: Any) -> str:
    """The side of a pixel on the ground, in words; "" where it is not known in metres."""
    if scene.crs is None or not scene.crs.is_projected or str(scene.crs.linear_units).casefold() not in {"metre", "meter", "m"}:
        return ""
    size = abs(scene.res[0])
    return f"{size * 100:.3g} cm" if size < 1 else f"{size:.3g} m"


def _date(scene: Any) -> str:
    """The date in its tags, such as 2021-06-30; "" where none has that form."""
    tags = scene.tags()
    for name in ("ACQUISITION_DATE", "DATE_ACQUIRED", "SENSING_DATE", "PRODUCT_START_TIME", "TIFFTAG_DATETIME"):
        found = re.match(r"(\d{4})[-:](\d{2})[-:](\d{2})", str(tags.get(name, "")))
        if found:
            return "-".join(found.groups())
    return ""


def _place(scene: Any) -> str:
    """Its centre, rounded to a tenth of a degree; "" where it is not known."""
    if scene.crs is None:
        return ""
    from rasterio.warp import transform

    x, y = scene.xy(scene.height // 2, scene.width // 2)
    try:
        (longitude,), (latitude,) = transform(scene.crs, "EPSG:4326", [x], [y])
    except Exception:
        return ""
    if not (abs(latitude) <= 90 and abs(longitude) <= 360):
        return ""
    return f"{abs(latitude):.1f}°{'N' if latitude >= 0 else 'S'} {abs(longitude):.1f}°{'E' if longitude >= 0 else 'W'}"


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per scene."""
    return [_set(file, head) for file, head in surveyed]


def _set(file: Any, head: dict[str, Any]) -> Set:
    names = head["bands"]
    about = [f"{head['width']}x{head['height']} px", f"{len(names)} {'bands' if len(names) > 1 else 'band'} of {head['dtype']}"]
    about += [head["resolution"] + " per pixel"] if head["resolution"] else []
    default = Choices()
    return Set(
        reader="geo",
        title="scene",
        about=", ".join(about),
        files=[file],
        heads=[head],
        subject=head["subject"],
        num=len(tiles.grid(head["width"], head["height"], default.tile, default.overlap)),
        choices=("bands", "stretch", "low", "high", "tile", "overlap", "empty", "max_tiles", "place"),
        bands=[f"{i} {name}" for i, name in enumerate(names, 1)],
    )


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """The bands chosen, once, unless their values are shown as they are."""
    head = found.heads[0]
    if _stretch(head, choices) == "none":
        return []
    return [(found.files[0], {"measure": [choices.low, choices.high], "bands": pick_bands(head["bands"], choices.bands)})]


def _stretch(head: dict[str, Any], choices: Choices) -> str:
    return choices.stretch if choices.stretch != "auto" else "none" if head["dtype"] == "uint8" else "joint"


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """The tiles, at most so many as are asked for; more stand by for those that turn out to be empty."""
    head = found.heads[0]
    chosen = pick_bands(head["bands"], choices.bands)
    names = [head["bands"][i - 1] for i in chosen]
    shown, said = _shown(head, choices, ranges)
    facts = {"bands": ", ".join(names) if all(map(known_name, names)) and len(names) != len(head["bands"]) else ""}
    facts |= {"resolution": head["resolution"], "date": head["date"], "place": head["place"] if choices.place else ""}
    facts = {name: value for name, value in facts.items() if value}
    cover = next((i for i, name in enumerate(head["bands"], 1) if name == "land cover"), 0)
    boxes = tiles.grid(head["width"], head["height"], choices.tile, choices.overlap, is_apart=choices.blocks)
    ask = {"bands": chosen, "range": shown, "said": f"bands {', '.join(names)}; {said}", "empty": choices.empty, "cover": cover}
    return [
        Take(found.files[0], f"scene {found.number} tile {i + 1:05d}", {**ask, "box": boxes[i]}, facts, 10 * boxes[i][1] // head["height"])
        for i in tiles.spread(len(boxes), choices.max_tiles)
    ]


def _shown(head: dict[str, Any], choices: Choices, ranges: list[list[list[float]]]) -> tuple[list[list[float]], str]:
    """What becomes black and white in each band, and how that is told."""
    how = _stretch(head, choices)
    if how == "none":
        kind = np.dtype(head["dtype"])
        ends = [0.0, 1.0] if kind.kind == "f" else [float(np.iinfo(kind).min), float(np.iinfo(kind).max)]
        return [ends], f"values {ends[0]:g} to {ends[1]:g} shown"
    each, joint = ranges[0][:-1], ranges[0][-1]
    told = f"{choices.low:g} to {choices.high:g} % of its values shown"
    return (each, f"{told}, each band by itself") if how == "each" else ([joint], f"{told} ({joint[0]:g} to {joint[1]:g}), bands alike")


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One tile, or the percentiles of the whole from windows spread over it: of each band, then of all together."""
    with _open(path) as scene:
        if "measure" in ask:
            return Scan(ranges=_measure(scene, ask))
        values, is_void = _window(scene, ask["bands"], ask["box"])
        cover = _cover(scene, ask) if ask["cover"] else {}
    ends = ask["range"] if len(ask["range"]) == len(values) else ask["range"] * len(values)
    levels = np.stack([to_levels(band, *pair) for band, pair in zip(values, ends, strict=True)], axis=-1)
    levels[is_void] = 0
    scan = Scan(picture(levels if len(values) == 3 else levels[..., 0]), [ask["said"], *strange_values(values)], facts=cover)
    scan.is_empty = float(is_void.mean()) > ask["empty"] or bool(is_void.all())
    return scan


def _window(scene: Any, bands: list[int], box: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(values [B, H, W], where nothing was measured [H, W]) of a box (left, top, width, height)."""
    from rasterio.windows import Window

    values = scene.read(bands, window=Window(*box), masked=True)
    is_void = np.ma.getmaskarray(values).all(axis=0) | ~np.isfinite(values.data).all(axis=0)
    if scene.nodata is None:
        is_void |= (values.data == 0).all(axis=0)  # the customary filling around a scene
    return values.data, is_void


def _measure(scene: Any, ask: dict[str, Any]) -> list[list[float]]:
    boxes = tiles.grid(scene.width, scene.height, MEASURED_PX, 0.0)
    found = []
    for i in tiles.spread(len(boxes), NUM_MEASURED)[: 4 * NUM_MEASURED]:
        values, is_void = _window(scene, ask["bands"], boxes[i])
        if not is_void.all():
            found.append(values[:, ~is_void])
        if len(found) == NUM_MEASURED:
            break
    if not found:
        raise Unreadable("is a scene without data in the bands chosen: choose others")
    sample = np.concatenate(found, axis=1)
    return [percentiles(values, *ask["measure"]) for values in (*sample, sample)]


def _cover(scene: Any, ask: dict[str, Any]) -> dict[str, str]:
    """The land cover that fills most of a tile, where a class does."""
    values = _window(scene, [ask["cover"]], ask["box"])[0][0]
    codes, counts = np.unique(values, return_counts=True)
    best = int(counts.argmax())
    name = COVERS.get(int(codes[best]), "") if counts[best] >= COVER_SHARE * values.size else ""
    return {"cover": name} if name else {}
