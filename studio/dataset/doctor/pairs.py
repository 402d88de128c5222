"""Which pictures show the same: by perceptual hash, by 16 px print, and turned or mirrored. Pairs of indices; nothing is decoded."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from studio.dataset.alike import BLOCK, Links, Tick, bits_apart, near_pairs, turned_pairs
from studio.dataset.doctor.base import USUAL_FROM
from studio.dataset.doctor.chart import Pair
from studio.dataset.likeness import MIN_LIKE

MIN_BITS, MAX_BITS, FEW_BITS = 16, 56, 32  # of 256 that may differ: recompressed; cropped or written on; among few pictures
_USUAL_SHARE = 0.45  # of how far a picture usually is from its nearest other
_ALIKE_SHARE = 0.35  # the same for an image tower, to which all slices of a scan look alike
_ALIKE_BITS = 100  # two unrelated pictures differ in 128 of 256 bits, give or take 8
_FLAT_LEVELS = 16  # a picture of less contrast has no hash worth the name
_BY_PRINT = "the same picture, scaled, recompressed or brightened"


def hash_pairs(measures: Sequence[dict[str, Any] | None], tick: Tick = lambda: None) -> Iterator[tuple[int, int, int]]:
    """(i, j, bits that differ), i < j, one at a time, of pictures whose perceptual hashes are much nearer than is usual among them.

    Measured on MRI slices, satellite pictures and icons: other pictures differ in 84 bits or more, the next slice of a scan
    in 20 or more; JPEG, brightness and size change up to 20, a crop of 3 % or a mark in a corner 25 to 60.
    """
    known = [i for i, each in enumerate(measures) if each and each["high"] - each["low"] >= _FLAT_LEVELS]
    if len(known) < 2:
        return
    words = np.frombuffer(bytes.fromhex("".join(measures[i]["hash"] for i in known)), np.uint64).reshape(len(known), -1)
    nearest = np.full(len(known), 256)
    for start in range(0, len(known), BLOCK):
        tick()
        bits = bits_apart(words[start : start + BLOCK], words[start:])  # each two once
        rows = np.arange(len(bits))
        bits[rows, rows] = 256
        nearest[start : start + BLOCK] = np.minimum(nearest[start : start + BLOCK], bits.min(1))
        nearest[start:] = np.minimum(nearest[start:], bits.min(0))
    usual = float(np.median(nearest))
    limit = FEW_BITS if len(known) < USUAL_FROM else min(MAX_BITS, max(MIN_BITS, _USUAL_SHARE * usual))
    for i in np.flatnonzero(nearest <= limit):
        bits = bits_apart(words[i : i + 1], words)[0]
        yield from ((known[i], known[j], int(bits[j])) for j in np.flatnonzero(bits <= limit) if i < j)


def all_pairs(
    pixels: Sequence[str],
    prints: np.ndarray,
    measures: Sequence[dict[str, Any] | None],
    fresh: Collection[str] | None = None,
    tick: Tick = lambda: None,
) -> list[Pair]:
    """The near and the turned pairs of pictures with these pixel hashes, prints and measures; equal pictures are no pairs.

    Of many pictures that all show the same, as many pairs as tell their families. With `fresh`, pixel hashes, by print only pairs of
    which one is fresh: those of the others are known. `tick` is called several times a second, and may raise.
    """
    first = sorted({key: i for i, key in reversed(list(enumerate(pixels)))}.values())
    pixels, prints, measures = [pixels[i] for i in first], prints[first], [measures[i] for i in first]
    is_fresh = None if fresh is None else np.array([key in fresh for key in pixels], bool)
    found: dict[tuple[int, int], Pair] = {}
    near, turned = Links(len(pixels)), Links(len(pixels))
    for i, j in near_pairs(prints, is_fresh, tick):
        if near.takes(i, j):
            found[i, j] = Pair(first=pixels[i], second=pixels[j], kind="near", told=_BY_PRINT)
    for i, j, bits in hash_pairs(measures, tick):
        if (i, j) not in found and near.takes(i, j):
            told = f"perceptual hashes differ in {bits} of 256 bits"
            found[i, j] = Pair(first=pixels[i], second=pixels[j], kind="near", told=told)
    for i, j, how in turned_pairs(prints, is_fresh, tick):
        if (i, j) not in found and turned.takes(i, j):
            found[i, j] = Pair(first=pixels[i], second=pixels[j], kind="turned", told=f"the same picture, {how}")
    return list(found.values())


def is_by_print(pair: Pair) -> bool:
    """Whether a pair was told by prints alone, which other pictures of the dataset do not change."""
    return pair.kind == "turned" or pair.told == _BY_PRINT


def feature_pairs(pixels: Sequence[str], features: np.ndarray, measures: Sequence[dict[str, Any] | None]) -> list[Pair]:
    """Pairs that show nearly the same to an image tower, and whose perceptual hashes do not speak against it; features [N, D].

    The cosine is at least `MIN_LIKE`, and the two are much nearer than a picture usually is to its nearest other.
    """
    nearest = np.zeros(len(pixels), np.float32)
    for start in range(0, len(pixels), BLOCK):
        cosine = features[start : start + BLOCK] @ features.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -1
        nearest[start : start + BLOCK] = cosine.max(1)
    farthest = 1 - MIN_LIKE
    if len(pixels) >= USUAL_FROM:
        farthest = min(farthest, _ALIKE_SHARE * float(np.median(1 - nearest)))
    found, links = [], Links(len(pixels))
    for i in np.flatnonzero(1 - nearest <= farthest):
        cosines = features @ features[i]
        for j in np.flatnonzero(1 - cosines <= farthest):
            is_other = i < j and pixels[i] != pixels[j] and _bits_apart(measures[i], measures[j]) <= _ALIKE_BITS
            if is_other and links.takes(i, j):
                told = f"look alike to the image tower (cosine {cosines[j]:.3f})"
                found.append(Pair(first=pixels[i], second=pixels[j], kind="alike", told=told))
    return found


def _bits_apart(first: dict[str, Any] | None, second: dict[str, Any] | None) -> int:
    return (int(first["hash"], 16) ^ int(second["hash"], 16)).bit_count() if first and second else 0


def index_pairs(pixels: Sequence[str], pairs: Iterable[Pair]) -> list[tuple[int, int]]:
    """These pairs as indices of pictures with these pixel hashes, for those that are among them."""
    at = {key: i for i, key in reversed(list(enumerate(pixels)))}
    return [(at[pair.first], at[pair.second]) for pair in pairs if pair.first in at and pair.second in at]
