"""Which shapes a run trains in, and which part of a picture fills its shape."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

MAX_BUCKETS = 5
MAX_ASPECT = 4.0


@dataclass(frozen=True)
class Crop:
    """A part of a picture: resize to (resized_w, resized_h), then cut (width, height) at (left, top); all px."""

    resized_w: int
    resized_h: int
    left: int
    top: int
    width: int
    height: int


def bucket_shapes(size_px: int, multiple: int) -> list[tuple[int, int]]:
    """All (width, height) that are multiples of `multiple` with about size_px² pixels and an aspect up to 4:1."""
    side = max(multiple, size_px // multiple * multiple)
    shapes = {(side, side)}
    for width in range(multiple, int(side * math.sqrt(MAX_ASPECT)) + 1, multiple):
        height = max(multiple, side * side // width // multiple * multiple)
        if max(width / height, height / width) <= MAX_ASPECT:
            shapes |= {(width, height), (height, width)}
    return sorted(shapes)


def assign_buckets(sizes: list[tuple[int, int]], size_px: int, multiple: int) -> list[tuple[int, int]]:
    """The bucket (width, height) of each picture (width, height): nearest aspect, at most five buckets in all."""
    shapes = bucket_shapes(size_px, multiple)
    first = [_nearest(w / h, shapes) for w, h in sizes]
    kept = [shape for shape, _ in sorted(Counter(first).items(), key=lambda item: (-item[1], item[0]))[:MAX_BUCKETS]]
    return [_nearest(w / h, kept) for w, h in sizes]


def _nearest(aspect: float, shapes: list[tuple[int, int]]) -> tuple[int, int]:
    return min(shapes, key=lambda s: (abs(math.log(s[0] / s[1] / aspect)), -s[0] * s[1], s))


def crops(size: tuple[int, int], bucket: tuple[int, int], count: int, identity: str) -> list[Crop]:
    """Up to `count` different crops of a picture (width, height) that fill `bucket`: the centre, then places drawn from `identity`."""
    (w, h), (bucket_w, bucket_h) = size, bucket
    scale = max(bucket_w / w, bucket_h / h)
    resized_w, resized_h = max(bucket_w, round(w * scale)), max(bucket_h, round(h * scale))
    slack_w, slack_h = resized_w - bucket_w, resized_h - bucket_h
    places = [(slack_w // 2, slack_h // 2)]
    for k in range(1, count):
        digest = hashlib.sha256(f"{identity}/{k}".encode()).digest()
        places.append((int.from_bytes(digest[:8]) % (slack_w + 1), int.from_bytes(digest[8:16]) % (slack_h + 1)))
    return [Crop(resized_w, resized_h, left, top, bucket_w, bucket_h) for left, top in dict.fromkeys(places)]
