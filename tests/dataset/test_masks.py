"""Masks beside pictures: kept in grey at their size, undone, and with their picture wherever it goes; told from pictures by name."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.dataset.edit import add_pictures
from studio.dataset.export import export_dataset, stream_zip
from studio.dataset.intake import create_dataset
from studio.dataset.mask_names import pair
from studio.dataset.masks import mask_bytes, open_mask, set_mask
from studio.dataset.removal import remove_pictures
from studio.dataset.rows import open_dataset
from studio.dataset.shelf import Shelf
from studio.dataset.sources import Found, Picture
from studio.dataset.wording import undo_change
from studio.errors import StudioError
from tests.dataset.corpus import photo
from tests.dataset.scans import dicom, head

FILE = "0001-a0.png"


def half(size=(64, 48)):
    """A mask of which the left half is left out."""
    mask = Image.new("L", size, 255)
    mask.paste(0, (0, 0, size[0] // 2, size[1]))
    return mask


def grey(dataset, number=0):
    row = dataset.rows[number]
    return np.asarray(open_mask(dataset, row, mask_bytes(dataset, row)))


@pytest.fixture
def masked(workspace, dataset, tmp_path):
    """The dataset, its first picture masked; the first row."""
    row = dataset.rows[0]
    half((row.width, row.height)).save(tmp_path / "m.png")
    set_mask(workspace, dataset.root.name, row.file, tmp_path / "m.png")
    return row


def test_a_mask_is_kept_changed_and_undone(workspace, dataset, masked, tmp_path):
    name = dataset.root.name
    first = mask_bytes(dataset, masked)
    assert grey(dataset)[:, 0].max() == 0 and grey(dataset)[:, -1].min() == 255
    smaller = half((masked.width // 2, masked.height // 2)).convert("RGB")
    smaller.save(tmp_path / "small.jpg", quality=100)
    changed = set_mask(workspace, name, masked.file, tmp_path / "small.jpg")
    assert grey(dataset).shape == (masked.height, masked.width) and mask_bytes(dataset, masked) != first
    removed = set_mask(workspace, name, masked.file, None)
    assert mask_bytes(dataset, masked) is None and set_mask(workspace, name, masked.file, None)["count"] == 0
    assert "stays as it is" in undo_change(workspace, name, changed["undo"])["text"], "it was removed since"
    assert undo_change(workspace, name, removed["undo"])["restored"] == 1
    assert grey(dataset)[:, 0].max() < 8
    assert open_dataset(workspace, name).rows == dataset.rows, "a mask is no picture"


def test_what_cannot_be_a_mask_is_refused_and_nothing_is_changed(workspace, dataset, masked, tmp_path):
    before = mask_bytes(dataset, masked)
    Image.new("L", (masked.width, masked.height * 2)).save(tmp_path / "tall.png")
    (tmp_path / "text.png").write_text("no picture")
    for file, words in (("tall.png", "the shape of its picture"), ("text.png", "holds text"), ("none.png", "cannot be opened")):
        with pytest.raises(StudioError, match=words):
            set_mask(workspace, dataset.root.name, masked.file, tmp_path / file)
    assert mask_bytes(dataset, masked) == before
    Image.new("L", (3, 3)).save(dataset.mask_path(masked))
    with pytest.raises(StudioError, match="3x3 px"):
        grey(dataset)
    dataset.mask_path(masked).write_bytes(b"damaged")
    with pytest.raises(StudioError, match="cannot be read"):
        grey(dataset)


def test_a_mask_goes_and_comes_back_with_its_picture(workspace, dataset, masked):
    name, before = dataset.root.name, mask_bytes(dataset, masked)
    kept = Shelf(workspace).open(name)
    assert kept.has_mask(masked) and "masked" in kept.badges[masked.file][0] and not kept.has_mask(dataset.rows[1])
    undo = remove_pictures(workspace, name, [masked.file])["undo"]
    assert mask_bytes(dataset, masked) is None
    undo_change(workspace, name, undo)
    assert mask_bytes(dataset, masked) == before


def test_masks_that_no_change_needs_are_forgotten(workspace, dataset, masked, tmp_path):
    name = dataset.root.name
    for grey_level in (10, 20, 30):
        Image.new("L", (masked.width, masked.height), grey_level).save(tmp_path / "m.png")
        undo = set_mask(workspace, name, masked.file, tmp_path / "m.png")["undo"]
    assert len(list((dataset.root / ".masks").iterdir())) == 4
    undo_change(workspace, name, undo)
    Image.new("L", (masked.width, masked.height), 40).save(tmp_path / "m.png")
    set_mask(workspace, name, masked.file, tmp_path / "m.png")
    assert len(list((dataset.root / ".masks").iterdir())) == 4


def test_masks_are_told_by_name_where_their_picture_is_there():
    names = "a.png a_mask.png b.jpg b.mask.png mask/c.png c.png pics/d.png masks/d.png e-masklabel.png f_mask.png masks/x.png".split()
    found, masks = pair(Found([Picture(Path("/in") / name, name) for name in names]))
    assert [p.label for p in found] == ["a.png", "b.jpg", "c.png", "pics/d.png", "e-masklabel.png", "f_mask.png", "masks/x.png"]
    assert {str(p.relative_to("/in")): m.label for p, m in masks.items()} == {
        "a.png": "a_mask.png", "b.jpg": "b.mask.png", "c.png": "mask/c.png", "pics/d.png": "masks/d.png"
    }  # fmt: skip


def test_masks_are_imported_exported_and_imported_again(workspace, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    for i in range(4):
        photo(i).resize((64, 48)).save(folder / f"p{i}.png")
    half().save(folder / "p0_mask.png")
    Image.new("L", (48, 64)).save(folder / "p1_mask.png")
    made = create_dataset(workspace, "masked", [folder])
    assert len(made.rows) == 4 and [made.mask_path(row).exists() for row in made.rows] == [True, False, False, False]
    assert [s.file for s in made.skipped] == ["p1_mask.png"] and "shape of its picture" in made.skipped[0].reason
    out = export_dataset(made, tmp_path / "out", "jsonl")
    entries = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert entries[0]["mask_file_name"] == "mask/0001-p0.png" and "mask_file_name" not in entries[1]
    (tmp_path / "out.zip").write_bytes(b"".join(stream_zip(made, "txt")))
    assert "mask/0001-p0.png" in zipfile.ZipFile(tmp_path / "out.zip").namelist()
    assert not (export_dataset(made, tmp_path / "plain", "txt", masks=False) / "mask").exists()
    again = create_dataset(workspace, "again", [tmp_path / "out.zip"])
    assert len(again.rows) == 4 and np.array_equal(grey(again), grey(made))
    more = add_pictures(workspace, "again", [folder]).dataset
    assert len(more.rows) == 4, "the same pictures are not added again"
    photo(9).resize((64, 48)).save(folder / "p9.png")
    half().save(folder / "p9-mask.png")
    more = add_pictures(workspace, "again", [folder]).dataset
    assert len(more.rows) == 5 and np.array_equal(grey(more, 4), np.asarray(half()))


def labels(mode, inside, suffix=".png"):
    """A mask of 60 x 40 px as programs for segmentation write it: `inside` in the middle, 0 around it; and its suffix."""
    mask = Image.new(mode, (60, 40))
    if mode == "P":
        mask.putpalette([0, 0, 0, 0, 0, 128, 255, 0, 0] + 750 * [0])
    mask.paste(inside, (15, 10, 45, 30))
    return mask, suffix


LABELS = {  # a mask, the weight that it gives the middle of its picture, and what is said of it
    "first": (labels("L", 1), 255, "holds labels"),
    "third": (labels("L", 3), 255, "holds labels"),
    "palette": (labels("P", 1), 255, "holds labels"),
    "blue": (labels("RGB", (0, 0, 128)), 255, "holds labels"),
    "bits": (labels("1", 1), 255, ""),
    "soft": (labels("L", 180), 180, ""),
    "nothing": (labels("L", 0), 0, "leaves out all of it"),
    "noisy": (labels("L", 3, ".jpg"), 3, ""),
}


def test_masks_of_class_numbers_count_and_those_that_leave_nothing_are_told(workspace, tmp_path):
    for number, (name, ((mask, suffix), *_)) in enumerate(LABELS.items()):
        photo(number).resize((120, 80)).save(tmp_path / f"{name}.png")
        mask.save(tmp_path / f"{name}_mask{suffix}")
    made = create_dataset(workspace, "m", [tmp_path])
    assert len(made.rows) == len(LABELS)
    for number, row in enumerate(made.rows):
        _, weight, words = LABELS[Path(row.source).stem]
        found = grey(made, number)
        assert abs(int(found[40, 60]) - weight) <= 1 and found[5, 5] <= 1 and found.shape == (80, 120), row.source
        assert words in row.note if words else not row.note, row.source
    told = set_mask(workspace, "m", made.rows[0].file, tmp_path / "nothing_mask.png")["text"]
    assert "mask changed; its mask leaves out all of it" in told


def test_transparency_becomes_a_mask_when_asked(workspace, tmp_path):
    picture = photo(1).resize((64, 48)).convert("RGBA")
    picture.putalpha(half())
    picture.save(tmp_path / "cut.png")
    photo(2).resize((64, 48)).save(tmp_path / "opaque.png")
    made = create_dataset(workspace, "cut", [tmp_path / "cut.png", tmp_path / "opaque.png"], alpha_masks=True)
    assert np.array_equal(grey(made), np.asarray(half())) and mask_bytes(made, made.rows[1]) is None
    plain = create_dataset(workspace, "plain", [tmp_path / "cut.png"])
    assert mask_bytes(plain, plain.rows[0]) is None


def test_a_mask_beside_a_scan_of_one_picture_is_its_mask_and_beside_one_of_several_it_is_told(workspace, tmp_path):
    pytest.importorskip("pydicom")
    (tmp_path / "in").mkdir()
    dicom(tmp_path / "in" / "one.dcm", head(0.5))
    half((64, 64)).save(tmp_path / "in" / "one.mask.png")
    dicom(tmp_path / "in" / "film.dcm", np.stack([head(0.4), head(0.6)]), NumberOfFrames=2, SeriesInstanceUID="1.2.3.4")
    half((64, 64)).save(tmp_path / "in" / "film_mask.png")
    made = create_dataset(workspace, "scans", [tmp_path / "in"])
    assert len(made.rows) == 3 and sum(made.mask_path(row).exists() for row in made.rows) == 1
    row = next(row for row in made.rows if made.mask_path(row).exists())
    assert np.array_equal(np.asarray(open_mask(made, row, mask_bytes(made, row))), np.asarray(half((64, 64))))
    assert [(s.file, "2 pictures are taken" in s.reason) for s in made.skipped] == [("film_mask.png", True)]
