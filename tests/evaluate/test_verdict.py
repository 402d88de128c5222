"""What is judged of an adapter: nearness to the domain, variety and captions, each against what chance and collapse would give."""

import numpy as np
import pytest

from studio.evaluate.domain import follows_captions, gap, variety
from studio.evaluate.memorisation import Copying
from studio.evaluate.verdict import Seen, findings, headline

NO_COPIES = Copying("none", "No sign of copying.", [], 32)
DIM = 24


def pictures(num, centre, spread=0.1, seed=0):
    """Features of unit length about one of the axes."""
    values = np.random.default_rng(seed).normal(0, spread, (num, DIM))
    values[:, centre] += 1
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_gap_is_closed_wholly_half_or_not_at_all():
    real, base = pictures(12, 0, seed=1), pictures(32, 1, seed=2)
    near, half, other = pictures(32, 0, seed=3), pictures(32, 1, seed=4) + 0.7 * pictures(32, 0, seed=5), pictures(32, 1, seed=6)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shares = [gap(base, each, real).closed for each in (near, half, other)]
    assert shares[0] > 0.95 and 0.2 < shares[1] < 0.8 and abs(shares[2]) < 0.1
    assert gap(base, near, real).p < 0.001 and gap(base, other, real).p > 0.05
    assert gap(base, base, real).p == 1 and gap(near, base, real).closed < -1
    assert gap(base, near, real[:3]) is None


def test_chance_is_told_as_chance():
    real = pictures(10, 0, seed=1)
    values = [gap(pictures(16, 1, seed=n), pictures(16, 1, seed=100 + n), real).p for n in range(30)]
    assert sum(p < 0.05 for p in values) <= 5


def test_variety_counts_no_picture_against_itself():
    real = pictures(8, 0, spread=0.05, seed=1)
    alike = np.concatenate([real] * 4)
    assert variety(alike, alike) == pytest.approx(1)
    one = np.repeat(real[:1], 32, axis=0)
    assert variety(one, alike) == pytest.approx(0, abs=1e-6) and variety(real[:1], real[:1]) is None and variety(one, one) is None
    assert 1.5 < variety(pictures(32, 0, spread=0.1, seed=2), alike) < 8


def test_captions_followed_shuffled_and_all_alike():
    kinds = np.arange(24) % 3
    drawn, real = (np.stack([pictures(1, k, seed=s + 100 * t)[0] for s, k in enumerate(kinds)]) for t in (1, 2))
    words = [f"kind {k}" for k in kinds]
    assert follows_captions(drawn, words, real, words) > 0.95
    assert abs(follows_captions(drawn, list(np.random.default_rng(0).permutation(words)), real, words) - 0.5) < 0.2
    assert follows_captions(drawn, ["a"] * 24, real, ["a"] * 24) is None and follows_captions(drawn, ["new"] * 24, real, words) is None


@pytest.mark.parametrize(
    ("adapted", "copying", "state", "words"),
    [
        (pictures(32, 0, seed=3), NO_COPIES, "good", "Closed"),
        (pictures(32, 0, seed=3), Copying("copies", "It copies trained pictures.", [], 32, [1]), "bad", "It copies"),
        (pictures(32, 0, seed=3), Copying("signs", "One of three signs.", [], 32), "doubt", "One of three"),
        (pictures(32, 1, seed=8), NO_COPIES, "doubt", "No nearer to your domain"),
        (np.repeat(pictures(1, 0, seed=3), 32, axis=0), NO_COPIES, "bad", "nearly one picture"),
        (pictures(32, 0, spread=0.4, seed=3), NO_COPIES, "doubt", "times as varied"),
        (pictures(32, 2, seed=9), NO_COPIES, "bad", "Further from your domain"),
    ],
    ids=["nearer", "copies", "signs", "as the base", "collapsed", "strays", "further away"],
)
def test_the_worst_stands_for_all(adapted, copying, state, words):
    trained, unseen = pictures(32, 0, seed=10), pictures(12, 0, seed=11)
    base = pictures(32, 1, seed=2) * 0.3 + unseen[np.arange(32) % 12] * 0.7 if words.startswith("Further") else pictures(32, 1, seed=2)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    found = findings(Seen(base, adapted, trained, trained, unseen), copying, ["a"] * 32, ["a"] * 32)
    said = headline(found)
    assert said[0] == state and words in said[1], found


def test_without_unseen_pictures_the_rest_is_told():
    trained = pictures(8, 0, seed=1)
    found = findings(Seen(trained, trained, trained, trained, trained[:0]), NO_COPIES, ["a"] * 8, ["a"] * 8)
    assert [each.state for each in found] == ["unknown", "good", "good", "unknown"]
    assert headline(found) == ("good", "No sign of copying in 32 pictures.")
