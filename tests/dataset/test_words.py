"""The words of captions: counted, found again by a click, and checked for trigger word and class noun."""

import random
import time

import pytest

from studio.dataset import edit, wording
from studio.dataset.about import set_class_noun, set_trigger
from studio.dataset.listing import Query, page
from studio.dataset.shelf import Shelf
from studio.dataset.wording import Wording
from studio.dataset.words import check_words, cloud, has_entry, kind_of_captions, tags_of, words_of
from studio.errors import StudioError

SENTENCES = ["An axial T1-weighted slice of the brain.", "a coronal slice, bright ventricles", ""]
TAGS = ["1girl, long hair, red sky, solo", "solo, blue sky, long hair, smile", "tree, solo, night, long hair"]


def test_sentences_are_words_and_lists_are_tags():
    assert words_of(SENTENCES[0]) == {"axial", "t1-weighted", "slice", "brain"} and tags_of(TAGS[0]) == {
        "1girl",
        "long hair",
        "red sky",
        "solo",
    }
    assert kind_of_captions(SENTENCES) == "words" and kind_of_captions(TAGS) == "tags" and kind_of_captions([]) == "words"
    found = cloud(TAGS, {"trigger": "Solo", "class_noun": "tree"})
    assert found["entries"][:2] == [{"text": "long hair", "count": 3, "is": ""}, {"text": "solo", "count": 3, "is": "trigger"}]
    assert {"text": "tree", "count": 1, "is": "class"} in found["entries"] and found["num"] == 8 and found["captions"] == 3
    assert cloud(SENTENCES, {})["entries"][0] == {"text": "slice", "count": 2, "is": ""}
    assert cloud(SENTENCES, {}, "tags")["kind"] == "tags" and cloud([""], {})["entries"] == []


def test_words_and_tags_of_other_scripts_are_whole():
    assert words_of("हिन्दी में एक चित्र") == {"हिन्दी", "में", "एक", "चित्र"} and words_of("école rouge") == words_of("e\u0301cole rouge")
    assert tags_of("红色屋顶，小河、道路。") == {"红色屋顶", "小河", "道路"} and kind_of_captions(["红，小，大，高"]) == "tags"
    assert has_entry("E\u0301COLE, rue", "école") and has_entry("चित्र", "चित्र") and not has_entry("हिन्दी", "हिन")


def test_an_entry_is_found_whole():
    assert has_entry("red sky, long hair", "Red Sky") and has_entry("A red roof", "red") and not has_entry("a bored dog", "red")


def test_words_are_filters_of_the_grid(workspace, dataset):
    edit.set_caption(workspace, dataset, dataset.rows[0].file, "red sky, <b>bold</b>")
    kept = Shelf(workspace).open("ten-pictures")
    assert [item["file"] for item in page(kept, Query(word="red sky"))["items"]] == [dataset.rows[0].file]
    assert page(kept, Query(word="number"))["shown"] == 9 and page(kept, Query(word="numb"))["shown"] == 0
    assert kept.cloud(None)["entries"][0]["count"] == 9 and kept.cloud(None) is kept.cloud(None)


def test_trigger_word_and_class_noun_are_checked_and_mended(workspace, dataset):
    assert set_trigger(workspace, "ten-pictures", "brainmri") == "brainmri"
    assert set_class_noun(workspace, "ten-pictures", " brain  scan ") == "brain scan"
    edit.set_caption(workspace, dataset, dataset.rows[0].file, "brainmri, axial")
    edit.set_caption(workspace, dataset, dataset.rows[1].file, "a BRAIN scan of brainmri")
    edit.set_caption(workspace, dataset, dataset.rows[2].file, "")
    kept = Shelf(workspace).open("ten-pictures")
    about = kept.dataset.about
    assert check_words(kept.captions, about) == {
        "trigger": {"word": "brainmri", "has": 2, "lacks": 7},
        "class_noun": {"word": "brain scan", "has": 1, "lacks": 8},
    }
    assert page(kept, Query(filter="no_trigger"))["shown"] == 7 and page(kept, Query(filter="no_class_noun"))["shown"] == 8
    found = {each["key"]: each["text"] for each in kept.diagnosis["findings"]}
    assert found["no_trigger"].startswith("7 pictures without the trigger word 'brainmri'") and "8 pictures" in found["no_class_noun"]
    told = wording.apply(workspace, "ten-pictures", Wording(operation="class_noun"))
    assert told["count"] == 8 and told["undo"]
    now = [dataset.caption(row) for row in dataset.rows]
    assert now[:4] == ["brainmri brain scan, axial", "a BRAIN scan of brainmri", "", "brain scan, picture number 3"]
    wording.apply(workspace, "ten-pictures", Wording(operation="trigger"))
    kept = Shelf(workspace).open("ten-pictures")
    assert [each["lacks"] for each in check_words(kept.captions, about).values()] == [0, 1], "a caption was empty, and is the trigger now"
    assert "no_trigger" not in {each["key"] for each in kept.diagnosis["findings"]}


@pytest.mark.parametrize("noun", ["x" * 61, "two\nlines", "bell\x07"])
def test_a_wrong_noun_is_a_line(workspace, dataset, noun):
    with pytest.raises(StudioError, match="class noun: "):
        set_class_noun(workspace, "ten-pictures", noun)
    with pytest.raises(StudioError, match="type it first"):
        wording.apply(workspace, "ten-pictures", Wording(operation="class_noun"))


def test_ten_thousand_captions_are_counted_fast_enough():
    draw = random.Random(0)
    words = [f"word{i}" for i in range(3000)]
    captions = [" ".join(draw.choices(words, k=20)) for _ in range(10_000)]
    began = time.process_time()
    found = cloud(captions, {})
    first = time.process_time() - began
    began = time.process_time()
    shown = sum(has_entry(caption, "word17") for caption in captions)
    assert found["num"] == 3000 and len(found["entries"]) == 300 and shown > 0
    assert first < 1.0 and time.process_time() - began < 0.3, "of processor time, with room for slow machines"
