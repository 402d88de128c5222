"""What is measured of one picture, once, where it is decoded: sharpness, light, borders, detail, writing, and a perceptual hash."""

from typing import Any

import numpy as np
from PIL import Image

from studio.dataset.doctor.bearing import CELLS
from studio.dataset.doctor.chart import VERSION
from studio.dataset.doctor.writing import num_letters

WORK_PX = 384  # longer side of the copy that most is measured on: blur or writing below that size is not seen in training either
HASH_CELLS = 16  # a perceptual hash of 16 x 16 bits
_WHITE, _BLACK = 250, 6
_SAME_LEVELS = 6.0  # a border's pixels differ by no more, as JPEG leaves them
_SAME_SHARE = 0.995
_EDGE_LEVELS = 12.0  # content differs from the border by at least as much
_EDGE_SHARE = 0.6  # of a line beside the border: a bar ends along a straight line, a margin around a shape does not
_FIRST_LINES, _MOST_LINES = 3, 96  # of a side that are looked at together: more as its border goes on
_BLUR_TAPS = 9
_NOISE_LEVELS = 0.8  # of rounding and compression, which are no detail
_SPECTRUM_PX = 320  # side of the middle part whose spectrum is looked at


def measure(image: Image.Image, px: np.ndarray) -> dict[str, Any]:
    """The measures of an RGB picture and its pixels, uint8 [H, W, 3], for JSON; sources beside each function."""
    import imagehash

    work = _reduced(image)
    grey = np.asarray(work.convert("L"), np.float32)
    low, high = np.percentile(grey, (1, 99))
    return {
        "version": VERSION,
        "hash": str(imagehash.phash(work, hash_size=HASH_CELLS)),
        "blur": round(blur(grey), 3),
        "low": round(float(low)),
        "high": round(float(high)),
        "white": round(float((grey >= _WHITE).mean()), 3),
        "black": round(float((grey <= _BLACK).mean()), 3),
        **borders(px),
        "detail": detail(image, px),
        "letters": num_letters(grey),
        "slopes": slopes(grey),
    }


def _reduced(image: Image.Image) -> Image.Image:
    if max(image.size) <= WORK_PX:
        return image
    scale = WORK_PX / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR, reducing_gap=2.0
    )


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


def _repeats(px: np.ndarray) -> int:
    """How often each pixel of [H, W, 3] comes in a row both ways, as after enlarging without smoothing; 1 where it does not."""
    for times in (8, 6, 5, 4, 3, 2):
        is_whole = px.shape[0] % times == 0 and px.shape[1] % times == 0
        if is_whole and np.array_equal(px[::times], px[times - 1 :: times]) and np.array_equal(px[:, ::times], px[:, times - 1 :: times]):
            return times if px.max() > px.min() else 1
    return 1


def borders(px: np.ndarray) -> dict[str, list[int]]:
    """Uniform lines at the sides of uint8 [H, W, 3], in the order left, top, right, bottom.

    "margins" counts all of them, "bars" those that end along a straight line, as letterboxing and frames do and the
    margin around a shape does not; "edges" is the grey level of each side's outermost line.
    """
    height, width = px.shape[:2]
    across = px.swapaxes(0, 1)
    found = {"left": _border(across), "right": _border(across[::-1])}
    (left, *_), (right, *_) = found["left"], found["right"]
    inner = px[:, left : width - right] if left + right < width else px
    found |= {"top": _border(inner), "bottom": _border(inner[::-1])}
    sides = [found[side] for side in ("left", "top", "right", "bottom")]
    is_picture = left + right <= width // 2 and sides[1][0] + sides[3][0] <= height // 2
    return {
        "margins": [margin for margin, _, _ in sides],
        "bars": [bar if is_picture else 0 for _, bar, _ in sides],
        "edges": [level for _, _, level in sides],
    }


def _border(px: np.ndarray) -> tuple[int, int, int]:
    """(uniform first lines of [H, W, 3], the same where they are a bar and else 0, their grey level); looks little further than it must."""
    colour = np.median(px[0], axis=0)
    level = round(float(colour.mean()))
    num, lines = 0, _FIRST_LINES
    while num < len(px):
        is_same = (_apart(px[num : num + lines], colour) <= _SAME_LEVELS).mean(1) >= _SAME_SHARE
        if not is_same.all():
            num += int(np.argmin(is_same))
            edge = _apart(px[num : num + 3], colour).max(0)  # a soft edge takes a line or two
            is_bar = num > 0 and (edge >= _EDGE_LEVELS).mean() >= _EDGE_SHARE
            return num, num if is_bar else 0, level
        num, lines = num + len(is_same), min(2 * lines, _MOST_LINES)
    return len(px), 0, level


def _apart(px: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """By how many levels pixels [H, W, 3] differ from a colour, at most over the channels: [H, W]."""
    apart = [np.abs(px[..., k].astype(np.int16) - np.int16(colour[k])) for k in range(3)]
    return np.maximum(np.maximum(apart[0], apart[1]), apart[2])  # many times faster than a maximum over an axis of three


def detail(image: Image.Image, px: np.ndarray) -> float:
    """The share of its width and height that a picture needs for what it shows: about 0.5 where it was enlarged twofold, near 1 where not.

    It is the frequency below which 97 % of the energy of its gradients lies, as a share of the highest there can be; natural
    pictures have as much of it in every octave (Field 1987), enlarged ones hardly any above where they were sampled.
    """
    repeated = _repeats(px)
    if repeated > 1:
        return round(1 / repeated, 2)
    side = min(_SPECTRUM_PX, *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    grey = np.asarray(image.crop((left, top, left + side, top + side)).convert("L"), np.float32)
    window = np.hanning(side).astype(np.float32)
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * window * window[:, None])) ** 2
    power = np.maximum(0, power - _NOISE_LEVELS**2 * (window**2).sum() ** 2)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    energy = np.bincount(np.minimum(radius * 100, 50).astype(int).ravel(), (power * radius**2).ravel(), 51)[:50]
    total = energy.sum()
    return round((int(np.searchsorted(np.cumsum(energy), 0.97 * total)) + 1) / 50, 2) if total > 1.0 else 1.0
