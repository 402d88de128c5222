"""Look-alikes: which pictures are the same, or nearly, so that none is trained on and tested with at once."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

Tick = Callable[[], None]
THUMB_PX = 16  # side of the thumbnails that are compared
ALIKE = "alike-"  # begins the names of groups that were found, not given
MAX_LINKS = 12  # pairs kept of one picture, but for those that join families
BLOCK = 256  # pictures compared with all others at a time
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
    for i, j in pairs:
        parent[_root(parent, i)] = _root(parent, j)
    members: dict[int, list[int]] = {}
    for i in range(num):
        members.setdefault(_root(parent, i), []).append(i)
    return list(members.values())


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


class Links:
    """Which of many pairs are worth keeping: those that join two families, and the first few of each picture.

    Ten thousand frames of one film are fifty million pairs; these are what tells their families and survives that some are removed.
    """

    def __init__(self, num: int) -> None:
        self._parent, self._num_links = list(range(num)), [0] * num

    def takes(self, i: int, j: int) -> bool:
        """Whether the pair (i, j) is worth keeping beside those taken before."""
        first, second = _root(self._parent, i), _root(self._parent, j)
        if first == second and min(self._num_links[i], self._num_links[j]) >= MAX_LINKS:
            return False
        self._parent[first] = second
        self._num_links[i] += 1
        self._num_links[j] += 1
        return True


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """dHash of uint8 [N, S, S, 3]: one bit where a cell is brighter than its left neighbour, packed to uint64 [N, W]."""
    grey = thumbs.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    bits = (np.diff(grey, axis=2) > _FLAT_LEVELS).reshape(len(thumbs), -1)
    packed = np.packbits(bits, axis=1)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def near_pairs(thumbs: np.ndarray, fresh: np.ndarray | None = None, tick: Tick = lambda: None) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of uint8 [N, S, S, 3] that show the same picture, scaled, recompressed or brightened.

    With `fresh`, boolean [N], only pairs of which one is fresh. `tick` is called every now and then, and may raise.

    The hash finds candidates; no cell may then differ visibly once brightness and contrast are matched, which tells
    neighbouring slices of a scan and drawings in one outline apart, and the correlation does so for plain textures.
    """
    return _pairs(thumbs, thumbs, fresh, tick)


TURNS = {  # what may have been done to the second of two prints [N, S, S, 3]
    "turned by 90°": lambda t: np.rot90(t, 1, (1, 2)),
    "turned by 180°": lambda t: np.rot90(t, 2, (1, 2)),
    "turned by 270°": lambda t: np.rot90(t, 3, (1, 2)),
    "mirrored": lambda t: t[:, :, ::-1],
}


def turned_pairs(thumbs: np.ndarray, fresh: np.ndarray | None = None, tick: Tick = lambda: None) -> Iterator[tuple[int, int, str]]:
    """(i, j, how), i < j, of uint8 [N, S, S, 3] that show the same picture turned or mirrored; the rest as for `near_pairs`."""
    for how, turn in TURNS.items():
        yield from ((i, j, how) for i, j in _pairs(thumbs, np.ascontiguousarray(turn(thumbs)), fresh, tick))


def bits_apart(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many bits differ between each two of uint64 [N, W] and [M, W]: int16 [N, M]."""
    return sum(np.bitwise_count(hashes[:, None, k] ^ others[None, :, k]).astype(np.int16) for k in range(hashes.shape[1]))


def _pairs(thumbs: np.ndarray, others: np.ndarray, fresh: np.ndarray | None, tick: Tick) -> Iterator[tuple[int, int]]:
    """Pairs one at a time, so that thousands of pictures of one thing, which are millions of pairs, are never held at once."""
    for i, near in _candidates(difference_hash(thumbs), difference_hash(others), fresh, tick):
        (shape, spread), (other_shape, other_spread) = _shapes(thumbs[i : i + 1]), _shapes(others[near])
        apart = np.abs(other_shape - shape) * np.minimum(other_spread, spread)[:, None]
        is_same = (other_shape @ shape[0] / shape.shape[1] >= MIN_CORRELATION) & (apart.max(axis=1) <= MAX_CELL_LEVELS)
        yield from ((i, int(j)) for j in near[is_same & (apart.mean(axis=1) <= MAX_MEAN_LEVELS)])


def _candidates(hashes: np.ndarray, others: np.ndarray, fresh: np.ndarray | None, tick: Tick) -> Iterator[tuple[int, np.ndarray]]:
    """(i, those after i whose hashes are near its own), for every i that has any."""
    every = np.arange(len(hashes))
    parts = [(every, every)] if fresh is None else [(every, every[fresh]), (every[fresh], every[~fresh])]
    for rows, columns in parts:
        for start in range(0, len(rows), BLOCK):
            tick()
            block = rows[start : start + BLOCK]
            later = columns[columns > block[0]]
            is_near = bits_apart(hashes[block], others[later]) <= MAX_HASH_BITS
            for k in np.flatnonzero(is_near.any(1)):
                near = later[is_near[k] & (later > block[k])]
                if near.size:
                    yield int(block[k]), near


def _shapes(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells [N, S * S * 3] without their mean and in units of their spread, and that spread [N]."""
    cells = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    spread = cells.std(axis=1)
    return (cells - cells.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)[:, None], spread
