"""Where the tiles of a scene lie, and which of them are taken where not all are."""

from collections.abc import Iterator

_GOLDEN = 0.6180339887498949  # steps of this share of a range fill it evenly, however many are made


def grid(width: int, height: int, side: int, overlap: float, is_apart: bool = False) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, width, height) that cover a scene, row by row; the last ones are moved back inside.

    With `is_apart` no two share a pixel, and what is left over at the far edges is left out.
    """
    step = side if is_apart else max(1, round(side * (1 - overlap)))
    wide, high = min(side, width), min(side, height)
    return [(left, top, wide, high) for top in _starts(height, high, step, is_apart) for left in _starts(width, wide, step, is_apart)]


def _starts(length: int, side: int, step: int, is_apart: bool) -> list[int]:
    starts = list(range(0, length - side + 1, step))
    return starts if is_apart or starts[-1] + side == length else [*starts, length - side]


def spread(num: int, wanted: int) -> list[int]:
    """The indices 0 to num - 1: in order where all are wanted, else so that the first ones of any number lie evenly over the range."""
    return list(range(num)) if num <= wanted else list(_evenly(num))


def _evenly(num: int) -> Iterator[int]:
    return iter(sorted(range(num), key=lambda i: (i * _GOLDEN) % 1.0))
