"""Captions find their pictures: `.txt` by stem, `metadata.jsonl` by path; what does not fit is named."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from studio.dataset.intake import create_dataset
from studio.dataset.sources import find
from studio.dataset.table import Captions, Words
from tests.dataset.corpus import encode, photo, quad

PNG = encode(quad(), "PNG")


def look_up(*sources: Path) -> tuple[dict[str, Words], list[tuple[str, str]]]:
    found = find(sources)
    captions = Captions(found)
    words = {picture.label: captions.of(picture) for picture in found.pictures}
    return words, [(skipped.file, skipped.reason) for skipped in found.skipped]


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)


def table(folder: Path, *rows: dict | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "metadata.jsonl"


def test_text_files_by_stem(tmp_path):
    pictures(tmp_path, "a.png", "b.PNG", "c.d.png", "e.png", "none.png")
    for name in ("a.txt", "B.txt", "b.TXT", "c.d.txt", "e.caption"):
        (tmp_path / name).write_text(f"words of {name}")
    words, skipped = look_up(tmp_path)
    assert {label: each.text for label, each in words.items()} == {
        "a.png": "words of a.txt",
        "b.PNG": "words of b.TXT",
        "c.d.png": "words of c.d.txt",
        "e.png": "words of e.caption",
        "none.png": None,
    }
    assert skipped == []


def test_a_decomposed_name_finds_its_caption(tmp_path):
    pictures(tmp_path, unicodedata.normalize("NFD", "café.png"))
    (tmp_path / unicodedata.normalize("NFC", "café.txt")).write_text("coffee")
    words, _ = look_up(tmp_path)
    assert [each.text for each in words.values()] == ["coffee"]


def test_a_table_names_files_in_sub_folders_with_split_and_group(tmp_path):
    pictures(tmp_path, "train/a.png", "test/b.png", "c.png")
    table(
        tmp_path,
        {"file_name": "train/a.png", "text": "a", "split": "train", "group": 7},
        {"file_name": "test/b.png", "text": "b", "split": "test"},
        {"file_name": "./c.png", "text": "c", "split": "sideways", "unknown": [1]},
    )
    words, skipped = look_up(tmp_path)
    assert words["train/a.png"] == Words("a", "train", "7", columns={"group": "7"})
    assert words["test/b.png"] == Words("b", "held_out")
    assert words["c.png"] == Words("c", notes=("its split 'sideways' is not known and was ignored",))
    assert skipped == []


def test_a_text_file_wins_over_the_table_but_keeps_its_split(tmp_path):
    pictures(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("edited")
    table(tmp_path, {"file_name": "a.png", "text": "older", "split": "validation"})
    assert look_up(tmp_path)[0]["a.png"] == Words("edited", "held_out")


def test_each_bad_line_is_named_and_the_rest_is_used(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    table(
        tmp_path,
        "\ufeff" + json.dumps({"file_name": "a.png", "text": "a"}),
        "{broken",
        "[1]",
        '{"text": "no name"}',
        "",
        '{"file_name": "a.png", "text": "again"}',
        '{"file_name": "b.png", "caption": "other key"}',
        '{"file_name": "gone.png", "text": "x"}',
        "[" * 100_000,
        '{"file_name": "../../etc/passwd", "text": 5}',
    )
    words, skipped = look_up(tmp_path)
    assert words["a.png"].text == "a"
    assert words["b.png"].text == "other key"
    assert {name for name, _ in skipped} == {"metadata.jsonl"}
    assert [reason for _, reason in skipped] == [
        "line 2 is not JSON",
        "line 3 is not a JSON object",
        'line 4 has no "file_name"',
        "line 6 names a.png a second time: the first stays",
        "line 9 is not JSON",
        'line 10 has a "text" that is not a string',
        "names gone.png and 1 more, which are not there",
    ]


def test_a_table_in_utf16_is_read(tmp_path):
    pictures(tmp_path, "ä.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "ä.png", "text": "größer"}\n', encoding="utf-16")
    assert look_up(tmp_path)[0]["ä.png"].text == "größer"


def test_many_bad_lines_are_counted(tmp_path):
    pictures(tmp_path, "a.png")
    table(tmp_path, *["{"] * 500)
    _, skipped = look_up(tmp_path)
    assert len(skipped) == 51
    assert skipped[-1] == ("metadata.jsonl", "has 450 more lines that cannot be used")


def test_files_given_one_by_one_from_several_folders_find_each_other(tmp_path):
    for folder, name, data in (("1", "a.png", PNG), ("2", "b.png", PNG), ("3", "a.txt", b"words of a")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(data)
    (tmp_path / "4").mkdir()
    rows = table(tmp_path / "4", {"file_name": "images/b.png", "text": "words of b"})
    words, skipped = look_up(tmp_path / "1/a.png", tmp_path / "2/b.png", tmp_path / "3/a.txt", rows)
    assert {label: each.text for label, each in words.items()} == {"a.png": "words of a", "b.png": "words of b"}
    assert skipped == []


def test_a_caption_that_cannot_be_read_is_noted(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").mkdir()
    words, _ = look_up(tmp_path)
    assert words["a.png"].notes == ("its caption file a.txt cannot be read",)
    assert words["b.png"].notes == ("its caption file b.txt cannot be read",)


def test_folders_named_after_their_part_of_the_dataset_decide_the_split(workspace, tmp_path):
    for i, place in enumerate(("train/cat", "train/dog", "Validation", "validation/deep", "test")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    (tmp_path / "train" / "metadata.jsonl").write_text('{"file_name": "dog/1.png", "text": "a dog", "split": "test"}\n', "utf-8")
    made = create_dataset(workspace, "parts", [tmp_path])
    assert {row.source: row.split for row in made.rows} == {
        "0.png": "train", "1.png": "held_out", "2.png": "held_out", "3.png": "held_out", "4.png": "held_out"
    }  # fmt: skip
    one = create_dataset(workspace, "one", [tmp_path / "train", tmp_path / "test" / "4.png"])
    assert len(one.held_out_rows) == 1 and one.train_rows, "one such folder alone says nothing"


CAPTIONED = {
    "a list": ({"text": ["first", "second"]}, "first", ("the first of its 2 captions was taken",)),
    "an empty list": ({"captions": []}, "", ()),
    "text before others": ({"caption": "second", "text": "first"}, "first", ()),
    "the first that says something": ({"text": "", "prompt": "words"}, "words", ()),
    "no string": ({"text": None, "label": 3}, None, ()),
}


@pytest.mark.parametrize("case", CAPTIONED)
def test_captions_are_found_by_every_usual_name(case, tmp_path):
    line, text, notes = CAPTIONED[case]
    pictures(tmp_path, "a.png")
    table(tmp_path, {"image": "a.png", "repeats": 4, **line})
    words, skipped = look_up(tmp_path)
    assert (words["a.png"].text, words["a.png"].notes, words["a.png"].repeats, skipped) == (text, notes, 4, [])
    assert "image" not in words["a.png"].columns


def test_the_head_of_a_csv_table_may_be_written_as_people_write_it(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_text(" Filename ; Caption;Modality\na.png;words;CT\nb.png;=cmd|x;MR\n", "utf-8")
    words, skipped = look_up(tmp_path)
    assert words["a.png"] == Words("words", columns={"Modality": "CT"})
    assert skipped[0] == ("metadata.csv", "line 3 holds a formula in 'caption', which was left out")
