"""Versions of captions: all are kept by who wrote them, one is picked, edits survive; and captionings that go on where they were ended."""

import shutil

import pytest

from studio.dataset import captioning, edit, picking, wording
from studio.dataset.captioners.base import Suggestion
from studio.dataset.captioning import CaptionRequest, caption_dataset
from studio.dataset.rows import Dataset
from studio.dataset.versions import VERSIONS, Version, Versions, add_versions, read_versions, told_versions, writer
from studio.dataset.wording import Wording
from studio.errors import StudioError


class Cancelled(Exception):
    pass


@pytest.fixture
def words(monkeypatch):
    """Says "NAME sees COLOUR"-like captions as a captioner of two pictures at once would; `.seen` counts pictures, `.fail` spoils them."""

    class Spy:
        batch = 4
        seen = 0
        fail = None
        name = "first"

        def caption(self, pictures, ask):
            if self.fail:
                self.fail(pictures)
            self.seen += len(pictures)
            return [
                Suggestion(f"{self.name} sees {picture.width}x{picture.height} {sum(picture.getpixel((0, 0)))}") for picture in pictures
            ]

        def unload(self):
            pass

    spy = Spy()
    from studio.dataset.captioners import embedded

    monkeypatch.setattr(embedded, "load", lambda folder: spy)
    return spy


def write(workspace, progress=lambda done, total: None, **values):
    return caption_dataset(workspace, CaptionRequest(dataset="ten-pictures", **values), progress)


def texts(dataset):
    return [dataset.caption(row) for row in dataset.rows]


def versions(workspace, row):
    return [(each["by"], each["caption"], each["is_used"]) for each in picking.list_versions(workspace, "ten-pictures", row.file)]


def test_every_caption_is_kept_by_who_wrote_it(workspace, dataset, words):
    row = dataset.rows[0]
    assert versions(workspace, row) == [("file", "picture number 0", True)]
    write(workspace, overwrite=True)
    first = dataset.caption(row)
    edit.set_caption(workspace, dataset, row.file, "by hand")
    edit.set_caption(workspace, dataset, row.file, "by hand, twice")
    wording.apply(workspace, "ten-pictures", Wording(operation="suffix", text="end"))
    assert versions(workspace, row) == [
        ("put after", "by hand, twice end", True),
        ("hand", "by hand, twice", False),
        ("hand", "by hand", False),
        ("embedded", first, False),
        ("file", "picture number 0", False),
    ]
    at = read_versions(dataset)[row.file]
    assert all(0 < version.time for version in at) and [v.time for v in at] == sorted(v.time for v in at)
    edit.set_caption(workspace, dataset, row.file, first)
    assert versions(workspace, row)[-2] == ("embedded", first, True), "a version taken again is no new one"
    assert len(read_versions(dataset)) == 10


def test_an_edit_survives_recaptioning(workspace, dataset, words):
    write(workspace, overwrite=True)
    edit.set_caption(workspace, dataset, dataset.rows[0].file, "by hand")
    words.name = "second"
    assert write(workspace)["kept"] == 10
    told = write(workspace, recaption=True)
    assert (told["count"], told["kept"]) == (9, 1) and dataset.caption(dataset.rows[0]) == "by hand"
    assert all(text.startswith("second sees") for text in texts(dataset)[1:])
    over = write(workspace, overwrite=True, max_tokens=7)
    assert over["count"] == 1 and dataset.caption(dataset.rows[0]).startswith("second sees")
    assert ("hand", "by hand", False) in versions(workspace, dataset.rows[0])
    assert picking.pick(workspace, "ten-pictures", "hand")["count"] == 1 and dataset.caption(dataset.rows[0]) == "by hand"
    assert write(workspace, recaption=True, max_tokens=8)["kept"] == 1, "what was picked from a hand stays a hand's"


def test_captions_that_came_with_the_pictures_survive_too(workspace, dataset, words):
    told = write(workspace, recaption=True)
    assert (told["count"], told["kept"], words.seen) == (0, 10, 0)


