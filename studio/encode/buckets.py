"""Which shapes a run trains in, and which part of a picture fills its shape."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from studio.dataset.framing import Edit, Frame

MAX_BUCKETS = 5
MAX_ASPECT = 4.0


def bucket_shapes(size_px: int, multiple: int) -> list[tuple[int, int]]:
    """All (width, height) that are multiples of `multiple` with about size_px² pixels and an aspect up to 4:1."""
    side = max(multiple, size_px // multiple * multiple)
    shapes = {(side, side)}
    for width in range(multiple, int(side * math.sqrt(MAX_ASPECT)) + 1, multiple):
        height = side * side // width // multiple * multiple
        if height and max(width / height, height / width) <= MAX_ASPECT:
            shapes |= {(width, height), (height, width)}
    return sorted(shapes)


def assign_buckets(sizes: list[tuple[int, int]], size_px: int, multiple: int) -> list[tuple[int, int]]:
    """The bucket (width, height) of each picture (width, height): nearest aspect, of the at most five that cut away least in all."""
    shapes, counts = bucket_shapes(size_px, multiple), Counter(sizes)
    logs = np.log([w / h for w, h in shapes])
    aspects = {(w, h): math.log(w / h) for w, h in counts}
    best = {size: _nearest(aspect, shapes, logs) for size, aspect in aspects.items()}
    kept = sorted(set(best.values()), key=lambda shape: (shape[0] / shape[1], shape))
    if len(kept) > MAX_BUCKETS:
        weights: Counter = Counter()
        for size, aspect in aspects.items():
            weights[aspect] += counts[size]
        kept = least_cut(kept, weights)
        logs = np.log([w / h for w, h in kept])
        best = {size: _nearest(aspect, kept, logs) for size, aspect in aspects.items()}
    return [best[size] for size in sizes]


def least_cut(shapes: list[tuple[int, int]], weights: Mapping[float, int]) -> list[tuple[int, int]]:
    """The MAX_BUCKETS of `shapes`, sorted by aspect, in which pictures (log aspect -> how many) lose the least area in all.

    A picture loses 1 - exp(-d) of its area at the distance d in log aspect, so that the best shapes up to each shape follow from the best
    up to the shapes before it: k-medians on a line, exactly, by dynamic programming (Bellman 1957).
    """
    x, w = np.array(sorted(weights.items()), np.float64).T
    at = np.log([width / height for width, height in shapes])
    total, down, up = (np.concatenate(([0.0], np.cumsum(w * factor))) for factor in (np.ones_like(x), np.exp(-x), np.exp(x)))
    here, middle = np.searchsorted(x, at), np.searchsorted(x, (at[:, None] + at) / 2)  # how many lie below
    above = total[middle] - total[here][:, None] - np.exp(at)[:, None] * (down[middle] - down[here][:, None])  # given to the lower of two
    below = total[here] - total[middle] - np.exp(-at) * (up[here] - up[middle])  # given to the higher
    between = np.where(at[:, None] < at, above + below, np.inf)
    best, ways = total[here] - np.exp(-at) * up[here], []
    for _ in range(MAX_BUCKETS - 1):
        costs = best[:, None] + between
        ways.append(costs.argmin(0))
        best = costs.min(0)
    chosen = [int((best + total[-1] - total[here] - np.exp(at) * (down[-1] - down[here])).argmin())]
    for way in reversed(ways):
        chosen.append(int(way[chosen[-1]]))
    return [shapes[i] for i in reversed(chosen)]


def _nearest(aspect: float, shapes: list[tuple[int, int]], logs: np.ndarray) -> tuple[int, int]:
    """The shape whose log aspect (`logs`, of all) is nearest; of several, the largest."""
    apart = np.abs(logs - aspect)
    return min((shapes[i] for i in np.flatnonzero(apart <= apart.min() + 1e-9)), key=lambda shape: (-shape[0] * shape[1], shape))


def frames(size: tuple[int, int], edit: Edit, bucket: tuple[int, int], count: int, identity: str) -> list[Frame]:
    """Up to `count` different frames of a stored picture (width, height), edited so, that fill `bucket`.

    The first lies around the focal point, or in the middle; the others at places drawn from `identity` that hold the focal point.
    """
    (w, h), (bucket_w, bucket_h) = edit.size_px(*size), bucket
    scale = max(bucket_w / w, bucket_h / h)
    resized = max(bucket_w, round(w * scale)), max(bucket_h, round(h * scale))
    focus = edit.seen_focus(*size)
    ranges = [_range(resized[i], bucket[i], focus and focus[i]) for i in (0, 1)]
    places = [tuple(first for first, _, _ in ranges)]
    for k in range(1, count):
        digest = hashlib.sha256(f"{identity}/{k}".encode()).digest()
        drawn = int.from_bytes(digest[:8]), int.from_bytes(digest[8:16])
        places.append(tuple(low + n % (high - low + 1) for n, (_, low, high) in zip(drawn, ranges, strict=True)))
    box = edit.box_px(*size)
    return [
        Frame(box, edit.turns, int(edit.mirror), resized, (left, top, left + bucket_w, top + bucket_h))
        for left, top in dict.fromkeys(places)
    ]


def _range(length: int, part: int, focus: float | None) -> tuple[int, int, int]:
    """(first, lowest, highest) place of a part of a length, all of them with the focal point in it."""
    slack = length - part
    if focus is None:
        return slack // 2, 0, slack
    point = focus * length
    first = min(slack, max(0, round(point - part / 2)))
    return first, min(first, max(0, math.ceil(point - part))), max(first, min(slack, math.floor(point)))
