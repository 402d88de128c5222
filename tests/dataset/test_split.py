"""The held-out part: exact counts, decided by pixels alone, kept once decided, never through a group."""

import random

import pytest

from studio.dataset.rows import Row
from studio.dataset.split import hold_out, num_held_out
from studio.store import sha256


def row(number: int, group: str = "", split=None, pixels: str | None = None) -> Row:
    pixels = sha256(str(number).encode()) if pixels is None else pixels
    return Row(file=f"{number}.png", sha256="0", pixels=pixels, width=64, height=64, group=group, split=split)


def held(rows) -> set[str]:
    return {each.pixels for each in hold_out(rows) if each.split == "held_out"}


def test_the_number_held_out_follows_the_rule():
    expected = {0: 0, 1: 0, 2: 1, 7: 1, 8: 2, 13: 2, 14: 2, 17: 3, 20: 3, 30: 4, 31: 5, 50: 5, 56: 6, 80: 8, 300: 30}
    assert {num: num_held_out(num) for num in expected} == expected


@pytest.mark.parametrize("num", [1, 2, 3, 7, 8, 12, 30, 31, 100])
def test_exactly_that_many_are_held_out(num):
    assert len(held([row(i) for i in range(num)])) == num_held_out(num)


def test_order_and_names_do_not_matter():
    rows = [row(i, group=f"g{i // 3}" if i % 2 else "") for i in range(40)]
    expected = held(rows)
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        renamed = [each.model_copy(update={"file": f"{i}.jpg", "source": "x"}) for i, each in enumerate(shuffled)]
        assert held(renamed) == expected


def test_rows_come_back_in_their_order_and_unchanged_otherwise():
    rows = [row(i) for i in range(9)]
    assert [each.model_copy(update={"split": None}) for each in hold_out(rows)] == rows


@pytest.mark.parametrize("seed", range(30))
def test_groups_and_equal_pictures_never_straddle(seed):
    dice = random.Random(seed)
    num = dice.randint(2, 60)
    rows = [row(i, dice.choice(["", "", "a", "b", "c", "d"]), pixels=f"{dice.randint(0, num)}") for i in range(num)]
    done = hold_out(rows)
    for key in ("group", "pixels"):
        sides: dict[str, set] = {}
        for each in done:
            sides.setdefault(getattr(each, key) or each.file, set()).add(each.split)
        assert all(len(side) == 1 for side in sides.values())
    assert any(each.split == "train" for each in done)


@pytest.mark.parametrize("num_before, num_added", [(1, 1), (5, 5), (10, 1), (20, 30), (40, 400)])
def test_adding_pictures_keeps_what_was_decided(num_before, num_added):
    before = hold_out([row(i) for i in range(num_before)])
    after = hold_out([*before, *(row(i) for i in range(num_before, num_before + num_added))])
    assert after[:num_before] == before
    assert sum(each.split == "held_out" for each in after) == num_held_out(num_before + num_added)


def test_a_new_picture_joins_the_side_of_its_group():
    done = hold_out([row(0, "a", "held_out"), row(1, "b", "train"), row(2, "a"), row(3, "b")])
    assert [each.split for each in done] == ["held_out", "train", "held_out", "train"]


def test_a_given_split_stays_even_within_a_group():
    rows = [row(i, "patient", "held_out" if i < 6 else "train") for i in range(10)]
    assert hold_out(rows) == rows


def test_a_picture_that_is_trained_on_is_not_held_out_as_well():
    done = hold_out([row(0, split="train", pixels="same"), row(1, split="held_out", pixels="same"), row(2, split="held_out")])
    assert [each.split for each in done] == ["train", "train", "held_out"]


@pytest.mark.parametrize(
    "sizes, expected",
    [((2,), 0), ((4,), 0), ((2, 1), 1), ((3, 3), 3), ((4, 3), 3), ((2,) * 20, 6), ((9, 1, 1, 1), 2), ((20, 20), 20)],
)
def test_groups_are_held_out_whole(sizes, expected):
    rows = [row(100 * g + i, f"group {g}") for g, size in enumerate(sizes) for i in range(size)]
    assert len(held(rows)) == expected
