"""Zip archives: what is in them is taken as from a folder; nothing leads out, nothing grows without limit, the rest goes on."""

import struct

import pytest

from studio.dataset import archives as archives_module
from studio.dataset.archives import read_archives
from studio.dataset.decode import read
from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.pixels import Unreadable
from studio.dataset.rows import Dataset
from studio.dataset.sources import find
from studio.dataset.table import Captions
from studio.errors import StudioError
from tests.dataset.archive_corpus import ONE, TWO, archives, packed


@pytest.fixture(scope="module")
def corpus():
    return {archive.name: archive for archive in archives()}


@pytest.mark.parametrize("archive", archives(), ids=lambda archive: archive.name)
def test_what_is_found_in_an_archive_and_what_is_told(tmp_path, archive):
    (tmp_path / archive.name).write_bytes(archive.data)
    (tmp_path / "parts").mkdir()
    found = find([tmp_path / archive.name])
    read_archives(found, tmp_path / "parts", lambda name: None)
    captions = Captions(found)
    there = {picture.path.name: captions.of(picture).text or "" for picture in found.pictures if not refusal(picture, tmp_path)}
    told = [(each.file, each.reason) for each in found.skipped]
    told += [(picture.label, reason) for picture in found.pictures if (reason := refusal(picture, tmp_path))]
    assert there == archive.taken
    for part, reason in archive.skipped.items():
        assert any(part in file and reason in why for file, why in told), (part, told)
    assert len(told) == len(archive.skipped) and all(file.startswith(archive.name) and why.isprintable() for file, why in told), told
    assert (tmp_path / archive.name).read_bytes() == archive.data
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "parts"} and not [
        *tmp_path.rglob(".part"),
        *tmp_path.rglob("evil*"),
    ]


def refusal(picture, folder):
    """Why a picture cannot be read; "" where it can."""
    try:
        read(picture.path, folder / "parts" / ".stored", "#ffffff")
    except Unreadable as error:
        return str(error)
    return ""


def test_all_archives_at_once_become_one_dataset(workspace, tmp_path, corpus):
    for archive in corpus.values():
        (tmp_path / archive.name).write_bytes(archive.data)
    dataset = create_dataset(workspace, "all", [tmp_path / name for name in corpus])
    assert len(dataset.rows) == sum(len(archive.taken) for archive in corpus.values()) + 1  # one name twice in twice.zip
    assert len(dataset.skipped) == sum(len(archive.skipped) for archive in corpus.values())
    assert {row.split for row in dataset.rows if row.source == "b.png"} <= {"train", "held_out"}
    assert [path.name for path in workspace.datasets.iterdir()] == ["all"]


def test_a_split_in_the_table_of_an_archive_counts(workspace, tmp_path, corpus):
    (tmp_path / "t.zip").write_bytes(corpus["table.zip"].data)
    assert [row.split for row in create_dataset(workspace, "t", [tmp_path / "t.zip"]).rows] == ["held_out"]


def test_pictures_of_an_archive_are_added_in_place_of_it(workspace, tmp_path, dataset):
    (tmp_path / "more.zip").write_bytes(
        packed({"2.png": ONE, "10.png": TWO, "again.png": (dataset.root / dataset.rows[0].file).read_bytes()})
    )
    added = add_pictures(workspace, dataset.name, [tmp_path / "more.zip"])
    assert [row.source for row in Dataset.load(dataset.root).rows[-2:]] == ["2.png", "10.png"]
    assert "which is here already" in added.skipped[0].reason and not list(workspace.datasets.glob(".tmp*"))


def test_an_archive_alone_without_pictures_is_one_clear_line(workspace, tmp_path):
    (tmp_path / "bad.zip").write_bytes(packed({"a.txt": b"x"})[:-10])
    with pytest.raises(StudioError, match="bad.zip is a damaged archive"):
        create_dataset(workspace, "none", [tmp_path / "bad.zip"])


def test_reading_an_archive_can_be_cancelled(workspace, tmp_path):
    (tmp_path / "a.zip").write_bytes(packed({f"{n}.png": ONE for n in range(5)}))
    names = []

    def stop(done, total, name):
        names.append(name)
        if len(names) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_dataset(workspace, "a", [tmp_path / "a.zip"], progress=stop)
    assert names == ["0.png", "1.png", "2.png"] and list(workspace.datasets.iterdir()) == []


def test_the_list_of_members_is_bounded_before_it_is_read(workspace, tmp_path, monkeypatch):
    good = packed({"a.png": ONE})
    end = good.rindex(b"PK\5\6")
    (tmp_path / "list.zip").write_bytes(good[: end + 12] + struct.pack("<L", 2**30) + good[end + 16 :])
    monkeypatch.setattr(archives_module, "MAX_MEMBERS", 2)
    (tmp_path / "many.zip").write_bytes(packed({f"{n}.txt": b"" for n in range(3)}))
    (tmp_path / "ok.png").write_bytes(TWO)
    skipped = create_dataset(workspace, "few", [tmp_path]).skipped
    assert ["lists more than 2 files" in skipped[0].reason, "holds 3 files, more than 2" in skipped[1].reason] == [True, True]


def test_a_full_disk_is_said_before_anything_is_read(workspace, tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(packed({"a.png": ONE}))
    monkeypatch.setattr(archives_module, "_SPARE_BYTES", 2**60)
    with pytest.raises(StudioError, match="disk is full: what a.zip holds needs"):
        create_dataset(workspace, "a", [tmp_path / "a.zip"])
