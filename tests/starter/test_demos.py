"""The demo domains that ship: complete, licensed, and split so that nothing held out leaks into training."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.starter import demos

FOLDER = Path(__file__).parents[2] / "assets" / "demos"
NAMES = [demo.name for demo in demos.DEMOS]


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_a_line_and_every_line_a_picture(name):
    listed = [row["file_name"] for row in rows(name)]
    present = sorted(f.name for f in (FOLDER / name).iterdir() if f.suffix in (".png", ".jpg"))
    assert sorted(listed) == present and len(set(listed)) == len(listed)
    assert 40 <= len(listed) <= 90
    for row in rows(name):
        assert row["text"].strip() and row["group"] and row["split"] in ("train", "held_out")
        with Image.open(FOLDER / name / row["file_name"]) as picture:
            assert picture.size == (demos.SIZE_PX, demos.SIZE_PX)
    assert {row["split"] for row in rows(name)} == {"train", "held_out"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("brain-mri", ["Louis Collins", "McGill", "Permission to use", "without express or implied warranty"]),
        ("satellite", ["NASA", "Blue Marble", "acknowledged"]),
        ("icons", ["OpenMoji", "CC BY-SA 4.0", "Share-alike"]),
    ],
)
def test_the_licence_lies_beside_the_pictures(name, words):
    text = " ".join((FOLDER / name / "LICENSE.md").read_text(encoding="utf-8").replace(">", " ").split())
    for word in words:
        assert word.lower() in text.lower()
    facts = json.loads((FOLDER / name / "demo.json").read_text(encoding="utf-8"))
    wanted = {"title", "about", "domain", "licence", "source", "attribution", "note", "caption_noun", "preview_prompts"}
    assert wanted == set(facts) and all(facts.values()) and len(facts["preview_prompts"]) == 4


def test_the_demos_stay_small():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) < 8_000_000


def test_brain_slices_keep_their_distance_from_the_held_out_slab():
    for plane in demos.PLANES:
        mine = [row for row in rows("brain-mri") if row["plane"] == plane.name]
        held = [row["mm"] for row in mine if row["split"] == "held_out"]
        train = [row["mm"] for row in mine if row["split"] == "train"]
        assert len(held) >= 3 and min(abs(a - b) for a in held for b in train) >= demos.GAP_MM
        assert not any(min(held) <= mm <= max(held) for mm in train), "the slab must be contiguous"
        words = {row["text"] for row in mine if row["split"] == "train"}
        assert {row["text"] for row in mine if row["split"] == "held_out"} <= words
    # The template is mirror-symmetric: a slice at -x would be its twin at +x.
    assert all(row["mm"] > 0 for row in rows("brain-mri") if row["plane"] == "sagittal")


def test_satellite_crops_never_overlap_and_the_band_is_whole():
    low, high = demos.HELD_OUT_LON
    boxes = [(row["left_px"], row["top_px"]) for row in rows("satellite")]
    for n, (left, top) in enumerate(boxes):
        for other_left, other_top in boxes[:n]:
            assert abs(left - other_left) >= demos.SIZE_PX or abs(top - other_top) >= demos.SIZE_PX
    for row in rows("satellite"):
        assert (row["split"] == "held_out") == (low <= row["lon"] <= high)
    ocean = [row["ocean"] for row in rows("satellite")]
    assert np.mean([share > 0.9 for share in ocean]) < 0.35


def test_icon_concepts_are_either_trained_or_held_out():
    train = {row["concept"] for row in rows("icons") if row["split"] == "train"}
    held = {row["concept"] for row in rows("icons") if row["split"] == "held_out"}
    assert not train & held and len(held) >= 10
    assert all(row["text"] == f"{row['concept']}, openmoji style" for row in rows("icons"))


def test_read_volume_gives_voxels_in_their_places():
    voxels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    header = bytearray(352)
    struct.pack_into("<8h", header, 40, 3, 2, 3, 4, 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, 2)
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<12f", header, 280, 1, 0, 0, -9, 0, 1, 0, -8, 0, 0, 1, -7)
    array, origin = demos.read_volume(gzip.compress(bytes(header) + voxels.tobytes(order="F")))
    assert np.array_equal(array, voxels) and origin.tolist() == [-9, -8, -7]


def test_read_volume_refuses_another_kind_of_volume():
    header = bytearray(352)
    struct.pack_into("<h", header, 70, 16)
    with pytest.raises(ValueError, match="1 mm"):
        demos.read_volume(gzip.compress(bytes(header)))


def test_cover_words_tell_ocean_from_desert():
    blue, sand = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    blue[:], sand[:] = (10, 30, 90), (210, 180, 130)
    flat = np.zeros((8, 8), np.uint8)
    assert demos.cover_words(blue, flat) == ("ocean", 1.0)
    assert demos.cover_words(sand, flat)[0] == "desert"
    assert demos.cover_words(np.concatenate([blue, sand]), np.zeros((16, 8), np.uint8))[0] == "coast and desert"
