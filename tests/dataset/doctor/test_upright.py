"""Pictures that lie on their side among others with a common up are found and set upright; sets without one stay silent."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.dataset.about import set_domain
from studio.dataset.doctor import upright
from studio.dataset.doctor.fix import examined, fix
from studio.dataset.doctor.measures import slopes
from studio.dataset.doctor.upright import lying
from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.rows import Dataset
from studio.dataset.wording import undo_change
from tests.dataset.messy import scene


def small(image):
    return np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX))


def told_of(images):
    """What `lying` says of pictures, by their place."""
    measures = [{"slopes": slopes(np.asarray(image.convert("L"), np.float32))} for image in images]
    return {
        int(i): turns for i, (turns, _) in lying(list(map(str, range(len(images)))), np.stack(list(map(small, images))), measures).items()
    }


def demo(what):
    return [Image.open(path).convert("RGB") for path in sorted((DEMOS / what).rglob("*")) if path.suffix in (".png", ".jpg", ".webp")]


def view(seed):
    """A drawn view: a sky of any colour, mostly smooth and light, above rough ground of any colour, with things that stand on it."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (96, 128, 3), np.uint8)).convert("RGB")
    sky = Image.new("RGB", (128, horizon := int(random.integers(30, 70))), tuple(map(int, random.integers(90, 256, 3))))
    ground = Image.new("RGB", image.size, tuple(map(int, random.integers(0, 200, 3))))
    image = Image.blend(image, ground, 0.75)
    image.paste(sky, (0, 0))
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        x, wide, high = random.integers((0, 4, 8), (128, 30, 60))
        pen.rectangle((x, horizon - high, x + wide, horizon + 6), fill=tuple(map(int, random.integers(0, 256, 3))))
    return image


@pytest.fixture(scope="module")
def slices():
    return [Image.open(path).convert("RGB") for path in sorted((DEMOS / "brain-mri").glob("*.png"))]


def test_turned_slices_are_found_with_their_turn_and_upright_ones_are_not(slices):
    prints, random = np.stack(list(map(small, slices))), np.random.default_rng(0)
    num = found = 0
    for _ in range(10):
        changed = prints.copy()
        turned = {str(i): int(random.integers(1, 4)) for i in random.choice(len(prints), 5, replace=False)}
        for i, turns in turned.items():
            changed[int(i)] = np.rot90(changed[int(i)], turns)
        told = lying(list(map(str, range(len(prints)))), changed, [None] * len(prints))
        assert all(turned.get(i) == turns for i, (turns, _) in told.items())
        num, found = num + len(turned), found + len(told)
    assert found >= 0.9 * num


@pytest.mark.parametrize("what", ["satellite", "icons", "textures", "few"])
def test_sets_without_a_common_up_are_silent(what, slices):
    images = slices[:12] if what == "few" else [scene(i, (64, 64)) for i in range(60)] if what == "textures" else demo(what)
    told = told_of([image.rotate(90, expand=True) if i % 9 == 4 else image for i, image in enumerate(images)])
    assert len(told) <= 0.02 * len(images), told


def test_turned_slices_are_found_among_icons_and_satellite_pictures(slices):
    images = slices[20:60] + demo("icons")[:50] + demo("satellite")[:50]
    turned = {5: 1, 14: 3, 22: 2, 31: 1}
    told = told_of([image.rotate(90 * turned.get(i, 0), expand=True) for i, image in enumerate(images)])
    assert len(told.keys() & turned.keys()) >= 3 and all(turned[i] == told[i] for i in told.keys() & turned.keys())
    assert len(told.keys() - turned.keys()) <= 2


def test_what_is_above_and_below_is_learned_from_pictures_that_are_all_different():
    num, turned = 80, {3: 1, 17: 2, 31: 3, 45: 1, 60: 3}
    told = told_of([view(i).rotate(90 * turned.get(i, 0), expand=True) for i in range(num)])
    assert len(told.keys() & turned.keys()) >= 4 and all(turned[i] == told[i] for i in told.keys() & turned.keys())
    assert len(told.keys() - turned.keys()) <= 1


def test_a_turned_slice_is_named_at_import_turned_back_and_kept_out_where_there_is_no_up(workspace, tmp_path, slices):
    for i, image in enumerate(slices[28:59]):
        (image.transpose(Image.Transpose.ROTATE_90) if i == 7 else image).save(tmp_path / f"{i:02}.png")
    made = create_dataset(workspace, "Slices", [tmp_path])

    def finding():
        return next((each for each in examined(workspace, "Slices")["findings"] if each["key"] == "lying"), None)

    assert [row.source for row in made.rows if row.file in finding()["files"]] == ["07.png"]
    assert "once turned clockwise" in next(iter(finding()["told"].values())) and finding()["cost"] > 0
    done = fix(workspace, "Slices", "lying", "upright")
    row = next(row for row in Dataset.load(made.root).rows if row.source == "07.png")
    assert row.framing.turns == 1 and finding() is None
    undo_change(workspace, "Slices", done["undo"])
    assert finding()["groups"][0]["turns"] == 1
    set_domain(workspace, "Slices", "microscopy")
    assert finding() is None


def test_many_pictures_are_compared_in_blocks_and_it_makes_no_difference(monkeypatch):
    prints = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    near, kin = upright._nearness(prints)
    for block in (1, 16, 69):
        monkeypatch.setattr(upright, "BLOCK", block)
        parts, others = upright._nearness(prints)
        assert np.allclose(parts, near, atol=1e-5) and np.array_equal(others, kin)
