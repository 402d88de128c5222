"""What the report measures, on numbers and pictures whose answer is known."""

from pathlib import Path

import pytest
import torch

from studio.starter.adaptation import Pairs, World, choose_features, classify
from studio.starter.judge import load_judge
from studio.starter.measures import Worlds, dark_lines, judge_features, redness, share_of_styles_told, statistics

MODEL = Path(__file__).parents[2] / "assets" / "starter"


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain(colour, num=6, seed=0):
    """Pictures of one colour with a little noise: [num, 3, 16, 16]."""
    return (torch.tensor(colour).view(1, 3, 1, 1) + 0.1 * noise(num, 3, 16, 16, seed=seed)).clamp(0, 1)


def test_a_style_that_does_the_same_to_every_concept_is_told():
    concepts, styles = 10 * noise(9, 1, 5), noise(1, 7, 5, seed=1)
    assert share_of_styles_told(concepts + styles) == 1.0
    assert share_of_styles_told(concepts + styles + 0.01 * noise(9, 7, 5, seed=2)) > 0.9


def test_styles_that_do_nothing_are_not_told_better_than_by_chance():
    shares = [share_of_styles_told(noise(20, 7, 8, seed=seed)) for seed in range(8)]
    assert sum(shares) / len(shares) < 1.5 / 7


def test_worlds_are_told_apart_by_the_nearer_centroid():
    worlds = Worlds(plain((0.1, 0.1, 0.1)), plain((0.8, 0.5, 0.2), seed=1), (statistics,))
    assert worlds.share_in_domain(plain((0.12, 0.1, 0.1), seed=2)) == 1.0
    assert worlds.share_in_domain(plain((0.7, 0.5, 0.2), seed=3)) == 0.0
    half = torch.cat([plain((0.1, 0.1, 0.1), 3, seed=4), plain((0.8, 0.5, 0.2), 3, seed=5)])
    assert worlds.share_in_domain(half) == 0.5


def test_classifying_says_how_it_does_on_real_pictures():
    grey, warm = (0.1, 0.1, 0.1), (0.8, 0.5, 0.2)
    pairs = Pairs(["a"] * 4, plain(warm, 4, seed=4), plain(grey, 4, seed=5))
    world = World(plain(warm), plain(warm, seed=1), {"statistics": (statistics,)})
    told = classify(plain(grey, seed=2), plain(grey, seed=3), world, pairs)
    assert told == {"statistics": {"real": 1.0, "own": 0.0, "base": 0.0, "adapted": 1.0}}


def test_features_are_chosen_by_real_pictures_alone():
    good = {"real": 0.9, "own": 0.1, "base": 0.5, "adapted": 0.5}
    flattering = {"real": 0.6, "own": 0.1, "base": 0.0, "adapted": 1.0}
    assert choose_features([{"a": flattering, "b": good}] * 2) == "b"
    assert choose_features([{"a": good, "b": good}]) == "a"


def test_dark_lines_are_found_on_light_ground_only():
    px = torch.ones(2, 16, 16)
    px[0, :, 8] = 0  # a line down
    px[1, :, 8:] = 0  # an edge
    (share_across, _, share_down, _) = dark_lines(px, 2)
    assert share_across[0] > 0 and share_across[1] == 0 and share_down.sum() == 0


def test_redness_is_what_red_has_above_the_others():
    assert redness(plain((0.9, 0.1, 0.1))).min() > 0.7
    assert redness(torch.ones(1, 3, 4, 4)).item() == 0 == redness(torch.tensor([0.1, 0.1, 0.9]).view(1, 3, 1, 1).expand(1, 3, 4, 4)).item()


def test_features_have_a_row_per_picture():
    px = noise(5, 3, 64, 64)
    judge, _ = load_judge(MODEL / "judge")
    assert statistics(px).shape == (5, 28) and statistics(px).isfinite().all()
    assert judge_features(judge)(px).shape == (5, judge.head.in_features)
    with torch.no_grad():
        assert torch.allclose(judge.head(judge_features(judge)(px)), judge(px * 2 - 1), atol=1e-5)


@pytest.mark.parametrize("num", [1, 13])
def test_pairs_are_drawn_in_bands(tmp_path, num):
    from PIL import Image

    from studio.starter.grids import save_pairs

    save_pairs(noise(num, 3, 16, 16), noise(num, 3, 16, 16), tmp_path / "pairs.png")
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.size == (84 + min(num, 12) * 20, 4 + 2 * -(-num // 12) * 20)
