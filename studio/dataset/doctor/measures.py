"""What is measured of one picture, once, where it is decoded: sharpness, light, borders, detail, writing, and a perceptual hash."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from studio.dataset.doctor.bearing import CELLS
from studio.dataset.doctor.chart import VERSION
from studio.dataset.doctor.writing import num_letters
from studio.dataset.scaled import Scaled

WORK_PX = 384  # longer side of the copy that most is measured on: blur or writing below that size is not seen in training either
HASH_CELLS = 16  # a perceptual hash of 16 x 16 bits
_WHITE, _BLACK = 250, 6
_SAME_LEVELS = 6.0  # a border's pixels differ by no more, as JPEG leaves them
_SAME_SHARE = 0.995
_EDGE_LEVELS = 12.0  # content differs from the border by at least as much
_EDGE_SHARE = 0.6  # of a line beside the border: a bar ends along a straight line, a margin around a shape does not
_FIRST_LINES, _MOST_LINES = 3, 96  # of a side that are looked at together: more as its border goes on
_SQUARES_IN_STRIP = 4
_BLUR_TAPS = 9
_NOISE_LEVELS = 0.8  # of rounding and compression, which are no detail
_SPECTRUM_PX = 320  # side of the middle part whose spectrum is looked at


def measure(picture: Scaled) -> dict[str, Any]:
    """The measures of a picture, for JSON; sources beside each function."""
    import imagehash

    work = picture.resized(picture.within(WORK_PX), Image.Resampling.BILINEAR, "L")
    grey, counts = np.asarray(work, np.float32), np.array(work.histogram())
    low, high = _percentiles(counts, (1, 99))
    return {
        "version": VERSION,
        "hash": str(imagehash.phash(work, hash_size=HASH_CELLS)),
        "blur": round(blur(grey), 3),
        "low": round(low),
        "high": round(high),
        "white": round(float(counts[_WHITE:].sum() / grey.size), 3),
        "black": round(float(counts[: _BLACK + 1].sum() / grey.size), 3),
        **borders(picture.image),
        "detail": detail(picture.image),
        "letters": num_letters(grey),
        "slopes": slopes(grey),
    }


def _percentiles(counts: np.ndarray, shares: Iterable[float]) -> list[float]:
    """Percentiles of grey levels that are counted [256], as numpy has them: between the two that lie around each."""
    below = np.cumsum(counts)
    at = [share / 100 * (below[-1] - 1) for share in shares]
    around = [np.searchsorted(below, (math.floor(place), math.ceil(place)), "right") for place in at]
    return [float(low + (high - low) * (place % 1)) for place, (low, high) in zip(at, around, strict=True)]


def blur(grey: np.ndarray) -> float:
    """How blurred grey levels [H, W] are: 0 sharp, 1 not to be made blurrier (Crete et al. 2007, The blur effect)."""
    from scipy import ndimage

    found = []
    for axis in (0, 1):
        if grey.shape[axis] < 2 * _BLUR_TAPS:
            continue
        smooth = ndimage.uniform_filter1d(grey, _BLUR_TAPS, axis, mode="nearest")
        before, after = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(smooth, axis=axis))
        total = before.sum()
        found.append(1.0 if total < 1e-3 * before.size else float((total - np.maximum(0, before - after).sum()) / total))
    return max(found, default=0.0)


def slopes(grey: np.ndarray) -> str:
    """How steep grey levels [H, W] are across and along, in CELLS x CELLS parts: 32 steps per doubling, uint8 [2, CELLS, CELLS] as hex."""
    found = []
    for axis in (1, 0):
        steep = np.abs(np.diff(grey, axis=axis, append=np.take(grey, [-1], axis)))
        for side in (0, 1):
            ends = np.linspace(0, steep.shape[side], CELLS + 1).astype(int)
            steep = np.add.reduceat(steep, ends[:-1], side) / np.diff(ends).reshape((-1, 1) if side == 0 else (1, -1))
        found.append(np.clip(np.rint(32 * np.log2(1 + steep)), 0, 255))
    return np.array(found).astype(np.uint8).tobytes().hex()


def _repeats(image: Image.Image) -> int:
    """How often each pixel of an RGB picture comes in a row both ways, as after enlarging without smoothing; 1 where it does not."""
    for times in (8, 6, 5, 4, 3, 2):
        if _is_repeated(image, times):
            return times if any(low < high for low, high in image.getextrema()) else 1
    return 1


def _is_repeated(image: Image.Image, times: int) -> bool:
    """Whether the picture is made of squares of one colour with `times` px a side; nearly always a strip of it tells that it is not."""
    width, height = image.size
    if width % times or height % times:
        return False
    strips = range(0, height, times * _SQUARES_IN_STRIP)
    middle = len(strips) // 2
    return all(
        np.array_equal(px[::times], px[times - 1 :: times]) and np.array_equal(px[:, ::times], px[:, times - 1 :: times])
        for top in (*strips[middle:], *strips[:middle])
        for px in [np.asarray(image.crop((0, top, width, min(height, top + strips.step))))]
    )


def borders(image: Image.Image) -> dict[str, list[int]]:
    """Uniform lines at the sides of an RGB picture, in the order left, top, right, bottom.

    "margins" counts all of them, "bars" those that end along a straight line, as letterboxing and frames do and the
    margin around a shape does not; "edges" is the grey level of each side's outermost line.
    """
    width, height = image.size
    found = {side: _border(image, side, (0, 0, width, height)) for side in ("left", "right")}
    (left, *_), (right, *_) = found["left"], found["right"]
    inner = (left, 0, width - right, height) if left + right < width else (0, 0, width, height)
    found |= {side: _border(image, side, inner) for side in ("top", "bottom")}
    sides = [found[side] for side in ("left", "top", "right", "bottom")]
    is_picture = left + right <= width // 2 and sides[1][0] + sides[3][0] <= height // 2
    return {
        "margins": [margin for margin, _, _ in sides],
        "bars": [bar if is_picture else 0 for _, bar, _ in sides],
        "edges": [level for _, _, level in sides],
    }


def _border(image: Image.Image, side: str, area: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """(uniform first lines of a side, the same where they are a bar and else 0, their grey level); looks little further than it must."""
    depth = area[2] - area[0] if side in ("left", "right") else area[3] - area[1]
    colour = np.median(_lines(image, side, area, 0, 1)[0], axis=0)
    level = round(float(colour.mean()))
    num, count = 0, _FIRST_LINES
    while num < depth:
        is_same = (_apart(_lines(image, side, area, num, min(depth, num + count)), colour) <= _SAME_LEVELS).mean(1) >= _SAME_SHARE
        if not is_same.all():
            num += int(np.argmin(is_same))
            if num == 0:
                return 0, 0, level
            edge = _apart(_lines(image, side, area, num, min(depth, num + 3)), colour).max(0)  # a soft edge takes a line or two
            return num, num if (edge >= _EDGE_LEVELS).mean() >= _EDGE_SHARE else 0, level
        num, count = num + len(is_same), min(2 * count, _MOST_LINES)
    return depth, 0, level


def _lines(image: Image.Image, side: str, area: tuple[int, int, int, int], first: int, last: int) -> np.ndarray:
    """The lines `first` to `last` of an area (left, top, right, bottom), px, counted from one of its sides inwards: uint8 [N, L, 3]."""
    left, top, right, bottom = area
    box = {
        "left": (left + first, top, left + last, bottom),
        "right": (right - last, top, right - first, bottom),
        "top": (left, top + first, right, top + last),
        "bottom": (left, bottom - last, right, bottom - first),
    }[side]
    px = np.asarray(image.crop(box))
    px = px.swapaxes(0, 1) if side in ("left", "right") else px
    return px[::-1] if side in ("right", "bottom") else px


def _apart(px: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """By how many levels pixels [H, W, 3] differ from a colour, at most over the channels: [H, W]."""
    apart = [np.abs(px[..., k].astype(np.int16) - np.int16(colour[k])) for k in range(3)]
    return np.maximum(np.maximum(apart[0], apart[1]), apart[2])  # many times faster than a maximum over an axis of three


def detail(image: Image.Image) -> float:
    """The share of its width and height that a picture needs for what it shows: about 0.5 where it was enlarged twofold, near 1 where not.

    It is the frequency below which 97 % of the energy of its gradients lies, as a share of the highest there can be; natural
    pictures have as much of it in every octave (Field 1987), enlarged ones hardly any above where they were sampled.
    """
    repeated = _repeats(image)
    if repeated > 1:
        return round(1 / repeated, 2)
    side = min(_SPECTRUM_PX, *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    grey = np.asarray(image.crop((left, top, left + side, top + side)).convert("L"), np.float32)
    window, squares, rings = _spectrum(side)
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * window * window[:, None])) ** 2
    power = np.maximum(0, power - _NOISE_LEVELS**2 * (window**2).sum() ** 2)
    energy = np.bincount(rings, (power * squares).ravel(), 51)[:50]
    total = energy.sum()
    return round((int(np.searchsorted(np.cumsum(energy), 0.97 * total)) + 1) / 50, 2) if total > 1.0 else 1.0


@lru_cache(8)
def _spectrum(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a square of this side, px: its window [side], and of its spectrum the squared frequencies and the rings of equal ones, flat."""
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    return np.hanning(side).astype(np.float32), radius**2, np.minimum(radius * 100, 50).astype(int).ravel()
