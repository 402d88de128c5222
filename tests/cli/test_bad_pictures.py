"""Pictures and captions of every kind: what can be read is read, the rest is named, and training goes on with it."""

import json

import pytest
from PIL import Image

NAMES = {
    "two words.png": "spaces", "ünï ✓ 東京.png": "Unicode", "new\nline.png": "a newline", "-rf.png": "a leading dash",
    "--help.png": "an option", "$(id);'x'.png": "shell characters", "<b>&amp;.png": "HTML", "n" * 200 + ".png": "length",
}  # fmt: skip


def _bytes(home, number=0):
    return (home.pictures / f"{number:03d}.png").read_bytes()


def test_no_picture_at_all(own, tmp_path):
    (tmp_path / "notes.md").write_text("nothing to see")
    for sources in ([tmp_path], [tmp_path / "nowhere"], [tmp_path / "notes.md"], ["/dev/null"], ["/dev/zero"], [""]):
        own.here("dataset", "new", "shapes", *sources).complaint()
    assert own.here("dataset", "list", "--json").well().json == []
    own.here("dataset", "new", "shapes").complaint()
    own.here("dataset", "new", "shapes", tmp_path, "--demo", "icons").complaint()
    assert "icons" in own.here("dataset", "new", "shapes", "--demo", "magic").complaint()
    for choice in (["--background", "#000000"], ["--alpha-masks"], ["--window", "lung"]):
        assert "as it is" in own.here("dataset", "new", "shapes", "--demo", "icons", *choice).complaint()


def test_one_picture_trains_with_a_warning(own, home, inline):
    made = own.here("dataset", "new", "one", home.pictures / "003.png", "--json").well().json
    assert made["images"] == 1
    answer = own.here(*home.train("--set", "train.steps=2", dataset="one")).well()
    assert answer.json["state"] == "finished" and "warning: nothing is held out" in answer.out


@pytest.mark.parametrize("file", ["scores.json", "events.jsonl"])
def test_two_pictures_of_which_one_is_held_out_give_json(own, home, inline, file):
    own.here("dataset", "new", "five", *sorted(home.pictures.glob("*.png"))[:5]).well()
    run = own.here(*home.train("--set", "train.steps=2", dataset="five")).well().json["run"]
    text = (own.folder(run) / file).read_text()
    for line in text.splitlines() if file.endswith("l") else [text]:
        json.loads(line, parse_constant=pytest.fail)  # a single score has no standard error: null, since NaN is no JSON


def test_pictures_of_every_name(own, home, tmp_path):
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(_bytes(home, number))
        (tmp_path / name).with_suffix(".txt").write_text(f"caption {number}")
    made = own.here("dataset", "new", "names", tmp_path, "--json").well().json
    assert made == {"dataset": "names", "images": len(NAMES), "skipped": []}
    captions = {p.read_text() for p in (own.workspace / "datasets/names").glob("*.txt")}
    assert captions == {f"caption {number}" for number in range(len(NAMES))}
    single = own("dataset", "new", "dashed", "--json", "--", tmp_path / "-rf.png", tmp_path / "--help.png").well().json
    assert single["images"] == 2
    assert all(p.name.isprintable() for p in (own.workspace / "datasets").rglob("*"))


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(own, home, tmp_path):
    good = _bytes(home)
    bad = {"cut.png": good[:100], "empty.png": b"", "text.png": b"hello", "movie.mp4.png": b"\0" * 500, "pickle.png": b"\x80\x04."}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    Image.new("RGB", (30_000, 1)).save(tmp_path / "wide.png")
    (tmp_path / "wrong.jpg").write_bytes(_bytes(home, 1))
    (tmp_path / "good.png").write_bytes(good)
    made = own.here("dataset", "new", "mixed", tmp_path, "--json").well().json
    assert made["images"] == 2 and {s["file"] for s in made["skipped"]} == {*bad, "wide.png"}
    assert all(s["reason"] and s["reason"].isprintable() for s in made["skipped"])
    assert "30000x1" in next(s["reason"] for s in made["skipped"] if s["file"] == "wide.png")


def test_captions_of_every_kind(own, home, tmp_path, inline):
    texts = {"long": b"x" * 65536, "control": b"a\x07\x1b[31m\x00b\r\nc", "bytes": b"\xff\xfe\xfd", "empty": b"", "words": b"cat " * 9000}
    for number, (name, data) in enumerate(texts.items()):
        (tmp_path / f"{name}.png").write_bytes(_bytes(home, number))
        (tmp_path / f"{name}.txt").write_bytes(data)
    own.here("dataset", "new", "captions", tmp_path).well()
    kept = {p.stem.partition("-")[2]: p.read_text() for p in (own.workspace / "datasets/captions").glob("*.txt")}
    assert kept["control"].isprintable() and all(len(text.encode()) <= 8192 for text in kept.values())
    answer = own.here(*home.train("--set", "train.steps=2", dataset="captions")).well()
    assert "longer than this model reads" in answer.out
    assert own.here("dataset", "report", "captions", "--json").well().json


def test_control_characters_in_a_prompt_and_a_name(own, home, tmp_path, inline):
    own.here("dataset", "new", "sh\x1b[31m\napes", home.pictures, "--json").well()
    words = home.train("--set", "train.steps=1", "--name", "\x1b]0;x\x07 \n ../../x", "--set", 'preview.prompts=["a\\u0007\\u001bb"]')
    answer = own.here(*words[:1], "--dataset", own.here("dataset", "list", "--json").json[0]["dataset"], *words[3:]).well()
    assert "\x1b" not in answer.out and answer.json["run"].isprintable() and "/" not in answer.json["run"]
    out = tmp_path / "o"
    own.here("sample", "1", "--prompt", "\x00\x07a\x1b[31m\u202e\udcff", "--steps", 1, "--out", out).well()
    assert "\x1b" not in own.here("runs").well().out


@pytest.mark.parametrize("name", ["", "..", "...", "/", "✓✓", "\udcff", "-", "x" * 5000])
def test_names_that_are_none(own, home, name):
    own.here("dataset", "new", "--", name, home.pictures).complaint()
    assert not [p for p in own.workspace.rglob("*") if p.is_file()]


def test_a_name_that_is_taken(cli, home):
    for name in ("shapes", "SHAPES", " shapes ", "shapes!"):
        assert "exists" in cli.here("dataset", "new", name, home.pictures).complaint()
    assert cli.here("dataset", "new", "x", home.pictures, "--background", "red").complaint()


def test_a_narrow_terminal_encoding_shows_escapes(own, home):
    answer = own("dataset", "new", "東京 ✓", home.pictures, PYTHONIOENCODING="ascii").well()
    assert "\\u6771" in answer.out
