"""`dataset edit` and `dataset buckets`: the same decisions as on the Dataset screen, and a sheet of what will be trained."""

import io

import pytest
from PIL import Image

from tests.dataset.corpus import quad


@pytest.fixture
def room(own, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    quad(96, 48).save(folder / "wide.png")
    quad(48, 96).save(folder / "tall.png")
    Image.new("RGB", (64, 64), "teal").save(folder / "square.png")
    own.here("dataset", "new", "three", str(folder)).well()
    return own


def test_a_picture_is_cropped_turned_and_taken_back(room):
    answer = (
        room.here("dataset", "edit", "three", "wide.png", "--crop", "0,0,48,48", "--focus", "0.25,0.5", "--turn", "90", "--json")
        .well()
        .json
    )
    assert answer["file"].endswith("-wide.png") and answer["edit"] == {
        "crop": [0, 0, 0.5, 1],
        "focus": [0.25, 0.5],
        "turns": 1,
        "mirror": False,
    }
    more = room.here("dataset", "edit", "three", answer["file"], "--mirror", "--crop", "all").well()
    assert "focal point set, turned by 90°, mirrored" in more.out
    assert "as it is" in room.here("dataset", "edit", "three", "wide.png", "--reset").well().out
    assert "as before" in room.here("dataset", "edit", "three", "wide.png", "--reset").well().out


@pytest.mark.parametrize(
    "words", [("none.png",), ("wide.png", "--crop", "1,2"), ("wide.png", "--crop", "0,0,500,48"), ("wide.png", "--crop", "0.9,0,0.1,1"),
              ("wide.png", "--turn", "45"), ("wide.png", "--focus", "nan,0"), ("wide.png", "--crop", "0,0,4,4")],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(room, words):
    room.here("dataset", "edit", "three", *words).complaint(1, 2)


def test_buckets_are_listed_and_drawn(room, tmp_path):
    out = tmp_path / "sheet.png"
    told = room.here("dataset", "buckets", "three", "--size", "64", "--out", str(out), "--json").well()
    buckets = told.json["buckets"]
    assert sum(b["images"] for b in buckets) == 3 and 1 < len(buckets) <= 5 and "% cut away" in told.out
    sheet = Image.open(io.BytesIO(out.read_bytes()))
    colours = {sheet.convert("RGB").getpixel((x, y)) for x in range(0, sheet.width, 4) for y in range(0, sheet.height, 4)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 128, 128)} <= colours
    room.here("dataset", "buckets", "three", "--out", "sheet.jpg").complaint(1, 2)


def test_the_kind_of_pictures_is_said_listed_and_taken_back(room):
    assert room.here("dataset", "domain", "three", "satellite", "--json").well().json["domain"] == "satellite"
    told = room.here("dataset", "domain", "three").well().out
    assert "* satellite" in told and "medical" in told
    assert room.here("dataset", "domain", "three", "none", "--json").well().json["domain"] == ""
    room.here("dataset", "domain", "three", "cats").complaint(1, 2)


def test_a_mask_is_given_and_removed(room, tmp_path):
    Image.new("L", (96, 48), 0).save(tmp_path / "m.png")
    assert room.here("dataset", "edit", "three", "wide.png", "--mask", str(tmp_path / "m.png"), "--json").well().json["mask"]
    assert not room.here("dataset", "edit", "three", "wide.png", "--mask", "none", "--json").well().json["mask"]
    room.here("dataset", "edit", "three", "wide.png", "--mask", str(tmp_path / "none.png")).complaint(1, 2)
