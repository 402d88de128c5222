"""`caption`: the embedded captioner writes what it knows, says what it does not, and names the next step."""

import shutil

import pytest

from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.rows import open_dataset
from studio.store import Workspace

NAMES = ("anchor", "banana", "bell", "bus")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a dataset of four pictures without captions, imported once."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "icons", [folder]).root


@pytest.fixture
def icons(own, made):
    """The commands on a workspace with this dataset."""
    shutil.copytree(made, own.workspace / "datasets" / "icons")
    return own


def captions(cli):
    dataset = open_dataset(Workspace.at(cli.workspace), "icons")
    return [dataset.caption(row) for row in dataset.rows]


def test_captions_are_written_once_and_again_only_when_asked(icons):
    told = icons.here("caption", "icons", "--with", "embedded", "--threshold", "0", "--json").well().json
    written = captions(icons)
    assert told["count"] == sum(map(bool, written)) > 0 and told["count"] + told["unknown"] == 4 and told["undo"]
    again = icons.here("caption", "icons", "--threshold", "0", "--json").well()
    assert again.json["count"] == 0 and again.json["kept"] == told["count"] and captions(icons) == written
    assert "already: left as" in again.out
    over = icons.here("caption", "icons", "--threshold", "0", "--overwrite", "--json").well().json
    assert over["kept"] == 0 and captions(icons) == written


def test_what_is_not_known_leads_to_a_template(icons):
    answer = icons.here("caption", "icons", "--threshold", "1", "--json").well()
    assert (answer.json["count"], answer.json["unknown"]) == (0, 4) and captions(icons) == [""] * 4
    line = answer.out.splitlines()[0]
    assert line.startswith("4 pictures are outside what the embedded captioner knows: write captions by a template, e.g. python launch.py ")
    words = line.partition("launch.py ")[2]
    assert words == 'caption icons --template "{name}"'
    filled = icons.here("caption", "icons", "--template", "{name}", "--json").well().json
    assert filled["count"] == 4 and captions(icons) == list(NAMES)
    assert icons.here("caption", "icons", "--template", "{name}", "--json").well().json["count"] == 0


def test_a_picture_that_cannot_be_read_is_a_line_and_the_rest_goes_on(icons):
    dataset = open_dataset(Workspace.at(icons.workspace), "icons")
    dataset.path(dataset.rows[0]).write_bytes(b"no picture")
    answer = icons.here("caption", "icons", "--threshold", "0", "--json").well()
    assert [s["file"] for s in answer.json["skipped"]] == [dataset.rows[0].file]
    assert sum("skipped" in line and "0001-anchor.png" in line for line in answer.out.splitlines()[:-1]) == 1
    assert answer.json["count"] + answer.json["unknown"] == 3


