"""Copies are told from relatives by what real pictures say; few of them say nothing, and one sign alone is not enough."""

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from studio.evaluate.memorisation import CROP, Looks, Nearest, judge_copies, look, most_may_copy

SIZE_PX = 64
GAPLESS = {"train": {"log_ratio": -0.5}, "held_out": {"log_ratio": -0.4}}


def picture(seed):
    """Clouds: any two are different, neighbouring pixels are not."""
    values = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(values).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)


def noisy(image, seed, levels=12):
    noise = np.random.default_rng(seed).normal(0, levels, (SIZE_PX, SIZE_PX, 3))
    return Image.fromarray(np.clip(np.asarray(image, float) + noise, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def looks(pictures):
    """With features that tell clouds apart as a tower does: their coarse colours."""
    coarse = np.stack([np.asarray(ImageOps.grayscale(p).resize((6, 6), Image.Resampling.BOX), float).ravel() - 128 for p in pictures])
    return look(pictures, coarse / np.linalg.norm(coarse, axis=1, keepdims=True))


TRAINED, UNSEEN = [picture(i) for i in range(30)], [picture(100 + i) for i in range(12)]


def nearest(pictures, trained=TRAINED, apart=None):
    found = Nearest(looks(pictures))
    for start in range(0, len(trained), 7):
        block = looks(trained[start : start + 7])
        found.compare(block, start, None if apart is None else apart[:, start : start + 7])
    return found


def real(unseen=UNSEEN, trained=TRAINED):
    apart = np.vstack([np.zeros((len(unseen), len(trained)), bool), np.eye(len(trained), dtype=bool)])
    return nearest([*unseen, *trained], trained, apart)


@pytest.mark.parametrize(
    "changed",
    [
        lambda p: noisy(p, 1),
        ImageOps.mirror,
        lambda p: p.crop((0, 0, round(SIZE_PX * CROP), round(SIZE_PX * CROP))).resize(p.size),
        lambda p: ImageOps.mirror(p).resize((48, 40)),
    ],
    ids=["noisy", "mirrored", "a corner of it", "mirrored, of another size"],
)
def test_the_picture_it_was_made_from_is_found(changed):
    found = nearest([changed(p) for p in TRAINED[:10]])
    assert list(found.index) == list(range(10))
    assert found.pixels.min() > 0.9 > real().pixels.max()


def test_several_copies_are_enough_and_named():
    drawn = [noisy(TRAINED[3 * i], i) if i % 2 else picture(500 + i) for i in range(10)]
    verdict = judge_copies(nearest(drawn), real(), len(UNSEEN), GAPLESS)
    assert verdict.suspects == [1, 3, 5, 7, 9]
    assert [sign.is_found for sign in verdict.signs] == [False, False, True]
    assert verdict.level == "copies" and "5 of 10 drawn pictures are nearly trained ones" in verdict.text


def test_nearer_than_unseen_pictures_and_a_copy_are_two_signs():
    drawn = [noisy(p, i, levels=90) for i, p in enumerate(TRAINED[:11])] + [noisy(TRAINED[11], 1)]
    verdict = judge_copies(nearest(drawn), real(), len(UNSEEN), GAPLESS)
    assert [sign.is_found for sign in verdict.signs] == [False, True, True] and verdict.level == "copies"


def test_others_of_the_domain_are_none():
    verdict = judge_copies(nearest([picture(900 + i) for i in range(24)]), real(), len(UNSEEN), GAPLESS)
    assert (verdict.level, verdict.suspects) == ("none", [])
    assert "up to 12 %" in verdict.text and all(sign.is_found is False for sign in verdict.signs)


def test_one_copy_among_many_is_shown_but_is_one_sign():
    drawn = [noisy(TRAINED[0], 1), *(picture(900 + i) for i in range(23))]
    verdict = judge_copies(nearest(drawn), real(), len(UNSEEN), GAPLESS)
    assert verdict.level == "signs" and verdict.suspects == [0]


def test_a_loss_that_only_trained_pictures_have_is_a_sign():
    loss = {"train": {"log_ratio": -2.0}, "held_out": {"log_ratio": -0.3}}
    verdict = judge_copies(nearest([picture(900 + i) for i in range(12)]), real(), len(UNSEEN), loss)
    assert verdict.level == "signs" and verdict.signs[0].is_found and "82 % below" in verdict.signs[0].text


def test_few_pictures_tell_nothing():
    verdict = judge_copies(nearest([picture(1)], TRAINED[:3]), real(UNSEEN[:1], TRAINED[:3]), 1, None)
    assert verdict.level == "unknown" and [sign.is_found for sign in verdict.signs] == [None] * 3
    assert "Only 4 real pictures" in verdict.signs[1].text


def test_flat_pictures_and_damaged_scores_do_no_harm():
    flat = look([Image.new("RGB", (8, 8), c) for c in ("black", "white")], np.eye(2))
    found = Nearest(flat)
    found.compare(Looks(flat.features, flat.windows), 0)
    assert np.isfinite(found.pixels).all() and list(found.index) == [0, 1]
    assert judge_copies(found, real(), len(UNSEEN), {"train": None, "held_out": 5}).signs[0].is_found is None


def test_what_none_in_so_many_still_allows():
    assert [round(most_may_copy(n)) for n in (20, 50, 100)] == [14, 6, 3]
