"""Finding pictures: natural order, links, pipes, folders with picture names, and silence about the rest."""

import os
from pathlib import Path

import pytest

from studio.dataset.sources import find, natural_key
from tests.dataset.corpus import encode, quad

PNG = encode(quad(), "PNG")


def labels(found) -> list[str]:
    return [picture.label for picture in found.pictures]


def reasons(found) -> dict[str, str]:
    return {skipped.file: skipped.reason for skipped in found.skipped}


def fill(folder: Path, *names: str, data: bytes = PNG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_natural_order():
    names = ["b.png", "picture-10.png", "picture-2.png", "Picture-3.png", "7.png", "picture-2b.png"]
    assert sorted(names, key=natural_key) == ["7.png", "b.png", "picture-2.png", "picture-2b.png", "Picture-3.png", "picture-10.png"]


def test_folders_are_read_to_the_bottom_after_their_files(tmp_path):
    fill(tmp_path, "z.png", "b/2.png", "b/10.png", "b/deep/er/1.png", "a/1.png")
    assert labels(find([tmp_path])) == ["z.png", "a/1.png", "b/2.png", "b/10.png", "b/deep/er/1.png"]


def test_hidden_and_foreign_files_of_a_folder_are_passed_over_in_silence(tmp_path):
    fill(tmp_path, "a.png", ".hidden.png", "__MACOSX/a.png", ".git/b.png", "._a.png")
    fill(tmp_path, "README.md", "Thumbs.db", "notes.json", "a.caption", "LICENSE", "model.safetensors", data=b"words")
    found = find([tmp_path])
    assert labels(found) == ["a.png"]
    assert found.skipped == []


def test_a_picture_without_a_suffix_is_found(tmp_path):
    assert labels(find([fill(tmp_path, "photo", "image.dat")])) == ["image.dat", "photo"]


def test_archives_and_foreign_pictures_are_candidates_so_that_they_get_their_line(tmp_path):
    assert labels(find([fill(tmp_path, "all.zip", "x.heic", "y.psd", "z.tar.gz")])) == ["all.zip", "x.heic", "y.psd", "z.tar.gz"]


def test_what_is_given_is_always_looked_at(tmp_path):
    fill(tmp_path, ".hidden.png", "notes.md")
    found = find([tmp_path / ".hidden.png", tmp_path / "notes.md"])
    assert labels(found) == [".hidden.png", "notes.md"]
    assert all(picture.was_given for picture in found.pictures)


def test_nothing_is_read_twice(tmp_path):
    fill(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "again").symlink_to(tmp_path / "sub")
    (tmp_path / "up").symlink_to(tmp_path)
    found = find([tmp_path / "a.png", tmp_path, tmp_path / "sub" / "b.png"])
    assert labels(found) == ["a.png", "again/b.png", "b.png"]


def test_special_files_get_a_line(tmp_path):
    fill(tmp_path, "folder.png/inside.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "silent-pipe")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = find([tmp_path])
    assert labels(found) == ["folder.png/inside.png"]
    assert reasons(found) == {
        "folder.png": "is a folder, not a picture: what is inside was read as a folder",
        "loop.png": "is a link that leads nowhere",
        "lost.jpg": "is a link that leads nowhere",
        "pipe.png": "is not a regular file",
    }


def test_a_given_pipe_and_a_missing_path_get_a_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = find([tmp_path / "pipe", tmp_path / "gone.png", tmp_path / "a.png" / "b.png"])
    assert reasons(found)["pipe"] == "is not a regular file"
    assert reasons(found)["gone.png"] == "does not exist: check the path"
    assert found.pictures == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_folder_gets_a_line(tmp_path):
    fill(tmp_path, "a.png", "locked/b.png")
    (tmp_path / "locked").chmod(0)
    found = find([tmp_path])
    (tmp_path / "locked").chmod(0o700)
    assert labels(found) == ["a.png"]
    assert reasons(found) == {"locked/": "this folder cannot be read (Permission denied)"}


def test_deep_folders_do_not_exhaust_the_stack(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    fill(folder, "a.png")
    assert len(find([tmp_path]).pictures) == 1
