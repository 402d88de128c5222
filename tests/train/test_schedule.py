"""What happens at a step depends on the step alone."""

from collections import Counter

import pytest

from studio.dataset.kohya import shared_out
from studio.spec import fixed_steps
from studio.train.schedule import BatchPlan, ema_decay, lr_factor


def test_every_picture_comes_equally_often():
    plan = BatchPlan(["a"] * 7, batch_size=3, seed=1)
    seen = Counter(i for step in range(7 * 4) for i in plan.batch(step))
    assert seen == dict.fromkeys(range(7), 12)


def test_pictures_come_as_often_as_their_repeats_and_equal_repeats_change_nothing():
    plan = BatchPlan(["a"] * 4, batch_size=3, seed=1, repeats=[1, 2, 1, 4])
    seen = Counter(i for step in range(8 * 5) for i in plan.batch(step))
    assert seen == {0: 15, 1: 30, 2: 15, 3: 60}
    plain, alike = BatchPlan(["a", "b"] * 4, 2, seed=5), BatchPlan(["a", "b"] * 4, 2, seed=5, repeats=shared_out([10] * 8))
    assert [plain.batch(step) for step in range(40)] == [alike.batch(step) for step in range(40)]


def test_batches_hold_one_bucket_and_buckets_get_their_share():
    buckets = ["wide"] * 6 + ["tall"] * 2
    plan = BatchPlan(buckets, batch_size=4, seed=3)
    batches = [plan.batch(step) for step in range(400)]
    assert all(len({buckets[i] for i in b}) == 1 and len(b) == 4 for b in batches)
    seen = Counter(i for b in batches for i in b)
    assert max(seen.values()) - min(seen.values()) <= 4


def test_any_step_can_be_asked_first():
    buckets = ["a"] * 5 + ["b"] * 3
    in_order = BatchPlan(buckets, 2, seed=9)
    expected = [in_order.batch(step) for step in range(50)]
    assert BatchPlan(buckets, 2, seed=9).batch(37) == expected[37]
    assert [BatchPlan(buckets, 2, seed=10).batch(s) for s in range(50)] != expected


def test_learning_rate_rises_then_stays():
    factors = [lr_factor(s, 100, 0.05) for s in range(100)]
    assert factors[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert set(factors[5:]) == {1.0}
    assert lr_factor(0, 10, 0.0) == 1.0


def test_average_forgets_its_start_then_settles():
    assert ema_decay(0, 0.99) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.99) == 0.99
    assert ema_decay(50, 0.0) == 0.0


@pytest.mark.parametrize(
    ("every", "steps", "parts", "expected"),
    [(None, 10, 5, [2, 4, 6, 8, 10]), (3, 10, 5, [3, 6, 9, 10]), (0, 10, 5, []), (50, 10, 5, [10]), (None, 1, 6, [1])],
)
def test_steps_are_fixed_before_the_first(every, steps, parts, expected):
    assert fixed_steps(every, steps, parts) == expected
