"""What a person decides about a picture: where it is kept, how it is undone, and which pixels come of it."""

import json

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from studio.dataset.framing import Edit, Frame, check_edit, describe_edit, parse_frame, render
from studio.dataset.reframe import set_edits
from studio.dataset.removal import list_history, remove_pictures
from studio.dataset.rows import INDEX, Dataset, open_dataset
from studio.dataset.wording import undo_change
from studio.errors import StudioError
from studio.store import sha256_file
from tests.dataset.corpus import quad

FILE = "0001-a0.png"


def digits(width=12, height=8):
    """A picture in which every pixel is different."""
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3))


def whole(image, **changes):
    """The frame that takes all of an edited picture, at its own size."""
    edit = Edit(**changes)
    size = edit.size_px(*image.size)
    return Frame(edit.box_px(*image.size), edit.turns, int(edit.mirror), size, (0, 0, *size))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_a_frame_is_cut_turned_and_mirrored_exactly(turns, mirror):
    image = digits()
    expected = np.rot90(np.asarray(image)[2:6, 3:9], -turns)
    expected = expected[:, ::-1] if mirror else expected
    found = render(image, whole(image, crop=(0.25, 0.25, 0.75, 0.75), turns=turns, mirror=mirror))
    assert np.array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_the_focal_point_moves_with_the_picture(turns, mirror):
    image = Image.new("RGB", (40, 20))
    image.putpixel((30, 5), (255, 255, 255))
    edit = Edit(crop=(0.5, 0.0, 1.0, 1.0), focus=(30.5 / 40, 5.5 / 20), turns=turns, mirror=mirror)
    x, y = edit.seen_focus(40, 20)
    seen = render(image, whole(image, **edit.model_dump()))
    assert seen.getpixel((int(x * seen.width), int(y * seen.height))) == (255, 255, 255)


def test_a_token_says_the_whole_frame_and_nothing_else_is_read():
    frame = Frame((1, 2, 30, 40), 3, 1, (64, 80), (0, 8, 64, 72), 1, 1, (90, 110, 100))
    assert parse_frame(frame.token()) == frame and frame.size == (64, 64)
    wrong = ["", "x", frame.token() + "_1", frame.token().replace("64.80", "64.70"), frame.token().replace("64.80", "64.080")]
    for token in [
        *wrong,
        Frame((0, 0, 9, 9), 0, 0, (99999, 9999), (0, 0, 64, 64)).token(),
        Frame((5, 0, 5, 9), 0, 0, (9, 9), (0, 0, 9, 9)).token(),
    ]:
        with pytest.raises(StudioError, match="not the name of a sample"):
            parse_frame(token)


def test_colour_shifts_change_colours_alone_and_never_a_mask():
    image, frame = quad(), whole(quad())
    shifted = Frame(frame.box, 0, 0, frame.resized, frame.place, colour=(90, 100, 80))
    plain, other = (np.asarray(render(image, f)).astype(int) for f in (frame, shifted))
    assert plain.shape == other.shape and 0 < abs(plain - other).max() < 80
    mask = image.convert("L")
    assert np.array_equal(np.asarray(render(mask, frame)), np.asarray(render(mask, shifted)))


@pytest.mark.parametrize(
    "values",
    [
        {"crop": (0.5, 0, 0.5, 1)},
        {"crop": (0, 0.9, 1, 0.1)},
        {"crop": (0, 0, 1.1, 1)},
        {"focus": (float("nan"), 0)},
        {"turns": 4},
        {"zoom": 2},
    ],
)
def test_edits_that_mean_nothing_are_refused(values):
    with pytest.raises(ValidationError):
        Edit.model_validate(values)


def test_too_little_cannot_be_kept():
    with pytest.raises(StudioError, match="at least 16 px"):
        check_edit(Edit(crop=(0, 0, 0.1, 1)), 100, 100)
    with pytest.raises(StudioError, match="too elongated"):
        check_edit(Edit(crop=(0, 0, 0.1, 1)), 1000, 1000)
    check_edit(Edit(crop=(0, 0, 0.5, 1), turns=1), 100, 100)
    assert describe_edit(Edit(crop=(0, 0, 0.5, 1), turns=1, mirror=True)) == "cropped, turned by 90°, mirrored"


def test_an_edit_is_kept_undone_and_touches_no_picture(workspace, dataset):
    before = {row.file: sha256_file(dataset.path(row)) for row in dataset.rows}
    edit = Edit(crop=(0.1, 0.0, 0.9, 1.0), focus=(0.2, 0.3), turns=1)
    told = set_edits(workspace, dataset.root.name, {FILE: edit})
    now = open_dataset(workspace, dataset.root.name)
    assert now.rows[0].edit == edit and told["count"] == 1 and "cropped, focal point set, turned by 90°" in told["text"]
    assert set_edits(workspace, dataset.root.name, {FILE: edit})["count"] == 0
    assert list_history(now)[0] == {**list_history(now)[0], "kind": "framing", "undo": told["undo"], "num": 1}
    assert undo_change(workspace, dataset.root.name, told["undo"])["restored"] == 1
    now = open_dataset(workspace, dataset.root.name)
    assert now.rows == dataset.rows and list_history(now) == []
    assert {row.file: sha256_file(now.path(row)) for row in now.rows} == before


def test_undoing_leaves_what_was_framed_anew(workspace, dataset):
    name = dataset.root.name
    first = set_edits(workspace, name, {row.file: Edit(turns=1) for row in dataset.rows})
    set_edits(workspace, name, {FILE: Edit(turns=2)})
    assert "1 changed since" in undo_change(workspace, name, first["undo"])["text"]
    rows = open_dataset(workspace, name).rows
    assert rows[0].framing == Edit(turns=2) and all(row.edit is None for row in rows[1:])


def test_an_edit_goes_and_comes_back_with_its_picture(workspace, dataset):
    name = dataset.root.name
    set_edits(workspace, name, {FILE: Edit(mirror=True)})
    undo = remove_pictures(workspace, name, [FILE])["undo"]
    undo_change(workspace, name, undo)
    assert open_dataset(workspace, name).rows[0].edit == Edit(mirror=True)


def test_a_picture_that_is_gone_is_told_and_nothing_is_changed(workspace, dataset):
    with pytest.raises(StudioError, match="is not in"):
        set_edits(workspace, dataset.root.name, {FILE: Edit(turns=1), "nothing.png": Edit(turns=1)})
    assert open_dataset(workspace, dataset.root.name).rows == dataset.rows


def test_datasets_from_before_can_be_opened(dataset):
    index = dataset.root / INDEX
    values = json.loads(index.read_text())
    for row in values["rows"]:
        del row["edit"]
    index.write_text(json.dumps(values))
    assert Dataset.load(dataset.root).rows == dataset.rows
