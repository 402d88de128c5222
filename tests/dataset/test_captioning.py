"""Captions by the embedded captioner: what it knows is written, what exists stays, and every captioning can be undone."""

import shutil
import threading

import pytest
from PIL import Image

from studio import registry
from studio.dataset import edit, removal, wording
from studio.dataset.captioners import embedded
from studio.dataset.captioners.base import Ask
from studio.dataset.captioning import CaptionRequest, caption_dataset, parse_request, select, unknown_line
from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.listing import Query, page
from studio.dataset.rows import Dataset, Row
from studio.dataset.shelf import Shelf
from studio.dataset.versions import VERSIONS, read_versions, shown
from studio.errors import StudioError
from studio.tower import Tower

ICONS = ("anchor", "banana", "bell", "bus", "castle", "crown")
COLOURS = {"white": [255, 255, 255], "black": [0, 0, 0], "red": [214, 40, 40], "blue": [40, 90, 200]}
ALL, NONE = {"threshold": 0.0}, {"threshold": 1.0}


@pytest.fixture(scope="module")
def tower():
    return Tower()


@pytest.fixture(scope="module")
def made_icons(tmp_path_factory):
    from studio.store import Workspace

    folder = tmp_path_factory.mktemp("icons")
    for name in ICONS:
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "icons", [folder]).root


@pytest.fixture
def icons(workspace, made_icons):
    """Six icons without captions, in the test's own workspace."""
    return Dataset.load(shutil.copytree(made_icons, workspace.datasets / "icons"))


def write(workspace, **values):
    return caption_dataset(workspace, CaptionRequest(dataset="icons", **values), lambda done, total: None)


def captions(dataset):
    return [dataset.caption(row) for row in dataset.rows]


def test_a_guess_is_five_names_best_first_with_a_calibrated_confidence(tower):
    pictures = [Image.open(DEMOS / "icons" / f"{name}.png") for name in ICONS]
    guesses = embedded.guess(tower.image_features(pictures), tower)
    assert len(guesses) == len(pictures)
    for found in guesses:
        shares = [share for _, share in found.names]
        assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.0001
        assert all(name in tower.vocabulary["names"] for name, _ in found.names)
        assert 0 <= found.confidence == found.chances[0] <= 1 and found.style in ("", *tower.vocabulary["styles"])
        assert found.is_other == bool(found.other)
    assert embedded.guess(tower.image_features([]), tower) == []


def test_a_text_is_read_as_what_it_names(tower):
    names = list(tower.vocabulary["names"])[:5]
    guesses = embedded.guess(tower.text_features([embedded.with_article(name) for name in names]), tower)
    assert [found.names[0][0] for found in guesses] == names and not any(found.is_other for found in guesses)
    others = tower.vocabulary["other"]
    assert [g.other for g in embedded.guess(tower.text_features([embedded.with_article(o) for o in others]), tower)] == others


@pytest.mark.parametrize(
    "words, caption",
    [
        (("anchor",), "an anchor"),
        (("umbrella", "", "white"), "an umbrella"),
        (("red apple", "noto"), "red apple, noto style"),
        (("red apple", "noto", "orange"), "red apple, noto style, on an orange background"),
        (("bus", "", "blue"), "a bus, on a blue background"),
    ],
)
def test_captions_are_worded_as_the_model_was_trained(words, caption):
    assert embedded.compose(*words) == caption


def test_the_wordings_are_those_of_the_embedded_model():
    from studio.starter.captions import BACKGROUNDS, captions

    for name, style, ground in [("anchor", "noto", "white"), ("umbrella", "blob", "orange"), ("red apple", "3d", "black")]:
        with_style, plain, _ = captions(name, style, ground)
        assert (embedded.compose(name, style, ground), embedded.compose(name, "", ground)) == (with_style, plain)
    assert embedded.UNMENTIONED in BACKGROUNDS


def test_a_background_is_the_one_colour_around_a_picture():
    def framed(colour, mode="RGB", size=(80, 60)):
        picture = Image.new(mode, size, colour)
        picture.paste(Image.effect_noise((size[0] - 30, size[1] - 30), 90).convert(mode), (15, 15))
        return picture

    assert [embedded.background_of(framed(tuple(rgb)), COLOURS) for rgb in COLOURS.values()] == list(COLOURS)
    assert embedded.background_of(framed((200, 50, 50)), COLOURS) == "red"
    assert embedded.background_of(framed((120, 255, 120)), COLOURS) == "", "no named colour is near"
    assert embedded.background_of(Image.effect_noise((80, 60), 90), COLOURS) == "", "the border has no one colour"
    assert embedded.background_of(framed(0, "L"), COLOURS) == "black"
    assert embedded.background_of(framed((0, 0, 0)), list(COLOURS)) == "", "names alone tell no colour"


