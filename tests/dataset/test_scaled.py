"""What is taken from a picture's reduced copy is what all of its pixels would give; what needs all of them looks at all of them."""

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from studio.dataset.doctor.measures import WORK_PX, blur, borders, detail, measure
from studio.dataset.scaled import COPY_PX, Scaled
from studio.dataset.stored import hash_pixels, thumbnail

SIZES = [(33, 264), (512, 511), (700, 90), (1023, 640), (1024, 1024), (1537, 1031), (2600, 330)]


def scene(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Patches with hard edges, and fine grain over them."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    grain = random.normal(0, 9, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(patches) + grain).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_prints_and_views_are_those_of_the_whole_picture(size):
    image = scene(size)
    picture = Scaled(image)
    means = np.asarray(image.resize((16, 16), Image.Resampling.BOX), int)
    assert np.abs(thumbnail(picture) - means).max() <= 8  # of 255, at cells that an edge runs through
    assert np.abs(thumbnail(picture) - means).mean() < 1
    view = picture.within(256)
    assert max(view) == min(256, max(size)) and abs(view[0] / view[1] / (size[0] / size[1]) - 1) < 0.05
    whole = np.asarray(image.resize(view, Image.Resampling.HAMMING), int)
    assert np.abs(np.asarray(picture.resized(view, Image.Resampling.HAMMING), int) - whole).mean() < 4


def test_what_is_larger_than_the_copy_comes_from_the_picture_itself():
    image = scene((1400, 1100))
    picture = Scaled(image)
    assert COPY_PX <= max(picture.copy.size) < 2 * COPY_PX
    large = picture.resized(picture.within(1024), Image.Resampling.HAMMING)
    same = image.resize((1024, 805), Image.Resampling.HAMMING, reducing_gap=2.0)
    assert np.array_equal(np.asarray(large), np.asarray(same))


@pytest.mark.parametrize("size", [(900, 700), (1400, 1050)])
@pytest.mark.parametrize("radius", [0, 3])
def test_measures_are_those_of_the_whole_picture(size, radius):
    image = scene(size, seed=1).filter(ImageFilter.GaussianBlur(radius))
    picture = Scaled(image)
    found = measure(picture)
    work = np.asarray(image.resize(picture.within(WORK_PX), Image.Resampling.BILINEAR).convert("L"), np.float32)
    assert abs(found["blur"] - blur(work)) < 0.03
    low, high = np.percentile(work, (1, 99))
    assert abs(found["low"] - low) < 3 and abs(found["high"] - high) < 3


@pytest.mark.parametrize("size", [(17, 9000), (9000, 17), (640, 480), (1, 1)])
def test_a_hash_covers_every_pixel_and_the_size(size):
    image = scene(size)
    width, height = size
    assert hash_pixels(image) == hashlib.sha256(f"{width}x{height}:".encode() + image.tobytes()).hexdigest()
    changed = image.copy()
    changed.putpixel((width - 1, height - 1), tuple(255 - value for value in image.getpixel((width - 1, height - 1))))
    assert hash_pixels(changed) != hash_pixels(image)


def test_enlarged_pixels_are_told_only_where_every_one_is():
    small = scene((80, 60))
    large = small.resize((240, 180), Image.Resampling.NEAREST)
    assert detail(large) == 0.33
    for place in ((0, 0), (239, 179), (121, 90)):
        spoiled = large.copy()
        spoiled.putpixel(place, (1, 2, 3))
        assert detail(spoiled) != 0.33
    assert detail(Image.new("RGB", (240, 180), "red")) == 1.0


@pytest.mark.parametrize("bars", [(0, 0, 0, 0), (7, 0, 0, 0), (0, 0, 31, 0), (3, 40, 5, 120), (0, 130, 0, 100)])
def test_borders_are_counted_to_the_line_on_each_side(bars):
    image = ImageOps.expand(scene((600, 400)), bars, (200, 30, 30))
    found = borders(image)
    assert found["margins"] == list(bars)
    assert found["bars"] == list(bars)


def test_a_picture_of_one_colour_is_all_border():
    assert borders(Image.new("RGB", (50, 40), "grey"))["margins"] == [50, 40, 50, 40]