def test_a_source_is_picked_for_all_and_undone(workspace, dataset, words):
    before = texts(dataset)
    write(workspace, overwrite=True)
    now = texts(dataset)
    told = picking.pick(workspace, "ten-pictures", "file")
    assert (told["count"], told["lack"], told["text"]) == (10, 0, "Picked 10 captions (file)") and texts(dataset) == before
    wording.undo_change(workspace, "ten-pictures", told["undo"])
    assert texts(dataset) == now
    one = picking.pick(workspace, "ten-pictures", "file", ["a3.png"])
    assert one["count"] == 1 and dataset.caption(dataset.rows[3]) == before[3]
    assert picking.pick(workspace, "ten-pictures", "file", ["a3.png"])["text"] == "No caption was changed"
    for source, files, hint in (("blip", None, "there are embedded, file"), ("file", ["gone.png"], "not in Ten pictures")):
        with pytest.raises(StudioError, match=hint):
            picking.pick(workspace, "ten-pictures", source, files)


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"file": 1}', b'{"file": "x"}', b"\xff\xfe", b'{"file": "0001-a0.png", "by": 3, "caption": "x"}']
)
def test_damaged_lines_are_left_out_and_the_others_stay(workspace, dataset, line):
    edit.set_caption(workspace, dataset, dataset.rows[0].file, "by hand")
    with open(dataset.root / VERSIONS, "ab") as file:
        file.write(line)
    edit.set_caption(workspace, dataset, dataset.rows[0].file, "again")
    assert [version.caption for version in read_versions(dataset)[dataset.rows[0].file]] == ["picture number 0", "by hand", "again"]


def test_who_wrote_what_is_there(dataset):
    row = dataset.rows[0]
    assert writer(row, [], "picture number 0") == "file" and writer(row, [], "other") == "hand"
    add_versions(dataset.root, [(row.file, Version(by="blip", caption="x", note="large")), ("gone.png", Version(by="blip", caption="y"))])
    kept = read_versions(dataset)
    assert set(kept) == {row.file} and writer(row, kept[row.file], "x") == "blip"
    assert [each["source"] for each in told_versions(row, kept[row.file], "x")] == ["blip (large)"]


def test_what_was_interrupted_goes_on_with_what_is_missing(workspace, dataset, words):
    before = texts(dataset)

    def stop(done, total):
        if done >= 8:
            raise Cancelled

    with pytest.raises(Cancelled):
        write(workspace, stop, overwrite=True)
    assert words.seen == 8 and texts(dataset) == before
    seen = []
    told = write(workspace, lambda *step: seen.append(step), overwrite=True)
    assert words.seen == 10 and told["count"] == 10 and seen == [(8, 10), (10, 10)], "two were missing"
    wording.undo_change(workspace, "ten-pictures", told["undo"])
    assert texts(dataset) == before, "and it is one change"
    write(workspace, overwrite=True)
    assert words.seen == 20, "once written, pictures are looked at again"


def test_another_question_is_asked_of_all(workspace, dataset, words):
    def stop(done, total):
        if done >= 8:
            raise Cancelled

    with pytest.raises(Cancelled):
        write(workspace, stop, overwrite=True)
    write(workspace, overwrite=True, threshold=0.5)
    assert words.seen == 18


def test_a_batch_that_does_not_fit_is_halved(workspace, dataset, words):
    sizes = []

    def fail(pictures):
        sizes.append(len(pictures))
        if len(pictures) > 1:
            raise MemoryError

    words.fail = fail
    told = write(workspace, overwrite=True)
    assert told["count"] == 10 and sizes == [4, 2] + [1] * 10

    def never(pictures):
        raise MemoryError

    words.fail = never
    with pytest.raises(StudioError, match="out of memory with one picture at a time"):
        write(workspace, overwrite=True, max_tokens=3)