def test_what_it_knows_is_written_and_undone(workspace, icons):
    seen = []
    told = caption_dataset(workspace, CaptionRequest(dataset="icons", **ALL), lambda *step: seen.append(step))
    now = captions(icons)
    assert told["count"] > 0 and told["count"] + told["unknown"] == 6 == seen[-1][0] and seen[0] == (0, 6)
    assert sum(map(bool, now)) == told["count"] and told["text"].startswith(f"Wrote {told['count']} caption")
    names = Tower().vocabulary["names"]
    first = next(text for text in now if text)
    assert any(name in first for name in names)
    at = now.index(first)
    edit.set_caption(workspace, icons, icons.rows[at].file, "by hand")
    back = wording.undo_change(workspace, "icons", told["undo"])
    assert back["restored"] == told["count"] - 1
    assert captions(icons) == ["by hand" if i == at else "" for i in range(6)]


def test_captions_that_exist_stay_unless_asked(workspace, icons):
    edit.set_caption(workspace, icons, icons.rows[0].file, "by hand")
    told = write(workspace, **ALL)
    assert captions(icons)[0] == "by hand" and told["kept"] == 1 and told["notes"] == ["1 picture has a caption already: left as they are"]
    again = write(workspace, overwrite=True, files=[icons.rows[0].file], **NONE)
    assert captions(icons)[0] == "by hand" and again["unknown"] == 1, "what it does not know, it does not replace"
    over = write(workspace, overwrite=True, **ALL)
    assert over["kept"] == 0 and over["count"] + over["unknown"] >= 1
    if over["undo"]:
        wording.undo_change(workspace, "icons", over["undo"])
    assert captions(icons)[0] == "by hand"


def test_what_it_does_not_know_gets_no_caption_and_is_counted(workspace, icons):
    told = write(workspace, **NONE)
    assert (told["count"], told["unknown"], told["undo"], told["text"]) == (0, 6, None, "No caption was written")
    assert captions(icons) == [""] * 6 and removal.list_history(icons) == []
    assert unknown_line("embedded", 6) == "6 pictures are outside what the embedded captioner knows"
    said = read_versions(icons)[icons.rows[0].file][-1]
    assert said.caption == "" and said.reason and said.by == "embedded"


def test_only_the_chosen_ones_are_captioned(workspace, icons):
    chosen = [icons.rows[2].file, "not there.png"]
    told = write(workspace, files=chosen, **ALL)
    assert told["count"] + told["unknown"] == 1 and all(not text for i, text in enumerate(captions(icons)) if i != 2)
    with pytest.raises(StudioError, match="not in the dataset any more"):
        write(workspace, files=["not there.png"])


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(workspace, icons):
    icons.path(icons.rows[0]).unlink()
    icons.path(icons.rows[1]).write_bytes(b"no picture")
    told = write(workspace, **ALL)
    assert [s["file"] for s in told["skipped"]] == [row.file for row in icons.rows[:2]]
    assert all(s["file"] in s["reason"] and "\n" not in s["reason"] for s in told["skipped"])
    assert told["count"] + told["unknown"] == 4


def test_what_is_written_meanwhile_is_not_lost(workspace, icons):
    def meddle(done, total):
        if done == total:
            edit.set_caption(workspace, icons, icons.rows[0].file, "by hand")
            removal.remove_pictures(workspace, "icons", [icons.rows[1].file])

    told = caption_dataset(workspace, CaptionRequest(dataset="icons", overwrite=True, **ALL), meddle)
    assert icons.caption(icons.rows[0]) == "by hand" and told["notes"] == ["1 caption edited meanwhile: left as they are"]
    now = read_versions(Dataset.load(icons.root))
    assert icons.rows[1].file not in now and [version.by for version in now[icons.rows[0].file]] == ["hand"]


def test_a_dataset_deleted_meanwhile_is_a_line_and_a_cancelled_one_is_as_before(workspace, icons):
    class Cancelled(Exception):
        pass

    def cancel(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        caption_dataset(workspace, CaptionRequest(dataset="icons", **ALL), cancel)
    assert captions(icons) == [""] * 6 and not (icons.root / VERSIONS).exists()

    def delete(done, total):
        if icons.root.exists():
            removal.delete_dataset(workspace, "icons")

    with pytest.raises(StudioError, match="no dataset is called"):
        caption_dataset(workspace, CaptionRequest(dataset="icons", **ALL), delete)
    assert not icons.root.exists()


def test_two_at_once_write_each_caption_once(workspace, icons):
    told = []
    threads = [threading.Thread(target=lambda: told.append(write(workspace, **ALL))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each["count"] for each in told) == sum(map(bool, captions(icons)))


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"captioner": "magic"}, "no captioner; there are: embedded"),
        ({"dataset": "nope"}, "no dataset is called"),
        ({"threshold": 1.5}, "threshold: must be less than or equal to 1"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"files": "x"}, "files"),
        ({"who": "me"}, "who"),
    ],
)
def test_what_is_asked_wrongly_is_a_line(workspace, icons, values, reason):
    with pytest.raises(StudioError, match=reason) as caught:
        select(workspace, parse_request({"dataset": "icons", **values}))
    assert "\n" not in str(caught.value)


