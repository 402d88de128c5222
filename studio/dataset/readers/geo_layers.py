"""The bands of a scene as layers over one grid, whichever file and resolution each comes from; read by windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.pixels import Unreadable
from studio.dataset.readers import tiles
from studio.dataset.readers.geo_files import opened
from studio.dataset.readers.grey import percentiles

NUM_MEASURED, MEASURED_PX = 24, 256  # windows from which percentiles are taken
FILLINGS = {"u": (0,), "i": (0, -9999, -32768), "f": (0, -9999, -32768, float(np.finfo(np.float32).min))}  # customary, where none is told
_CLASSES = {"land cover", "scl"}  # bands of codes, between which there is nothing
Layer = dict[str, Any]  # {"path", "band" counted from 1, "map": [scale x, offset x, scale y, offset y] from the grid to its pixels}


def layer(path: Path, head: dict[str, Any], band: int, grid: Sequence[float]) -> Layer:
    """Band `band` of a file as a layer over a `grid`: the six numbers a, b, c, d, e, f of x = a*column + b*row + c, y likewise."""
    return {"path": str(path), "band": band, "name": head["bands"][band - 1], "map": between(grid, head["grid"]) or [1.0, 0.0, 1.0, 0.0]}


def between(grid: Sequence[float], other: Sequence[float]) -> list[float] | None:
    """[scale x, offset x, scale y, offset y] from the pixels of one grid to those of another; None where they are turned to each other."""
    to_ground, to_other = (np.array([[*g[:3]], [*g[3:]], [0, 0, 1]], float) for g in (grid, other))
    (a, b, c), (d, e, f), _ = np.linalg.inv(to_other) @ to_ground
    return [float(a), float(c), float(e), float(f)] if max(abs(b), abs(d)) < 1e-6 * max(abs(a), abs(e)) else None


def scaled(grid: Sequence[float], factor: float) -> list[float]:
    """A grid with pixels `factor` times as large, from the same corner."""
    a, b, c, d, e, f = grid
    return [a * factor, b * factor, c, d * factor, e * factor, f]


def window(layers: Sequence[Layer], box: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(values [B, H, W], where nothing was measured [H, W]) of a box (left, top, width, height) of the grid.

    Unreadable where a file is damaged there.
    """
    values: list[np.ndarray] = [np.empty(0)] * len(layers)
    is_void = np.ones((box[3], box[2]), bool)
    paths = dict.fromkeys(each["path"] for each in layers)
    for path in paths:
        at = [i for i, each in enumerate(layers) if each["path"] == path]
        try:
            with opened(Path(path)) as scene:
                found, missing = _read(scene, [layers[i] for i in at], box)
        except Unreadable as error:
            raise Unreadable(f"is a scene whose file of band {layers[at[0]]['name']} {error}" if len(paths) > 1 else str(error)) from None
        is_void &= missing
        for i, band in zip(at, found, strict=True):
            values[i] = band
    return np.stack(values), is_void


def _read(scene: Any, layers: Sequence[Layer], box: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    scale_x, offset_x, scale_y, offset_y = layers[0]["map"]
    left, top = scale_x * box[0] + offset_x, scale_y * box[1] + offset_y
    wide, high = min(scale_x * box[2], scene.width), min(scale_y * box[3], scene.height)
    at = Window(min(max(left, 0), scene.width - wide), min(max(top, 0), scene.height - high), wide, high)
    is_as_stored = abs(scale_x - 1) < 1e-6 and abs(scale_y - 1) < 1e-6
    at = at.round_offsets().round_lengths() if is_as_stored else at
    is_coded = any(each["name"] in _CLASSES for each in layers)
    how = Resampling.nearest if is_coded or is_as_stored else Resampling.average if scale_x > 1 else Resampling.bilinear
    shape = (len(layers), box[3], box[2])
    found = scene.read([each["band"] for each in layers], window=at, out_shape=shape, masked=True, resampling=how)
    values = np.abs(found.data) if np.iscomplexobj(found.data) else found.data
    is_void = np.ma.getmaskarray(found).all(axis=0) | ~np.isfinite(values).all(axis=0)
    if scene.nodata is None:
        for filling in FILLINGS.get(values.dtype.kind, (0,)):
            is_void |= (values == filling).all(axis=0)
    return values, is_void


def colours(item: Layer) -> np.ndarray | None:
    """The colour table of a layer's file, uint8 [256, 3]; None where it has none."""
    with opened(Path(item["path"])) as scene:
        try:
            table = scene.colormap(item["band"])
        except ValueError:
            return None
    found = np.zeros((256, 3), np.uint8)
    for code, (red, green, blue, _) in table.items():
        if 0 <= code < 256:
            found[code] = red, green, blue
    return found


def measure(layers: Sequence[Layer], size: Sequence[int], share: Sequence[float]) -> list[list[float]]:
    """The percentiles `share` of every layer, then of all together, from windows spread over a grid of `size` (width, height).

    Unreadable where nothing was measured.
    """
    boxes = tiles.grid(*size, MEASURED_PX, 0.0)
    found = []
    for i in tiles.spread(len(boxes), NUM_MEASURED)[: 4 * NUM_MEASURED]:
        values, is_void = window(layers, boxes[i])
        if not is_void.all():
            found.append(values[:, ~is_void])
        if len(found) == NUM_MEASURED:
            break
    if not found:
        raise Unreadable("is a scene without data in the bands chosen: choose others")
    sample = np.concatenate(found, axis=1)
    return [percentiles(values, *share) for values in (*sample, sample)]
