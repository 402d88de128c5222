"""Which pictures show the same: by perceptual hash, by 16 px print, and turned or mirrored. Pairs of indices; nothing is decoded."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from studio.dataset.alike import near_pairs, turned_pairs
from studio.dataset.doctor.base import USUAL_FROM
from studio.dataset.doctor.chart import Pair
from studio.dataset.likeness import MIN_LIKE

MIN_BITS, MAX_BITS, FEW_BITS = 16, 56, 32  # of 256 that may differ: recompressed; cropped or written on; among few pictures
_USUAL_SHARE = 0.45  # of how far a picture usually is from its nearest other
_ALIKE_SHARE = 0.35  # the same for an image tower, to which all slices of a scan look alike
_ALIKE_BITS = 100  # two unrelated pictures differ in 128 of 256 bits, give or take 8
_FLAT_LEVELS = 16  # a picture of less contrast has no hash worth the name
_BLOCK = 512


def hash_pairs(measures: Sequence[dict[str, Any] | None]) -> list[tuple[int, int, int]]:
    """(i, j, bits that differ), i < j, of pictures whose perceptual hashes are much nearer than is usual among them.

    Measured on MRI slices, satellite pictures and icons: other pictures differ in 84 bits or more, the next slice of a scan
    in 20 or more; JPEG, brightness and size change up to 20, a crop of 3 % or a mark in a corner 25 to 60.
    """
    known = [i for i, each in enumerate(measures) if each and each["high"] - each["low"] >= _FLAT_LEVELS]
    if len(known) < 2:
        return []
    words = np.frombuffer(bytes.fromhex("".join(measures[i]["hash"] for i in known)), np.uint64).reshape(len(known), -1)
    nearest = np.full(len(known), 256)
    close: list[tuple[int, int, int]] = []
    for start in range(0, len(known), _BLOCK):
        block = words[start : start + _BLOCK]
        bits = sum(np.bitwise_count(block[:, None, k] ^ words[None, :, k]).astype(np.int16) for k in range(words.shape[1]))
        bits[np.arange(len(block)), np.arange(start, start + len(block))] = 256
        nearest[start : start + len(block)] = bits.min(1)
        rows, others = np.nonzero(bits <= MAX_BITS)
        close += [(start + int(i), int(j), int(bits[i, j])) for i, j in zip(rows, others, strict=True) if start + i < j]
    usual = float(np.median(nearest))
    limit = FEW_BITS if len(known) < USUAL_FROM else min(MAX_BITS, max(MIN_BITS, _USUAL_SHARE * usual))
    return [(known[i], known[j], bits) for i, j, bits in close if bits <= limit]


def all_pairs(pixels: Sequence[str], prints: np.ndarray, measures: Sequence[dict[str, Any] | None]) -> list[Pair]:
    """The near and the turned pairs of pictures with these pixel hashes, prints and measures; equal pictures are no pairs."""
    first = sorted({key: i for i, key in reversed(list(enumerate(pixels)))}.values())
    pixels, prints, measures = [pixels[i] for i in first], prints[first], [measures[i] for i in first]
    found: dict[tuple[int, int], Pair] = {}
    for i, j in near_pairs(prints):
        found[i, j] = Pair(first=pixels[i], second=pixels[j], kind="near", told="the same picture, scaled, recompressed or brightened")
    for i, j, bits in hash_pairs(measures):
        told = f"perceptual hashes differ in {bits} of 256 bits"
        found.setdefault((i, j), Pair(first=pixels[i], second=pixels[j], kind="near", told=told))
    for i, j, how in turned_pairs(prints):
        found.setdefault((i, j), Pair(first=pixels[i], second=pixels[j], kind="turned", told=f"the same picture, {how}"))
    return list(found.values())


def feature_pairs(pixels: Sequence[str], features: np.ndarray, measures: Sequence[dict[str, Any] | None]) -> list[Pair]:
    """Pairs that show nearly the same to an image tower, and whose perceptual hashes do not speak against it; features [N, D].

    The cosine is at least `MIN_LIKE`, and the two are much nearer than a picture usually is to its nearest other.
    """
    close, nearest = [], np.zeros(len(pixels), np.float32)
    for start in range(0, len(pixels), _BLOCK):
        cosine = features[start : start + _BLOCK] @ features.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -1
        nearest[start : start + _BLOCK] = cosine.max(1)
        close += [(start + int(i), int(j), float(cosine[i, j])) for i, j in np.argwhere(cosine >= MIN_LIKE) if start + i < j]
    farthest = 1 - MIN_LIKE
    if len(pixels) >= USUAL_FROM:
        farthest = min(farthest, _ALIKE_SHARE * float(np.median(1 - nearest)))
    found = []
    for i, j, cosine in close:
        if pixels[i] != pixels[j] and 1 - cosine <= farthest and _bits_apart(measures[i], measures[j]) <= _ALIKE_BITS:
            told = f"look alike to the image tower (cosine {cosine:.3f})"
            found.append(Pair(first=pixels[i], second=pixels[j], kind="alike", told=told))
    return found


def _bits_apart(first: dict[str, Any] | None, second: dict[str, Any] | None) -> int:
    return (int(first["hash"], 16) ^ int(second["hash"], 16)).bit_count() if first and second else 0


def index_pairs(pixels: Sequence[str], pairs: Iterable[Pair]) -> list[tuple[int, int]]:
    """These pairs as indices of pictures with these pixel hashes, for those that are among them."""
    at = {key: i for i, key in reversed(list(enumerate(pixels)))}
    return [(at[pair.first], at[pair.second]) for pair in pairs if pair.first in at and pair.second in at]
