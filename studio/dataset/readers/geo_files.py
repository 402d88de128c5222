"""Raster files (GeoTIFF, JPEG 2000), opened alone: what they say of size, place, date and bands, and which are bands of one scene."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import TiffImagePlugin

from studio import extras
from studio.dataset.pixels import MAX_PIXELS, Unreadable
from studio.dataset.readers.bands import name_of, names_of

EXTRA = "geo"
JP2 = b"\0\0\0\x0cjP  "
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _GEO = 256, 257, 258, 262, 277, {33550, 33922, 34264, 34735}
_GREY = {0, 1}  # how TIFF calls bands that are no colours
_QUIET = {  # no file beside the one that was given is opened, and nothing of the network
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": 256, "PROJ_NETWORK": "OFF",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none", "GDAL_NUM_THREADS": 1, "OPJ_NUM_THREADS": 1,
}  # fmt: skip
_DATES = ("ACQUISITION_DATE", "DATE_ACQUIRED", "SENSING_DATE", "PRODUCT_START_TIME", "TIFFTAG_DATETIME")
_NAMED_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?:T\d{6})?(?!\d)")
_BAND_FILE = re.compile(r"(.+?)[_.-](?:(?:SR|ST|TOA)_)?([A-Za-z]+[ _-]?\d{0,2}A?)(?:[_-](\d{1,3})m)?", re.IGNORECASE)
_SIDE_FILE = re.compile(  # what comes beside the bands of Sentinel-2 and Landsat: colours made of them, quality, atmosphere, angles
    r"(?:(.+?)_)?(TCI|PVI|AOT|WVP|MSK_[A-Z]{6}(?:_B\w\w)?|(?:SR_|ST_)?QA(?:_[A-Z]+)*|ST_[A-Z]+|SR_(?:ATMOS|CLOUD)_\w+|[SV][AZ]A)(?:_\d{1,3}m)?",
    re.IGNORECASE,
)
_RESOLUTION_FOLDER = re.compile(r"R\d{1,3}m", re.IGNORECASE)
_OLD_LANDSAT = re.compile(r"L[TE]0[457]_", re.IGNORECASE)
_OLD_COLOURS = {"B3": "red", "B2": "green", "B1": "blue", "B4": "nir"}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The raster in `path`, by the driver of its kind alone and without the files beside it; Unreadable where it is damaged."""
    rasterio = extras.need(EXTRA)
    try:
        with rasterio.Env(**_QUIET):
            yield _kept(path, os.stat(path).st_mtime_ns)
    except rasterio.errors.RasterioError as error:
        cut = re.search("read|short|unexpected|past end|tile|code block", f"{error} {error.__cause__ or ''}", re.IGNORECASE)
        what = "is cut short or damaged: copy or download it again" if cut else f"is a damaged scene ({type(error).__name__})"
        raise Unreadable(what) from None


@lru_cache(maxsize=16)
def _kept(path: Path, changed_ns: int) -> Any:
    """An open raster, kept with its decoded blocks for its next tile."""
    import warnings

    import rasterio

    with open(path, "rb") as file:
        driver = "JP2OpenJPEG" if file.read(8) == JP2 else "GTiff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scene without a place is one all the same
        return rasterio.open(path, driver=driver)


def is_scene(path: Path) -> bool:
    """Whether a file is one for `opened`: a JPEG 2000 file with a place, or a TIFF that is none of the ordinary pictures."""
    with open(path, "rb") as file:
        if file.read(8) == JP2:
            return _has_place(path)
    tags = _tiff_tags(path)
    samples, bits = tags.get(_SAMPLES, 1), max(tags.get(_BITS, (8,)))
    num_pixels = tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0)
    are_bands = samples == 2 or samples > 4 or (samples > 1 and (bits > 16 or tags.get(_PHOTOMETRIC) in _GREY))
    is_plain = bits <= 8 and samples in {1, 3, 4} and num_pixels <= MAX_PIXELS
    if not (_GEO & set(tags) or are_bands or num_pixels > MAX_PIXELS):
        return False
    return not is_plain or extras.installed(EXTRA)


def _has_place(path: Path) -> bool:
    try:
        with opened(path) as scene:
            return scene.crs is not None
    except Unreadable as error:
        raise Unreadable(f"is a JPEG 2000 file that {error}") from None


def _tiff_tags(path: Path) -> dict[int, Any]:
    """The tags of the first directory of a TIFF file; nothing is decoded."""
    with open(path, "rb") as file:
        head = file.read(8)
        head += file.read(8) if head[2:3] == b"+" or head[3:4] == b"+" else b""
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)


def about(path: Path, scene: Any, salt: str) -> dict[str, Any]:
    """What a raster holds, for JSON; where it lies only as a salted hash, as a grid, and rounded."""
    stem, band = band_file(path.name) if scene.count == 1 and scene.crs is not None else ("", "")
    grid = list(scene.transform)[:6]
    where = f"{scene.crs.to_wkt()} {grid} {scene.width}" if scene.crs is not None else str(path)
    return {
        "subject": hashlib.blake2b(where.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16).hexdigest(),
        "width": scene.width,
        "height": scene.height,
        "dtypes": list(scene.dtypes),
        "bands": [band] if band else names_of(scene),
        "is_palette": [colour.name == "palette" for colour in scene.colorinterp],
        "grid": grid,
        "metres": _metres(scene),
        "date": _date(scene, path.name),
        "place": _place(scene),
        "stem": stem,
        "crs": hashlib.blake2b(scene.crs.to_wkt().encode(), digest_size=8).hexdigest() if scene.crs is not None else "",
    }


def band_file(name: str) -> tuple[str, str]:
    """(what the files of one scene share in their names, which band this one is), "" and "" where a name tells no band."""
    stem = re.sub(r"\.\w+$", "", name)
    found = _BAND_FILE.fullmatch(stem)
    band = name_of(found[2]) if found and len(found[2]) > 1 else ""
    if not band:
        return "", ""
    return found[1], _OLD_COLOURS.get(band, band) if _OLD_LANDSAT.match(stem) else band


def side_file(name: str) -> tuple[str, str]:
    """(what the files of one scene share in their names, what this one is) of a file that comes beside bands; "" and "" for others."""
    found = _SIDE_FILE.fullmatch(re.sub(r"\.\w+$", "", name))
    return (found[1] or "", found[2].upper()) if found else ("", "")


def scene_folder(path: Path) -> str:
    """The folder of a scene's files; Sentinel-2 keeps them in one per resolution."""
    return str(path.parent.parent if _RESOLUTION_FOLDER.fullmatch(path.parent.name) else path.parent)


def _metres(scene: Any) -> float:
    """The side of a pixel on the ground, 0 where it is not known in metres."""
    if scene.crs is None or not scene.crs.is_projected or str(scene.crs.linear_units).casefold() not in {"metre", "meter", "m"}:
        return 0.0
    return float(abs(scene.res[0]))


def _date(scene: Any, name: str) -> str:
    """The date in its tags, else in its name, such as 2021-06-30; "" where none has that form."""
    tags = scene.tags()
    for key in _DATES:
        found = re.match(r"(\d{4})[-:](\d{2})[-:](\d{2})", str(tags.get(key, "")))
        if found:
            return "-".join(found.groups())
    found = _NAMED_DATE.search(name)
    return "-".join(found.groups()) if found else ""


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