WRONG = {
    "no dataset": (["nope"], "there are icons"),
    "no captioner": (["icons", "--with", "magic"], "there are: embedded"),
    "empty captioner": (["icons", "--with", ""], "there are: embedded"),
    "threshold above 1": (["icons", "--threshold", "1.01"], "threshold"),
    "threshold below 0": (["icons", "--threshold=-1"], "threshold"),
    "threshold nan": (["icons", "--threshold", "nan"], "threshold"),
    "threshold no number": (["icons", "--threshold", "high"], "--help"),
    "empty template": (["icons", "--template", " "], "type the text"),
    "strange template": (["icons", "--template", "{x}"], "is not known"),
    "long template": (["icons", "--template", "x" * 4001], "4000"),
    "template without its trigger": (["icons", "--template", "{trigger}"], "trigger word"),
    "template and captioner": (["icons", "--template", "x", "--with", "blip"], "asked of no other captioner"),
    "template and prompt": (["icons", "--template", "x", "--prompt", "y"], "asked of no other captioner"),
    "template and threshold": (["icons", "--template", "x", "--threshold", "0.5"], "gives no such confidence"),
    "a template without text": (["icons", "--with", "template"], "type the text"),
    "a brace alone": (["icons", "--template", "a {name"], "a brace has no partner"),
    "brackets in brackets": (["icons", "--template", "[a [b]]"], "one lies in another"),
    "a name too long": (["a" * 5000], "a"),
    "no tokens": (["icons", "--max-tokens", "0"], "max_tokens"),
    "a prompt to one that takes none": (["icons", "--prompt", "x"], "takes no words"),
    "a level to one that has none": (["icons", "--detail", "brief"], "no levels"),
    "a switch to one that has none": (["icons", "--rating"], "rating: embedded has no such switch"),
    "a folder that is none": (["icons", "--with", "/nowhere/at/all"], "is no captioner"),
    "no captioner's folder": (["icons", "--with", "/usr"], "no captioner's config.json"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_requests_are_a_line(icons, what):
    words, hint = WRONG[what]
    assert hint in icons.here("caption", *words).complaint()
    assert captions(icons) == [""] * 4


def test_an_empty_dataset_is_a_line(icons):
    from studio.dataset.removal import remove_pictures

    place = Workspace.at(icons.workspace)
    remove_pictures(place, "icons", [row.file for row in open_dataset(place, "icons").rows])
    assert "add some first" in icons.here("caption", "icons").complaint()


@pytest.mark.parametrize("key", ["blip", "blip2", "florence2", "llava", "qwen_vl", "tagger"])
def test_each_captioner_captions_from_its_folder(icons, captioner_folders, key):
    told = icons.here("caption", "icons", "--with", captioner_folders[key], "--max-tokens", "8", "--json").well().json
    written = captions(icons)
    assert told["count"] + len(told["skipped"]) + told["unknown"] == 4 and told["count"] == sum(map(bool, written)) > 0
    file = open_dataset(Workspace.at(icons.workspace), "icons").rows[[bool(text) for text in written].index(True)].file
    found = icons.here("caption", "icons", "--versions", file, "--json").well().json
    assert [each["by"] for each in found] == [key] and found[0]["is_used"]


def test_a_tagger_takes_its_switches(icons, captioner_folders):
    words = ["--with", captioner_folders["tagger"], "--threshold", "0", "--character-threshold", "0", "--escape", "--rating"]
    icons.here("caption", "icons", *words).well()
    assert all(r"some one \(series\)" in text and text.split(", ")[-1] in ("general", "explicit") for text in captions(icons))


def test_versions_are_shown_and_picked(icons, captioner_folders):
    icons.here("caption", "icons", "--template", "{name}").well()
    icons.here("caption", "icons", "--with", captioner_folders["qwen_vl"], "--prompt", "medical", "--overwrite", "--max-tokens", "8").well()
    generated = captions(icons)
    answer = icons.here("caption", "icons", "--versions", "bell.png").well()
    assert [line.split(":")[0] for line in answer.out.splitlines()] == ["* qwen_vl (qwen_vl)", "  template"]
    assert icons.here("caption", "icons", "--versions", "bell.png", "--pick", "template", "--json").well().json["count"] == 1
    assert captions(icons) == [*generated[:2], "bell", generated[3]]
    assert icons.here("caption", "icons", "--pick", "template").well().out.strip() == "Picked 3 captions (template)"
    assert captions(icons) == list(NAMES)
    assert "there are qwen_vl, template" in icons.here("caption", "icons", "--pick", "nobody").complaint()
    assert "not in icons" in icons.here("caption", "icons", "--versions", "nobody.png").complaint()


def test_captioners_are_listed_and_places_added(icons, captioner_folders):
    assert [each["kind"] for each in icons.here("captioners", "--json").well().json] == ["embedded", "template"]
    found = icons.here("captioners", "--add", captioner_folders["blip"].parent, "--json").well().json
    assert {each["kind"] for each in found} == {"embedded", "template", *captioner_folders}
    icons.here("caption", "icons", "--with", "blip", "--max-tokens", "8").well()
    assert icons.here("captioners", "--remove", captioner_folders["blip"].parent).well().out.startswith("embedded")
    assert "no folder of BLIP is here" in icons.here("caption", "icons", "--with", "blip").complaint()


def test_killed_in_the_middle_it_goes_on_with_what_is_missing(icons, captioner_folders):
    """A real process, killed without a word once it has answers; the next one asks for the others alone."""
    import os
    import signal
    import subprocess
    import sys

    kept = icons.workspace / "cache" / "captioned"
    words = ["caption", "icons", "--with", str(captioner_folders["llava"]), "--max-tokens", "12"]
    code = (
        "import os, signal, sys\n"
        "from studio.dataset import captioning\n"
        "from studio.dataset.captioners import generate\n"
        "generate.batch_that_fits = lambda *given: 2\n"
        "keep = captioning.LookedAt.keep\n"
        "def keep_and_die(self, said):\n"
        "    keep(self, said)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "captioning.LookedAt.keep = keep_and_die\n"
        "from studio.cli import app\n"
        "app(sys.argv[1:])\n"
    )
    env = {**os.environ, "DOMAIN_STUDIO_WORKSPACE": str(icons.workspace)}
    killed = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert captions(icons) == [""] * 4 and sum(len(path.read_text().splitlines()) for path in kept.glob("*.jsonl")) == 2
    told = icons.here(*words, "--json").well().json
    assert told["count"] == sum(map(bool, captions(icons))) == 4 - len(told["skipped"]) and not list(kept.glob("*.jsonl"))
    assert told["notes"] == ["2 pictures were looked at before the interruption: gone on with the others"]


def test_words_are_counted_checked_and_mended(icons):
    icons.here("caption", "icons", "--template", "{name}, flat style").well()
    found = icons.here("words", "icons", "--class-noun", "bell", "--trigger", "icn", "--json").well()
    assert (
        found.json["entries"][0] == {"text": "flat", "count": 4, "is": ""}
        and {"text": "bell", "count": 1, "is": "class"} in found.json["entries"]
    )
    assert "3 of 4 captions lack the class noun bell: add it by --add" in found.out
    mended = icons.here("words", "icons", "--tags", "--add", "--json").well().json
    assert [each["lacks"] for each in mended["checks"].values()] == [0, 0] and {"text": "icn", "count": 4, "is": "trigger"} in mended[
        "entries"
    ]
    assert captions(icons)[:1] == ["icn, bell, anchor, flat style"]
    assert "at most" in icons.here("words", "icons", "--class-noun", "x" * 99).complaint()
    assert "there are icons" in icons.here("words", "nope").complaint()
