"""A mark too faint for any single picture is found where many carry it; sets of like pictures without one have none."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.dataset.doctor.examine import examine
from studio.dataset.doctor.fix import examined, fix
from studio.dataset.doctor.marks import common_mark
from studio.dataset.doctor.writing import num_letters
from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.wording import undo_change
from tests.dataset.messy import scene


def stamped(image, opacity=0.2):
    layer = Image.new("RGBA", image.size)
    at = (image.width - 190, image.height - 26)
    ImageDraw.Draw(layer).text(at, "(c) Sample Agency 2024", fill=(255, 255, 255, round(255 * opacity)), font_size=16)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def grey(image):
    return np.asarray(image.convert("L"), np.float32)


@pytest.mark.parametrize("demo", ["brain-mri", "satellite", "icons"])
def test_pictures_of_one_kind_have_no_mark_unless_they_are_marked(demo):
    images = [Image.open(path).convert("RGB") for path in sorted((DEMOS / demo).rglob("*")) if path.suffix in (".png", ".jpg", ".webp")]
    assert common_mark(list(map(grey, images))) == ([], "")
    if demo != "icons":  # white on white is nowhere
        carry, place = common_mark([grey(stamped(image)) for image in images])
        assert len(carry) > 0.8 * len(images) and "bottom" in place


def test_half_of_them_are_named_and_few_are_not_judged():
    greys = [grey(stamped(scene(i), 0.4) if i % 2 else scene(i)) for i in range(40)]
    carry, place = common_mark(greys)
    assert carry == list(range(1, 40, 2)) and place == "at the bottom right"
    assert common_mark(greys[1:22:2]) == ([], "")


def test_a_check_names_a_faint_mark_and_it_can_be_kept(workspace, tmp_path):
    for i in range(16):
        stamped(scene(i), 0.15).save(tmp_path / f"{i:02}.png")
    assert num_letters(grey(stamped(scene(0), 0.15))) < 7, "no single picture tells"
    create_dataset(workspace, "Marked", [tmp_path])

    def finding():
        return next((each for each in examined(workspace, "Marked")["findings"] if each["key"] == "watermark"), None)

    assert finding() is None
    examine(workspace, "Marked", lambda done, total: None)
    assert len(finding()["files"]) >= 12 and "carry the same mark at the bottom" in finding()["text"]
    done = fix(workspace, "Marked", "watermark", "keep")
    assert finding() is None
    undo_change(workspace, "Marked", done["undo"])
    assert finding() is not None
