"""Text near the border is suspected; anatomy, textures and plain pictures are not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.dataset.doctor.chart import Chart
from studio.dataset.doctor.diagnosis import diagnose
from studio.dataset.intake import create_dataset
from studio.dataset.listing import Query, page
from studio.dataset.shelf import Shelf
from studio.dataset.text_suspicion import BURNED_IN, may_hold_text
from studio.store import Workspace
from tests.dataset.corpus import photo
from tests.dataset.scans import dicom, head


def scan(side=256):
    return np.clip((head(0.5, side).astype(float) + 160) / 400 * 255, 0, 255).astype(np.uint8)


def written(levels, text, place, size=12, colour=255):
    image = Image.fromarray(levels)
    ImageDraw.Draw(image).text(place, text, fill=colour, font_size=size)
    return np.asarray(image)


@pytest.mark.parametrize(
    ("text", "place", "size"), [("DOE^JANE 1953-04-12", (4, 4), 12), ("Zwillinger", (180, 238), 11), ("KVP 120  mA 80", (4, 225), 16)]
)
def test_text_in_a_corner_is_suspected(text, place, size):
    assert may_hold_text(written(scan(), text, place, size))
    assert may_hold_text(np.repeat(written(scan(), text, place, size)[..., None], 3, axis=2))
    assert may_hold_text(255 - written(scan(), text, place, size)), "black on white as well"


def test_pictures_without_text_are_not():
    assert not may_hold_text(scan()) and not may_hold_text(scan(64)) and not may_hold_text(np.zeros((20, 20), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    assert not may_hold_text(noise)
    assert sum(may_hold_text(np.asarray(photo(seed))) for seed in range(20)) == 0


def test_a_scan_with_text_in_it_is_shown_with_a_badge(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    plain = (scan().astype(np.uint16)) * 16
    dicom(folder / "a.dcm", plain, WindowCenter=2048, WindowWidth=4096, SeriesInstanceUID="1.1")
    dicom(folder / "b.dcm", written(scan(), "DOE^JANE 1953", (4, 4)).astype(np.uint16) * 16, WindowCenter=2048, WindowWidth=4096)
    workspace = Workspace.at(tmp_path / "w")
    made = create_dataset(workspace, "ct", [folder])
    kept = Shelf(workspace).open("ct")
    assert [("text" in kept.badges[row.file][0]) for row in made.rows] == [False, True]
    told = page(kept, Query(filter="text"))
    assert told["shown"] == 1 and BURNED_IN in told["items"][0]["note"]
    (finding,) = [each for each in diagnose(made, kept.captions, Chart())["findings"] if each["key"] == "text"]
    assert finding["files"] == [made.rows[1].file] and BURNED_IN in str(finding["told"])
