"""Import as a whole: every picture taken or named, nothing else touched, whatever happens meanwhile."""

import json
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from studio.dataset import intake
from studio.dataset.bare import bare
from studio.dataset.intake import create_dataset, create_demo, list_demos
from studio.dataset.rows import Dataset
from studio.dataset.stored import hash_pixels, open_image
from studio.errors import StudioError
from studio.store import Workspace, sha256_file
from tests.dataset.corpus import all_cases, encode, photo, quad

CASES = {case.name: case for case in all_cases()}


def tree(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole corpus, imported once from one folder, with a caption for each case."""
    folder = tmp_path_factory.mktemp("corpus")
    for case in CASES.values():
        (folder / case.name).write_bytes(case.data)
    before = tree(folder)
    dataset = create_dataset(Workspace.at(folder.parent / "space"), "Corpus", [folder])
    assert tree(folder) == before
    return dataset


def test_every_file_of_the_corpus_is_taken_or_named(whole):
    assert {row.source for row in whole.rows} == {case.name for case in CASES.values() if not case.reason}
    assert {skipped.file for skipped in whole.skipped} == {case.name for case in CASES.values() if case.reason}
    for skipped in whole.skipped:
        assert CASES[skipped.file].reason in skipped.reason
        assert skipped.reason.isprintable()


def test_what_is_stored_is_what_was_seen(whole):
    for row in whole.rows:
        image, case = open_image(whole.path(row)), CASES[row.source]
        assert image.size == (row.width, row.height)
        assert hash_pixels(image) == row.pixels
        assert sha256_file(whole.path(row)) == row.sha256
        stored, suffix = whole.path(row).read_bytes(), whole.path(row).suffix
        assert stored == bare(case.data, suffix) if case.is_copied else stored != case.data
        assert case.note in row.note
        if case.corners is not None:
            values = np.asarray(image).astype(int)
            found = np.array([values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]])
            assert np.abs(found - np.array(case.corners)).max() <= case.tolerance


def test_the_folder_holds_pictures_captions_the_index_and_the_chart_only(whole):
    expected = (
        {"dataset.json", ".doctor.json"} | {row.file for row in whole.rows} | {row.file.rsplit(".", 1)[0] + ".txt" for row in whole.rows}
    )
    assert {path.name for path in whole.root.iterdir()} == expected
    assert Dataset.load(whole.root) == whole
    assert [path.name for path in whole.root.parent.iterdir()] == ["corpus"]


NAMES = (
    "with space.png",
    unicodedata.normalize("NFC", "größe é.png"),
    unicodedata.normalize("NFD", "größe é.png"),
    "東京.png",
    "مرحبا ‮gnp.png",
    "👨‍👩‍👧.png",
    "line\nbreak\ttab.png",
    "-rf --help.png",
    "$(touch owned);`id`&|.png",
    "<img src=x onerror=alert(1)>.png",
    "quote\"'\\.png",
    "%s%n%00.png",
    "UPPER.PNG",
    "upper.png",
    "con.png",
    "dots...png",
    "no suffix",
    "x" * 251 + ".png",
)


def test_any_name_is_taken(workspace, tmp_path):
    folder = os.fsencode(tmp_path / "names")
    os.mkdir(folder)
    names = [os.fsencode(name) for name in NAMES] + [b"not \xff\xfe utf-8.png"]
    for i, name in enumerate(names):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encode(photo(i), "PNG"))
        with open(os.path.join(folder, os.path.splitext(name)[0] + b".txt"), "wb") as file:
            file.write(f"caption {photo(i).getpixel((0, 0))}".encode())
    dataset = create_dataset(workspace, "Names", [tmp_path / "names"])
    assert dataset.skipped == []
    assert len(dataset.rows) == len(names)
    for row in Dataset.load(dataset.root).rows:
        assert row.source.isprintable()
        assert row.file.isprintable() and "/" not in row.file and len(os.fsencode(row.file)) <= 80
        assert dataset.caption(row) == f"caption {open_image(dataset.path(row)).getpixel((0, 0))}"


def test_one_bad_file_of_each_kind_does_not_stop_the_good(workspace, tmp_path):
    folder = tmp_path / "mixed"
    (folder / "folder.png").mkdir(parents=True)
    (folder / "good.png").write_bytes(encode(quad(), "PNG"))
    (folder / "bad.png").write_bytes(b"bad")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "link.png").symlink_to("good.png")
    dataset = create_dataset(workspace, "Mixed", [folder, tmp_path / "missing.png"])
    assert [row.source for row in dataset.rows] == ["good.png", "link.png"]
    assert {skipped.file for skipped in dataset.skipped} == {"folder.png", "bad.png", "pipe.png", "loop.png", "missing.png"}


@pytest.mark.parametrize(
    "files, reason",
    [
        ({}, "there are no pictures here"),
        ({"README.md": b"hello"}, "there are no pictures here"),
        ({"a.png": b"text", "b.heic": b"x"}, "of 2 files none could be read; the first: a.png holds text"),
        ({"a.zip": b"PK\3\4xxxx"}, "a.zip is a damaged archive"),
    ],
)
def test_nothing_readable_is_one_clear_line(workspace, tmp_path, files, reason):
    folder = tmp_path / "none"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(StudioError) as caught:
        create_dataset(workspace, "None", [folder])
    assert reason in str(caught.value)
    assert "PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF are readable" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(workspace.datasets.iterdir()) == []


def test_a_missing_path_alone_is_one_clear_line(workspace, tmp_path):
    with pytest.raises(StudioError, match="gone does not exist: check the path"):
        create_dataset(workspace, "Gone", [tmp_path / "gone"])


@pytest.mark.parametrize("name", ["", "  ", "///", "..", "\n\t", "!!!", "\ud800"])
def test_a_name_without_letters_is_refused(workspace, pictures, name):
    with pytest.raises(StudioError, match="at least one letter or digit"):
        create_dataset(workspace, name, [pictures])


def test_names_are_kept_as_typed_and_lead_nowhere_else(workspace, pictures):
    dataset = create_dataset(workspace, "../../Über\x00 MRI\n(2)", [pictures])
    assert dataset.name == "../../Über MRI (2)"
    assert dataset.root == workspace.datasets / "über-mri-2"
    with pytest.raises(StudioError, match="exists already"):
        create_dataset(workspace, "über mri 2", [pictures])
    with pytest.raises(StudioError, match="at most 120 characters"):
        create_dataset(workspace, "x" * 121, [pictures])


def test_a_background_that_is_no_colour_is_refused(workspace, pictures):
    with pytest.raises(StudioError, match="write it as #rrggbb"):
        create_dataset(workspace, "x", [pictures], background="white; rm")


def test_the_background_is_used_and_kept(workspace, tmp_path):
    image = quad().convert("RGBA")
    image.putalpha(0)
    (tmp_path / "clear.png").write_bytes(encode(image, "PNG"))
    dataset = create_dataset(workspace, "Dark", [tmp_path / "clear.png"], background="#0A0B0C")
    assert Dataset.load(dataset.root).background == "#0a0b0c"
    assert open_image(dataset.path(dataset.rows[0])).getpixel((3, 3)) == (10, 11, 12)


def test_progress_counts_every_picture(workspace, pictures):
    seen = []
    create_dataset(workspace, "Seen", [pictures], progress=lambda *step: seen.append(step))
    assert seen[0] == (0, 10, "a0.png")
    assert seen[-1] == (10, 10, "")
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)


def test_the_importing_process_decodes_nothing_and_knows_no_torch():
    code = "import sys, studio.dataset.intake, studio.dataset.report, studio.dataset.export; print({'PIL', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def demos(tmp_path, monkeypatch):
    """Two demos; `icons` holds 6 pictures with their own split."""
    for demo in ("icons", "other"):
        folder = tmp_path / "demos" / demo
        folder.mkdir(parents=True)
        lines = []
        for i in range(6):
            (folder / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
            split = "held_out" if i % 2 else "train"
            lines.append(json.dumps({"file_name": f"{i}.png", "text": f"icon {i}", "split": split, "group": f"g{i // 2}", "id": i}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
        about = {"title": "Outlined icons", "licence": "CC-BY-SA-4.0", "preview_prompts": ["a red apple"]}
        (folder / "demo.json").write_text(json.dumps(about))
    monkeypatch.setattr(intake, "DEMOS", tmp_path / "demos")


def test_a_demo_keeps_its_split_groups_and_facts(workspace, demos):
    dataset = create_demo(workspace, "icons", None)
    assert dataset.name == "Outlined icons"
    assert [row.split for row in dataset.rows] == ["train", "held_out"] * 3
    assert [row.group for row in dataset.rows] == ["g0", "g0", "g1", "g1", "g2", "g2"]
    assert Dataset.load(dataset.root).about["preview_prompts"] == ["a red apple"]
    assert dataset.caption(dataset.rows[2]) == "icon 2"
    assert dataset.skipped == []
    assert create_demo(workspace, "icons", "Mine").name == "Mine"


def test_an_unknown_demo_names_the_known(workspace, demos):
    assert list_demos() == ["icons", "other"]
    with pytest.raises(StudioError, match="no demo is called '../x': there are icons, other"):
        create_demo(workspace, "../x", None)