def test_an_empty_dataset_is_a_line(workspace, icons):
    removal.remove_pictures(workspace, "icons", [row.file for row in icons.rows])
    with pytest.raises(StudioError, match="icons has no pictures: add some first"):
        write(workspace)


def test_pages_say_who_wrote_a_caption_and_what_else_it_may_be(workspace, icons):
    shelf = Shelf(workspace)
    before = shelf.open("icons").version
    write(workspace, **ALL)
    kept = shelf.open("icons")
    assert kept.version != before
    items = page(kept, Query())["items"]
    item = next(item for item in items if item["caption"])
    said = item["said"]
    assert said["by"] == "embedded" and 0 <= said["chance"] <= 1 and "edited" not in item["badges"]
    assert said["choices"][0] == (item["caption"], said["chance"]) and len(said["choices"]) == 5
    other = said["choices"][1]
    edit.set_caption(workspace, icons, item["file"], other[0])
    again = next(i for i in page(shelf.open("icons"), Query())["items"] if i["file"] == item["file"])
    assert again["said"]["chance"] == other[1]
    edit.set_caption(workspace, icons, item["file"], "by hand")
    again = next(i for i in page(shelf.open("icons"), Query())["items"] if i["file"] == item["file"])
    assert again["said"] is None and "edited" in again["badges"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"0001-anchor.png": {}}', '{"0001-anchor.png": {"by": 1}}'])
def test_damaged_versions_are_none(workspace, icons, text):
    (icons.root / VERSIONS).write_text(text)
    assert [item["said"] for item in page(Shelf(workspace).open("icons"), Query())["items"]] == [None] * 6


def test_versions_of_removed_pictures_go_with_them(workspace, icons):
    assert shown([], "x") is None
    write(workspace, **ALL)
    assert set(read_versions(icons)) == {row.file for row in icons.rows}
    undo = removal.remove_pictures(workspace, "icons", [icons.rows[0].file])["undo"]
    write(workspace, overwrite=True, **ALL)
    assert set(read_versions(Dataset.load(icons.root))) == {row.file for row in icons.rows[1:]}
    removal.restore_pictures(workspace, "icons", undo)
    assert set(read_versions(Dataset.load(icons.root))) == {row.file for row in icons.rows}, "and are there again with them"


@pytest.mark.parametrize("key", registry.CAPTIONERS)
def test_every_captioner_keeps_the_interface(key):
    module = registry.captioner(key)
    facts = module.FACTS
    assert facts.title and facts.licence and callable(module.load)
    if facts.needs_folder:
        return
    loaded = module.load(None)
    if facts.sees == "facts":
        row = Row(file="1.png", sha256="a", pixels="a", width=9, height=9, source="a_roof-1.png")
        said = loaded.caption([row, row.model_copy(update={"source": "12.png"})], Ask("{name}", fields=("name",)))
        assert [each.caption for each in said] == ["a roof", ""] and said[1].reason
        return
    said = loaded.caption([Image.new("RGB", (40, 30), "red")], Ask(threshold=0.5))
    assert len(said) == 1 and 0 <= said[0].confidence <= 1 and len(said[0].alternatives) <= 5 and loaded.batch > 0
    assert bool(said[0].caption) != bool(said[0].reason)
    assert loaded.caption([], Ask()) == []


def test_a_template_is_a_captioner_whose_captions_are_versions_and_can_be_undone(workspace, icons):
    edit.set_caption(workspace, icons, icons.rows[0].file, "by hand")
    told = write(workspace, captioner="template", prompt="an icon of {name}")
    assert told["count"] == 5 and told["kept"] == 1 and told["text"] == "Wrote 5 captions (template)"
    assert captions(icons) == ["by hand", *(f"an icon of {name}" for name in ICONS[1:])]
    assert {version.source for version in read_versions(icons)[icons.rows[1].file]} == {"template"}
    again = write(workspace, captioner="template", prompt="{name}", recaption=True)
    assert again["count"] == 5 and captions(icons) == ["by hand", *ICONS[1:]]
    wording.undo_change(workspace, "icons", again["undo"])
    assert captions(icons)[1] == f"an icon of {ICONS[1]}"
    with pytest.raises(StudioError, match=r"\{modality\} is not known: use \{trigger\}, \{name\}"):
        write(workspace, captioner="template", prompt="{modality}")
