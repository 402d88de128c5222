"""Class pictures: drawn once by the base, gone on with after a break, drawn anew where what they depend on has changed."""

import pytest

from studio.dataset.class_pictures import find_class_pictures, list_class_pictures, picture_of
from studio.errors import StudioError
from studio.families import sd
from studio.jobs.training.prior import Maker, draw_class_pictures
from studio.methods import several
from studio.sample.pair import Sampling, Shot, draw
from studio.sample.pictures import read_settings
from studio.store import Workspace
from tests.fixtures.runs import dataset, spec_for

SUBJECT = ("prior.class_noun=disc", "prior.count=10", "prior.steps=2")


class Enough(Exception):
    """Someone has asked the run to stop."""


@pytest.fixture()
def made(tmp_path, tiny_folder, tiny_parts):
    """(dataset, spec for settings, maker telling into a list)."""
    shapes = dataset(Workspace.at(tmp_path / "workspace"), tmp_path / "pictures", 6)
    spec = spec_for(shapes, tiny_folder, *SUBJECT, recipe="dreambooth-lora")
    adapter = several.attach(tiny_parts, spec.methods, sd.card, 0)
    for tensor in adapter.state().values():
        tensor.data.add_(0.05)  # an adapter that has learned something: class pictures are the base's all the same
    told = []
    return shapes, spec, Maker(sd, tiny_parts, adapter, "tiny", lambda done, total: told.append((done, total))), told


def test_they_are_the_bases_own_pictures_of_the_class_prompt(made, tiny_parts):
    shapes, spec, maker, told = made
    pictures = draw_class_pictures(shapes, spec, maker)
    assert len(pictures.files()) == 10 and told == [(0, 10), (8, 10), (10, 10)]
    maker.adapter.detach()
    said = read_settings(pictures.file(3))
    assert said["prompt"] == "disc" and said["seed"] == 3
    sampling = Sampling(**{k: said[k] for k in Sampling.model_fields})
    (plain,) = draw(sd, tiny_parts, None, [Shot(sampling=sampling, strength=0.0)], batchable=True)
    from PIL import Image, ImageChops

    with Image.open(pictures.file(3)) as kept:
        assert max(high for _, high in ImageChops.difference(kept.convert("RGB"), plain).getextrema()) <= 1


def test_a_broken_off_drawing_goes_on_and_a_damaged_picture_is_drawn_again(made):
    shapes, spec, maker, told = made

    def stop(done, total):
        if done == 8:
            raise Enough

    with pytest.raises(Enough):
        draw_class_pictures(shapes, spec, Maker(maker.family, maker.parts, maker.adapter, "tiny", stop))
    (begun,) = list_class_pictures(shapes)
    assert len(begun.files()) == 8
    kept = {path.name: path.stat().st_mtime_ns for path in begun.files()}
    begun.file(2).write_bytes(b"half a picture")
    pictures = draw_class_pictures(shapes, spec, maker)
    now = {path.name: path.stat().st_mtime_ns for path in pictures.files()}
    assert len(now) == 10 and [n for n in kept if now[n] != kept[n]] == ["00002.png"] and told[0] == (7, 10)
    told.clear()
    draw_class_pictures(shapes, spec, maker)
    assert told == []


def test_another_prompt_or_base_has_pictures_of_its_own(made):
    shapes, spec, maker, _ = made
    first = draw_class_pictures(shapes, spec, maker)
    other = spec.model_copy(update={"prior": spec.prior.model_copy(update={"prompt": "a bar", "count": 1})})
    assert draw_class_pictures(shapes, other, maker).folder != first.folder
    maker.identity = "another base"
    assert draw_class_pictures(shapes, other, maker).folder != first.folder
    assert len(list_class_pictures(shapes)) == 3


def test_names_from_outside_lead_nowhere(made):
    shapes, spec, maker, _ = made
    pictures = draw_class_pictures(shapes, spec, maker)
    assert picture_of(find_class_pictures(shapes, pictures.folder.name), "00001.png").is_file()
    for key in ("..", "missing"):
        with pytest.raises(StudioError, match="not here"):
            find_class_pictures(shapes, key)
    for name in ("../../dataset.json", "class.json", "00099.png"):
        with pytest.raises(StudioError):
            picture_of(pictures, name)


def test_they_are_a_dataset_to_train_on(made):
    shapes, spec, maker, _ = made
    rows = draw_class_pictures(shapes, spec, maker).dataset(4)
    assert [r.file for r in rows.rows] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert all(r.split == "train" and (r.width, r.height) == (16, 16) for r in rows.rows)
