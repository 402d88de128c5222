"""The report counts what is there; what is wrong it says in the doctor's words, and nothing beside them."""

import json

import pytest
from PIL import Image

from studio.dataset.doctor.fix import examined
from studio.dataset.intake import create_dataset
from studio.dataset.report import report
from tests.dataset.corpus import encode, photo


def make(workspace, folder, count, **captions):
    folder.mkdir()
    for i in range(count):
        (folder / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    for stem, text in captions.items():
        (folder / f"{stem.strip('_')}.txt").write_text(text)
    return create_dataset(workspace, f"set of {count}", [folder])


def test_counts_of_an_ordinary_set(dataset):
    facts = report(dataset)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["dataset"] == "Ten pictures"
    assert (facts["images"], facts["train"], facts["held_out"]) == (10, 8, 2)
    assert (facts["captions"], facts["empty_captions"]) == (10, 0)
    assert facts["sizes"] == {"min": 64, "median": 64, "max": 64}
    assert facts["aspects"] == {"landscape": 10}
    assert facts["duplicates"] == facts["small"] == facts["long_captions"] == facts["skipped"] == []
    assert facts["notes"] == ["2 held-out pictures: a comparison on so few is weak, 5 allow a test"]


def test_one_picture_makes_no_claim(workspace, tmp_path):
    facts = report(make(workspace, tmp_path / "one", 1, _0="x"))
    assert facts["notes"][1] == "only one picture: nothing can be held out, so no claim about unseen pictures"


def test_what_is_missing_or_too_much_is_said(workspace, tmp_path):
    dataset = make(workspace, tmp_path / "some", 3, _0="word " * 60)
    facts = report(dataset, size_px=65)
    assert facts["empty_captions"] == 2
    assert facts["long_captions"] == ["0001-0.png"]
    assert len(facts["small"]) == 3
    assert "2 pictures without a caption" in facts["notes"]
    assert "3 pictures below 65 px: they will be enlarged" in facts["notes"]


def test_same_captions_are_said(workspace, tmp_path):
    notes = report(make(workspace, tmp_path / "same", 3, _0="x", _1="x", _2="x"))["notes"]
    assert "3 pictures share one caption: prompts will hardly steer the result" in notes


@pytest.mark.parametrize(
    "split, note",
    [
        ("train", "nothing is held out, so no claim about unseen pictures"),
        ("test", "every picture is held out: nothing is left to train on"),
        ("mixed", "4 pictures of groups that lie on both sides of the split: held-out scores flatter"),
    ],
)
def test_a_lopsided_given_split_is_said(workspace, tmp_path, split, note):
    folder = tmp_path / "given"
    folder.mkdir()
    lines = []
    for i in range(4):
        (folder / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
        side = ("train", "test")[i % 2] if split == "mixed" else split
        lines.append(json.dumps({"file_name": f"{i}.png", "text": "x", "split": side, "group": "one"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    assert note in report(create_dataset(workspace, "given", [folder]))["notes"]


def test_duplicates_are_listed_and_kept_on_one_side(workspace, tmp_path):
    folder = tmp_path / "twins"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    (folder / "5b.bmp").write_bytes(encode(photo(5), "BMP"))
    (folder / "7b.png").write_bytes(encode(photo(7).resize((192, 128), Image.Resampling.BICUBIC), "PNG"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    dataset = create_dataset(workspace, "twins", [folder])
    facts = report(dataset)
    sources = {row.file: row.source for row in dataset.rows}
    assert [(each["kind"], [sources[file] for file in each["files"]]) for each in facts["duplicates"]] == [
        ("exact", ["5.png", "5b.bmp"]),
        ("near", ["7.png", "7b.png"]),
    ]
    assert {row.source: row.note for row in dataset.rows}["5b.bmp"] == "the same picture as 0006-5.png"
    assert len({row.split for row in dataset.rows if row.source.startswith("5")}) == 1
    told = examined(workspace, "twins")
    assert facts["notes"] == [each["text"] for each in told["findings"]] and facts["readiness"] == told["score"]
