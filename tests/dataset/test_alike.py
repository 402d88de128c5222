"""Near duplicates are found through recompression, scaling and brightness; different pictures are not taken for one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from studio.dataset.alike import BLOCK, MAX_LINKS, Links, equal_pairs, families, group, near_pairs, turned_pairs
from studio.dataset.doctor.pairs import all_pairs
from studio.dataset.scaled import Scaled
from studio.dataset.stored import thumbnail
from tests.dataset.corpus import encode, photo


def thumbs(*images: Image.Image) -> np.ndarray:
    return np.stack([thumbnail(Scaled(image)) for image in images])


def recompress(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=70))).convert("RGB")


CHANGES = {
    "recompressed": recompress,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "double": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.9),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change):
    for seed in range(20):
        assert list(near_pairs(thumbs(photo(seed), CHANGES[change](photo(seed))))) == [(0, 1)]


def test_different_pictures_are_not_alike():
    assert list(near_pairs(thumbs(*(photo(seed) for seed in range(150))))) == []


def test_drawings_that_differ_in_a_detail_or_a_colour_are_not_alike():
    face = Image.new("RGB", (64, 64), "white")
    face.paste("gold", (8, 8, 56, 56))
    smile, other = face.copy(), face.copy()
    smile.paste("black", (20, 40, 44, 46))
    other.paste("green", (8, 8, 56, 56))
    assert list(near_pairs(thumbs(face, smile, other))) == []


def test_plain_textures_are_told_apart_by_their_grain():
    grain = [np.random.default_rng(i).normal(128, 20, (256, 256, 1)).repeat(3, 2).clip(0, 255).astype(np.uint8) for i in range(20)]
    assert list(near_pairs(thumbs(*map(Image.fromarray, grain)))) == []


def test_groups_join_equal_near_and_given():
    images = [photo(0), recompress(photo(0)), photo(1), photo(2), photo(3), photo(4)]
    pixels = ["p0", "p1", "p2", "p3", "p4", "p2"]
    names = group(pixels, near_pairs(thumbs(*images)), ["", "", "", "given", "given", ""])
    assert names == ["alike-p0", "alike-p0", "alike-p2", "given", "given", "alike-p2"]


def test_a_given_name_wins_and_two_are_joined():
    pixels = ["p0", "p0", "p1"]
    assert group(pixels, [], ["b", "a", "a"]) == ["a+b", "a+b", "a+b"]
    assert group(pixels[:2], [], ["", "a"]) == ["a", "a"]


def test_families_are_the_classes_of_the_pairs():
    assert families(6, [(4, 1), (1, 2), (5, 5)]) == [[0], [1, 2, 4], [3], [5]]
    assert equal_pairs(["a", None, "b", "a", None, "a"]) == [(0, 3), (0, 5)]


def test_of_many_pictures_of_one_thing_few_pairs_are_kept_and_all_stay_in_one_family():
    photos = thumbs(*(photo(0) for _ in range(60)), *(photo(1) for _ in range(60)))
    links = Links(120)
    kept = [pair for pair in near_pairs(photos) if links.takes(*pair)]
    assert len(list(near_pairs(photos))) == 2 * 60 * 59 // 2 and len(kept) <= 120 * MAX_LINKS
    assert families(120, kept) == [list(range(60)), list(range(60, 120))]
    without = [(i, j) for i, j in kept if i % 7 and j % 7]  # some pictures are removed
    assert [len(family) for family in families(120, without) if len(family) > 1] == [51, 51]


def test_pairs_of_fresh_pictures_alone_are_those_of_all_but_for_what_was_known():
    photos = [photo(seed) for seed in range(12)]
    turned = [each.transpose(Image.Transpose.ROTATE_90) for each in photos]
    all_of_them = thumbs(*photos, *(CHANGES["half"](each) for each in photos), *turned)
    fresh = np.arange(len(all_of_them)) % 3 == 1
    for find in (near_pairs, turned_pairs):
        wanted = [pair for pair in find(all_of_them) if fresh[pair[0]] or fresh[pair[1]]]
        assert wanted and sorted(find(all_of_them, fresh)) == sorted(wanted)


def test_a_comparison_of_many_can_be_stopped():
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            raise KeyboardInterrupt

    prints = np.random.default_rng(0).integers(0, 256, (3 * BLOCK, 16, 16, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        all_pairs([f"{n:064x}" for n in range(len(prints))], prints, [None] * len(prints), tick=tick)
    assert len(ticks) == 3
