"""A mark too faint for any single picture is found where many carry it; sets of like pictures without one have none."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.dataset.doctor.examine import examine
from studio.dataset.doctor.fix import examined, fix
from studio.dataset.doctor.marks import common_mark
from studio.dataset.doctor.stamps import shared_marks, windows
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


def with_logo(image):
    layer = Image.new("RGBA", image.size)
    size = min(image.size) // 5
    left, top = image.width - size - 8, image.height - size - 8
    pen = ImageDraw.Draw(layer)
    pen.ellipse((left, top, left + size, top + size), outline=(255, 255, 255, 90), width=3)
    pen.polygon([(left + size // 2, top + 4), (left + size - 8, top + size // 2), (left + 8, top + size // 2)], fill=(255, 255, 255, 90))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def slanted(image):
    layer = Image.new("RGBA", image.size)
    ImageDraw.Draw(layer).text((10, image.height // 2 - 20), "SAMPLE ONLY", fill=(255, 255, 255, 80), font_size=image.width // 8)
    return Image.alpha_composite(image.convert("RGBA"), layer.rotate(25)).convert("RGB")


@pytest.mark.parametrize("change", [with_logo, slanted])
def test_a_mark_on_a_few_is_named_on_them_alone(change):
    marked = {3, 9, 17, 22, 30}
    images = [change(scene(i, (384, 288))) if i in marked else scene(i, (384, 288)) for i in range(36)]
    told = shared_marks([windows(grey(image)) for image in images])
    assert len(told.keys() & marked) >= 4 and not told.keys() - marked
    if change is with_logo:
        assert set(told.values()) == {"at the bottom right"}


def test_sets_and_a_mix_of_them_without_a_mark_have_none():
    seen = {}
    for demo in ("brain-mri", "satellite", "icons"):
        paths = [path for path in sorted((DEMOS / demo).rglob("*")) if path.suffix in (".png", ".jpg", ".webp")]
        seen[demo] = [windows(grey(Image.open(path))) for path in paths]
        assert shared_marks(seen[demo]) == {}, demo
    mixed = [*seen["brain-mri"][:40], *seen["satellite"][:40], *seen["icons"][:40], *(windows(grey(scene(i))) for i in range(40))]
    assert shared_marks(mixed) == {} and shared_marks(mixed[:8]) == {}


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