def test_a_picture_that_breaks_the_captioner_is_named_and_the_rest_goes_on(workspace, dataset, words):
    def fail(pictures):
        if any(picture.tobytes() == bad for picture in pictures):
            raise RuntimeError("shapes\ndo not fit")

    from studio.dataset.stored import open_image

    bad = open_image(dataset.path(dataset.rows[5])).tobytes()
    words.fail = fail
    told = write(workspace, overwrite=True)
    assert told["count"] == 9 and [each["file"] for each in told["skipped"]] == [dataset.rows[5].file]
    assert "failed on it" in told["skipped"][0]["reason"] and told["skipped"][0]["reason"].isprintable()

    def broken(pictures):
        raise RuntimeError("all is broken")

    words.fail = broken
    with pytest.raises(StudioError, match="fails on every picture .RuntimeError: all is broken."):
        write(workspace, overwrite=True, max_tokens=3)


def test_a_captioner_without_an_answer_leaves_the_picture_alone(workspace, dataset, captioner_folders, tmp_path, monkeypatch):
    folder = shutil.copytree(captioner_folders["blip"], tmp_path / "mute")
    from studio.dataset.captioners import generate

    monkeypatch.setattr(generate, "tidy", lambda answer, ran_on=False: "")
    told = write(workspace, captioner=str(folder), overwrite=True)
    assert told["count"] == 0 and len(told["skipped"]) == 10 and told["unknown"] == 0
    assert told["skipped"][0] == {"file": dataset.rows[0].file, "reason": f"{dataset.rows[0].file}: BLIP answered with nothing"}
    assert texts(dataset) == [f"picture number {i}" for i in range(10)]


def test_two_captioners_of_one_kind_are_told_apart(workspace, dataset, captioner_folders):
    told = write(workspace, captioner=str(captioner_folders["florence2"]), overwrite=True, detail="brief", max_tokens=5)
    assert told["captioner"] == "Florence-2" and told["count"] > 0 and told["text"].endswith("(Florence-2)")
    found = picking.list_versions(workspace, "ten-pictures", dataset.rows[0].file)
    assert {"florence2 (florence2, brief)", "file"} == {each["source"] for each in found}
    assert Dataset.load(dataset.root).rows == dataset.rows


@pytest.mark.parametrize(
    "key, values, hint",
    [
        ("florence2", {"prompt": "what is it"}, "Florence-2 takes no words"),
        ("florence2", {"detail": "huge"}, "one of brief, detailed, long"),
        ("blip", {"detail": "brief"}, "has no levels of detail"),
        ("blip", {"threshold": 0.5}, "gives no such confidence"),
        ("blip", {"max_tokens": 0}, "max_tokens"),
        ("blip", {"prompt": "x" * 4001}, "prompt"),
    ],
)
def test_what_a_captioner_cannot_be_asked_is_a_line(workspace, dataset, captioner_folders, key, values, hint):
    with pytest.raises(StudioError, match=hint):
        captioning.select(
            workspace, captioning.parse_request({"dataset": "ten-pictures", "captioner": str(captioner_folders[key]), **values})
        )


def test_a_domain_is_a_prompt(workspace, dataset, captioner_folders):
    request = CaptionRequest(dataset="ten-pictures", captioner=str(captioner_folders["qwen_vl"]), prompt="Medical")
    assert "no diagnosis" in captioning.select(workspace, request).ask.prompt


def test_only_what_was_added_is_read_again(workspace, dataset):
    known = Versions(dataset.root)
    row = dataset.rows[0]
    assert known.update().of(row.file) == []
    for num, text in enumerate(("one", "two", "three"), 2):
        edit.set_caption(workspace, dataset, row.file, text)
        assert len(known.update().of(row.file)) == num, "with the one that it came with"
    before = known.of(row.file)
    assert all(a is b for a, b in zip(before, known.update().of(row.file), strict=True)), "nothing was parsed twice"
    with open(dataset.root / VERSIONS, "ab") as file:
        file.write(b'{"file": "' + row.file.encode())
    assert len(known.update().of(row.file)) == 4, "half a line is left for the next time"
    (dataset.root / VERSIONS).unlink()
    add_versions(dataset.root, [(row.file, Version(by="blip", caption="other"))])
    assert [version.caption for version in known.update().of(row.file)] == ["other"]
