"""Which pictures are held out: decided once, from the pictures alone, and never through a group of look-alikes."""

from collections.abc import Sequence
from hashlib import sha256

from studio.dataset.alike import equal_pairs, families
from studio.dataset.rows import Row, Split, changed

MIN_TESTABLE = 5  # held-out pictures below which no significance can be claimed (sign test: .031 at five)


def num_held_out(num_rows: int, share: float | None = None) -> int:
    """How many of `num_rows` pictures to hold out: 0 of one, 1 below 8, 15 % (at least 2) up to 30, then 10 % (at least 5).

    `share` instead holds out that part, at least one.
    """
    if num_rows < 2:
        return 0
    if share is not None:
        return min(num_rows - 1, max(1, round(share * num_rows)))
    if num_rows < 8:
        return 1
    if num_rows <= 30:
        return max(2, round(0.15 * num_rows))
    return max(5, round(0.10 * num_rows))


def hold_out(rows: Sequence[Row], *, share: float | None = None, seed: int = 0) -> list[Row]:
    """Copies of `rows`, each with its split.

    A split that is set stays, but for pictures also in the training part, pixel for pixel: those train. The rest is
    decided by pixel hashes alone, so neither order nor names matter; groups and equal pictures stay on one side.
    `seed` draws others, `share` holds out another part than the number of pictures asks for.
    """
    splits = [row.split for row in rows]
    kin = _families(rows, seed)
    for family in kin:
        _settle(family, rows, splits)
    free = [family for family in kin if splits[family[0]] is None]
    wanted = num_held_out(len(rows), share) - splits.count("held_out")
    for family in _choose(free, wanted, len(rows), has_train="train" in splits):
        for i in family:
            splits[i] = "held_out"
    return [changed(row, split=split or "train") for row, split in zip(rows, splits, strict=True)]


def _families(rows: Sequence[Row], seed: int) -> list[list[int]]:
    """Indices of rows that belong together by group or by pixels, in the order of their smallest pixel hash, hashed again by `seed`."""
    pairs = [*equal_pairs([row.pixels for row in rows]), *equal_pairs([row.group or None for row in rows])]
    keys = [sha256(f"{seed}/{row.pixels}".encode()).hexdigest() if seed else row.pixels for row in rows]
    return sorted(families(len(rows), pairs), key=lambda family: min(keys[i] for i in family))


def _settle(family: list[int], rows: Sequence[Row], splits: list[Split | None]) -> None:
    """Give the undecided of a family the side of its decided members; equal pictures on both sides all train."""
    in_train = {rows[i].pixels for i in family if splits[i] == "train"}
    side = "train" if in_train else "held_out" if any(splits[i] for i in family) else None
    for i in family:
        splits[i] = "train" if rows[i].pixels in in_train else splits[i] or side


def _choose(free: list[list[int]], wanted: int, num_rows: int, has_train: bool) -> list[list[int]]:
    """The families to hold out: those that fit `wanted` in their order, then, if short, the smallest one more."""
    chosen: list[list[int]] = []
    num_free = sum(len(family) for family in free)
    room = num_free if has_train else num_free - 1  # something must be left to train on
    held = 0
    for family in free:
        if held + len(family) <= min(wanted, room):
            chosen.append(family)
            held += len(family)
    rest = [family for family in free if family not in chosen]
    if rest and held < wanted:
        smallest = min(rest, key=len)
        if held + len(smallest) <= min(room, num_rows // 2):
            chosen.append(smallest)
    return chosen
