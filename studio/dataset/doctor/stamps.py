"""A mark that a few pictures carry at one place, faint, slanted or no writing at all: their fine detail agrees there, and nowhere else."""

from collections.abc import Sequence

import numpy as np

MIN_PICTURES = 12  # fewer do not tell what is usual
MIN_CARRIERS = 3
_CORNER_PX, _MIDDLE_PX = 128, 192  # sides of the windows that are compared, on working copies
_FINE_PX, _AROUND_PX = 15, 31
_LEAST_LEVELS = 6.0  # of detail: what is weaker is noise
_STEP = 1 / 32  # of detail, so that a picture's windows take 0.1 MiB
_MIN_ENERGY = 0.25  # of a window's detail: black or white grounds agree with each other
_MIN_AGREEMENT, _MIN_UNUSUAL = 0.1, 6.0  # a correlation, and in robust deviations of all pairs
_KIN = 0.35  # correlation in small from which on two pictures show the same, and agree anyway
_SMALL_CELLS = 8
PLACES = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}
MIDDLE = "in the middle"


def windows(grey: np.ndarray) -> dict[str, np.ndarray]:
    """What is compared of grey levels [H, W]: fine detail over its usual strength around, int8, by place; and the whole in small."""
    from scipy import ndimage

    levels = grey.astype(np.float32)
    fine = levels - ndimage.uniform_filter(levels, _FINE_PX)
    usual = np.sqrt(np.maximum(ndimage.uniform_filter(fine * fine, _AROUND_PX), 0))
    detail = np.clip(np.rint(fine / (usual + _LEAST_LEVELS) / _STEP), -127, 127).astype(np.int8)
    height, width = detail.shape
    found = {}
    for place, (low, right) in PLACES.items():
        part = detail[-_CORNER_PX:] if low else detail[:_CORNER_PX]
        part = part[:, -_CORNER_PX:] if right else part[:, :_CORNER_PX]
        found[f"at the {place}"] = _padded(part, _CORNER_PX)
    top, left = max(0, (height - _MIDDLE_PX) // 2), max(0, (width - _MIDDLE_PX) // 2)
    found[MIDDLE] = _padded(detail[top : top + _MIDDLE_PX, left : left + _MIDDLE_PX], _MIDDLE_PX)
    rows, columns = (np.linspace(0, side, _SMALL_CELLS + 1).astype(int) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(levels, rows[:-1], 0), columns[:-1], 1)
    return found | {"": sums / np.diff(rows)[:, None] / np.diff(columns)[None]}


def shared_marks(pictures: Sequence[dict[str, np.ndarray]]) -> dict[int, str]:
    """By index of `windows`: where a picture carries a mark that at least MIN_CARRIERS that are otherwise unlike it carry as well.

    Of 67 satellite pictures, eight of them with a mark (writing, slanted, tiled or a logo, of 50 or 25 %), 98 of 100 are named and no
    other; of 208 photographs of many sizes, where marks lie at other places, a third of slanted ones and logos at 50 %. Of photographs,
    satellite pictures, icons, slices and a mix of them without a mark, none. Slices and others that are all alike are left to `marks`.
    """
    if len(pictures) < MIN_PICTURES:
        return {}
    small = _unit(np.stack([each[""].ravel() for each in pictures]).astype(np.float32), is_centred=True)
    is_kin = small @ small.T > _KIN
    found: dict[int, str] = {}
    for place in pictures[0]:
        if not place:
            continue
        parts = np.stack([each[place].ravel() for each in pictures]).astype(np.float32) * _STEP
        energy = np.sqrt((parts**2).mean(1))
        looked = np.flatnonzero(energy > _MIN_ENERGY)
        if len(looked) >= MIN_PICTURES:
            for i in _carriers(_unit(parts[looked]), is_kin[np.ix_(looked, looked)]):
                found.setdefault(int(looked[i]), place)
    return found


def _carriers(parts: np.ndarray, is_kin: np.ndarray) -> list[int]:
    """Which of unit vectors [N, D] agree with several others in a way that pairs of these pictures hardly ever do."""
    from scipy.sparse.csgraph import connected_components

    agree = parts @ parts.T
    agree[is_kin] = 0
    carriers: set[int] = set()
    _, family = connected_components(agree > _limit(agree[np.triu_indices(len(agree), 1)]))
    for each in np.flatnonzero(np.bincount(family) >= MIN_CARRIERS):
        members = np.flatnonzero(family == each)
        common = parts[members].sum(0)
        fit = agree[:, members].sum(1) / np.linalg.norm(common)  # without its own and its kin's share in what is common
        fitting = np.flatnonzero(fit > _limit(fit))
        if len(fitting) >= MIN_CARRIERS:
            carriers |= set(fitting.tolist())
    return sorted(carriers)


def _limit(values: np.ndarray) -> float:
    middle = float(np.median(values))
    return max(_MIN_AGREEMENT, middle + _MIN_UNUSUAL * 1.4826 * float(np.median(np.abs(values - middle))))


def _padded(part: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((size, size), np.int8)
    found[: part.shape[0], : part.shape[1]] = part
    return found


def _unit(rows: np.ndarray, is_centred: bool = False) -> np.ndarray:
    rows = rows - rows.mean(1, keepdims=True) if is_centred else rows
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
