"""The picture trained on is the picture seen: every kind of file against the pixels a person sees in it."""

import random

import numpy as np
import pytest
from PIL import Image

from studio.dataset.intake import create_dataset
from studio.dataset.kinds import HEAD_BYTES, refusal
from studio.dataset.pixels import Unreadable, see
from studio.dataset.readers.base import parse_choices
from studio.store import Workspace
from tests.dataset.corpus import Case, all_cases, encode, photo, quad

CASES = all_cases()


def read(case: Case):
    reason = refusal(case.name, case.data[:HEAD_BYTES])
    if reason:
        raise Unreadable(reason)
    return see(case.data, "#ffffff")


@pytest.mark.parametrize("case", [case for case in CASES if not case.reason], ids=lambda case: case.name)
def test_what_is_taken_is_what_is_seen(case):
    seen = read(case)
    values = np.asarray(seen.image).astype(int)
    assert seen.image.mode == "RGB"
    if case.corners is not None:
        found = np.array([values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]])
        assert np.abs(found - np.array(case.corners)).max() <= case.tolerance
    if case.row is not None:
        assert np.abs(values[0] - case.row[:, None]).max() <= case.tolerance
    assert bool(seen.suffix) == case.is_copied
    if "whatever its name" not in case.note:
        assert case.note in "; ".join(seen.notes)


ELSEWHERE = {"scan.dcm", "brain.nii.gz", "all.zip"}  # told by the readers of scans, and by that of archives


@pytest.mark.parametrize("case", [case for case in CASES if case.reason and case.name not in ELSEWHERE], ids=lambda case: case.name)
def test_what_cannot_be_taken_has_one_line_that_says_why(case):
    with pytest.raises(Unreadable) as caught:
        read(case)
    assert case.reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(CASES) >= 125
    assert len({case.name for case in CASES}) == len(CASES)


def test_transparent_parts_lie_on_the_chosen_colour():
    image = quad().convert("RGBA")
    image.putalpha(0)
    assert see(encode(image, "PNG"), "#102030").image.getpixel((5, 5)) == (16, 32, 48)


def test_damaged_bytes_never_raise_anything_else():
    dice = random.Random(0)
    small = [case.data for case in CASES if 0 < len(case.data) < 60_000]
    for _ in range(300):
        data = bytearray(dice.choice(small))
        for _ in range(dice.choice((1, 3, 20))):
            data[dice.randrange(min(len(data), dice.choice((64, 600, 60_000))))] = dice.randrange(256)
        try:
            see(bytes(data), "#ffffff")
        except Unreadable as error:
            assert str(error)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_cut_file_is_refused_or_whole(kind):
    data = encode(photo(3), kind)
    whole = see(data, "#ffffff").image.tobytes()
    for left in [*range(len(data) - 24, len(data)), *range(20, len(data), len(data) // 12)]:
        try:
            assert see(data[:left], "#ffffff").image.tobytes() == whole
        except Unreadable:
            continue


@pytest.mark.parametrize(
    ("window", "low", "high"),
    [("", 0, 4095), ("2000/1000", 1500, 2500), ("percentiles", None, None)],
    ids=["whole", "window", "percentiles"],
)
def test_deep_grey_is_shown_as_chosen(tmp_path, window, low, high):
    values = np.random.default_rng(0).normal(2000, 200, (64, 64)).clip(0, 4095).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    made = create_dataset(Workspace.at(tmp_path / "w"), "deep", [tmp_path / "deep.png"], choices=parse_choices({"window": window}))
    if low is None:
        low, high = np.percentile(values, (1, 99))
    wanted = np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255
    assert np.abs(np.asarray(Image.open(made.path(made.rows[0])).convert("L"), float) - wanted).max() <= 1
    assert ("percentiles" in made.rows[0].note) == (window == "percentiles")
