"""Look-alikes: which pictures are the same, or nearly, so that none is trained on and tested with at once."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

THUMB_PX = 16  # side of the thumbnails that are compared
ALIKE = "alike-"  # begins the names of groups that were found, not given
MAX_HASH_BITS = 40  # of 240 that may differ between candidates
MIN_CORRELATION = 0.95
MAX_MEAN_LEVELS, MAX_CELL_LEVELS = 5.0, 32.0  # of 255, once brightness and contrast are matched
_FLAT_LEVELS = 2.0  # neighbours this close count as equal: noise must not set bits


def group(pixels: Sequence[str], near: Iterable[tuple[int, int]], given: Sequence[str]) -> list[str]:
    """A group name for each picture: the given one, else a common one for those joined by the pairs `near`, else ""."""
    pairs = [*equal_pairs(pixels), *equal_pairs([name or None for name in given]), *near]
    names = [""] * len(pixels)
    for family in families(len(pixels), pairs):
        if len(family) == 1:
            names[family[0]] = given[family[0]]
            continue
        named = sorted({given[i] for i in family} - {""})
        for i in family:
            names[i] = "+".join(named) or f"{ALIKE}{min(pixels[k] for k in family)[:8]}"
    return names


def equal_pairs(keys: Sequence[Hashable | None]) -> list[tuple[int, int]]:
    """Pairs (first, i) of indices with equal keys; None equals nothing."""
    first: dict[Hashable, int] = {}
    return [(first[key], i) for i, key in enumerate(keys) if key is not None and first.setdefault(key, i) != i]


def families(num: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The indices 0 to num - 1 in the classes that `pairs` join, each in ascending order (union-find)."""
    parent = list(range(num))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        parent[root(i)] = root(j)
    members: dict[int, list[int]] = {}
    for i in range(num):
        members.setdefault(root(i), []).append(i)
    return list(members.values())


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """dHash of uint8 [N, S, S, 3]: one bit where a cell is brighter than its left neighbour, packed to uint64 [N, W]."""
    grey = thumbs.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    bits = (np.diff(grey, axis=2) > _FLAT_LEVELS).reshape(len(thumbs), -1)
    packed = np.packbits(bits, axis=1)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def near_pairs(thumbs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of uint8 [N, S, S, 3] that show the same picture, scaled, recompressed or brightened.

    The hash finds candidates; no cell may then differ visibly once brightness and contrast are matched, which tells
    neighbouring slices of a scan and drawings in one outline apart, and the correlation does so for plain textures.
    """
    return _pairs(thumbs, thumbs)


TURNS = {  # what may have been done to the second of two prints [N, S, S, 3]
    "turned by 90°": lambda t: np.rot90(t, 1, (1, 2)),
    "turned by 180°": lambda t: np.rot90(t, 2, (1, 2)),
    "turned by 270°": lambda t: np.rot90(t, 3, (1, 2)),
    "mirrored": lambda t: t[:, :, ::-1],
}


def turned_pairs(thumbs: np.ndarray) -> list[tuple[int, int, str]]:
    """(i, j, how), i < j, of uint8 [N, S, S, 3] that show the same picture turned or mirrored."""
    return [(i, j, how) for how, turn in TURNS.items() for i, j in _pairs(thumbs, np.ascontiguousarray(turn(thumbs)))]


def _pairs(thumbs: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    hashes, other_hashes = difference_hash(thumbs), difference_hash(others)
    (shape, spread), (other_shape, other_spread) = _shapes(thumbs), _shapes(others)
    pairs = []
    for i in range(len(thumbs) - 1):
        near = np.flatnonzero(np.bitwise_count(other_hashes[i + 1 :] ^ hashes[i]).sum(axis=1) <= MAX_HASH_BITS) + i + 1
        apart = np.abs(other_shape[near] - shape[i]) * np.minimum(other_spread[near], spread[i])[:, None]
        is_same = (other_shape[near] @ shape[i] / shape.shape[1] >= MIN_CORRELATION) & (apart.max(axis=1) <= MAX_CELL_LEVELS)
        pairs += [(i, int(j)) for j in near[is_same & (apart.mean(axis=1) <= MAX_MEAN_LEVELS)]]
    return pairs


def _shapes(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells [N, S * S * 3] without their mean and in units of their spread, and that spread [N]."""
    cells = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    spread = cells.std(axis=1)
    return (cells - cells.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)[:, None], spread
