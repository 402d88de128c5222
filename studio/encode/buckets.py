"""Which shapes a run trains in, and which part of a picture fills its shape."""

import hashlib
import math
from collections import Counter

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
    """The bucket (width, height) of each picture (width, height): nearest aspect, at most five buckets in all."""
    shapes = bucket_shapes(size_px, multiple)
    first: Counter = Counter()
    for (w, h), count in Counter(sizes).items():
        first[_nearest(w / h, shapes)] += count
    kept = [shape for shape, _ in sorted(first.items(), key=lambda item: (-item[1], item[0]))[:MAX_BUCKETS]]
    found = {(w, h): _nearest(w / h, kept) for w, h in set(sizes)}
    return [found[size] for size in sizes]


def _nearest(aspect: float, shapes: list[tuple[int, int]]) -> tuple[int, int]:
    return min(shapes, key=lambda s: (abs(math.log(s[0] / s[1] / aspect)), -s[0] * s[1], s))


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
