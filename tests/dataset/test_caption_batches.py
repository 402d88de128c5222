"""Captioners that misbehave: what fails is told picture by picture, the rest goes on, and whoever stops waits for nothing."""

import shutil

import pytest
from PIL import Image

from studio.dataset.caption_batches import Batches
from studio.dataset.captioners.base import Ask, Suggestion
from studio.dataset.captioners.folder import open_folder
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.store import Workspace

NUM = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six pictures of different widths."""
    folder = tmp_path_factory.mktemp("given")
    for i in range(NUM):
        Image.effect_noise((40 + i, 30), 90).convert("RGB").save(folder / f"{i}.png")
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("workspace")), "six", [folder])


@pytest.fixture(scope="module")
def qwen(captioner_folders):
    return open_folder(captioner_folders["qwen_vl"])[1].load(captioner_folders["qwen_vl"])


class Recorded:
    """A captioner that can be made to fail before it is asked, and the sizes of the batches that it was asked about."""

    def __init__(self, loaded, batch, fail=lambda pictures: None):
        self.loaded, self.batch, self.fail, self.sizes = loaded, batch, fail, []

    def caption(self, pictures, ask):
        self.sizes.append(len(pictures))
        self.fail(pictures)
        return self.loaded.caption(pictures, ask)


def run(dataset, loaded, ask=None):
    skipped = []
    batches = Batches(dataset, loaded, ask or Ask(max_tokens=4), False, skipped)
    done, said = [], {}
    for num, part in batches.over(dataset.rows):
        done.append(num)
        said |= {row.file: one for row, one in part}
    return done, said, skipped


def test_the_one_picture_that_it_fails_on_is_told_and_the_next_batches_are_whole_again(dataset, qwen):
    def fail(pictures):
        if any(picture.width == dataset.rows[2].width for picture in pictures):
            raise ValueError("a line\nand another")

    recorded = Recorded(qwen, 4, fail)
    done, said, skipped = run(dataset, recorded)
    assert recorded.sizes == [4, 1, 1, 1, 1, 2] and done == [4, 6] and len(said) == NUM - 1
    line = skipped[0]["reason"]
    assert [each["file"] for each in skipped] == [dataset.rows[2].file] and "the captioner failed on it" in line and "\n" not in line
    alone = {row.file: qwen.caption([Image.open(dataset.path(row))], Ask(max_tokens=4))[0] for row in dataset.rows if row.file in said}
    assert said == alone


def test_short_of_memory_the_batch_is_halved_and_stays_so(dataset, qwen):
    import torch

    def fail(pictures):
        if len(pictures) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    recorded = Recorded(qwen, 8, fail)
    done, said, skipped = run(dataset, recorded)
    assert recorded.sizes == [6, 3, 1, 1, 1, 1, 1, 1] and done == [6] and len(said) == NUM and not skipped
    recorded = Recorded(qwen, 8, lambda pictures: fail([0] * 9))
    with pytest.raises(StudioError, match="out of memory with one picture at a time"):
        run(dataset, recorded)


@pytest.mark.parametrize("error", [RuntimeError("x\ny"), AttributeError("x"), OverflowError("x"), AssertionError(), KeyError("x")])
def test_one_that_fails_on_every_picture_is_ended(dataset, qwen, error):
    def fail(pictures):
        raise error

    with pytest.raises(StudioError, match="the captioner fails on every picture") as caught:
        run(dataset, Recorded(qwen, 4, fail))
    assert "\n" not in str(caught.value)


def test_whoever_stops_waits_for_no_answer_and_what_stopped_it_comes_through(dataset, qwen):
    class Enough(Exception):
        pass

    def alive():
        raise Enough("now")

    recorded = Recorded(qwen, 2)
    with pytest.raises(Enough, match="now"):
        run(dataset, recorded, Ask(max_tokens=400, alive=alive))
    assert recorded.sizes == [2], "it is no failure of the captioner, which is tried again"


def test_what_cannot_be_read_is_told_and_not_asked(dataset, qwen, tmp_path):
    copy = dataset.model_copy(update={"root": shutil.copytree(dataset.root, tmp_path / "copy")})
    copy.path(copy.rows[0]).write_bytes(b"no picture")
    recorded = Recorded(qwen, 2)
    _, said, skipped = run(copy, recorded)
    assert recorded.sizes[0] == 1 and copy.rows[0].file not in said and skipped[0]["file"] == copy.rows[0].file


def test_weights_that_give_no_numbers_are_told(captioner_folders, tmp_path):
    import torch
    from transformers import BlipForConditionalGeneration

    folder = shutil.copytree(captioner_folders["blip"], tmp_path / "blip")
    model = BlipForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    said = open_folder(folder)[1].load(folder).caption([Image.new("RGB", (40, 30))] * 2, Ask(max_tokens=4))
    assert said == [Suggestion("", reason="BLIP lost count (NaN): its weights are damaged, or too large for this precision")] * 2
