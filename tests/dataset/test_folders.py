"""Every folder of the corpus by each way in: read from the disk, sent by a page, packed as a zip. Each file has its fate, by name."""

import os

import pytest

from studio.dataset.intake import create_dataset
from studio.dataset.pixels import see
from studio.dataset.rows import Dataset, open_dataset
from studio.dataset.stored import hash_pixels
from studio.store import Workspace
from tests.dataset.archive_corpus import packed
from tests.dataset.folder_corpus import FOLDERS, loosen, write
from tests.fixtures.waiting import wait_until
from ui.imports import Imports

LINES_TOLD = {
    "tables": ["second time", "not a string", "is not JSON", "not a JSON object", 'has no "file_name"', "passwd"],
}


@pytest.fixture(scope="module")
def corpus():
    return {name: list(make()) for name, make in FOLDERS.items()}


def pixels(entry):
    return hash_pixels(see(entry.make, "#ffffff").image)


def snapshot(folder):
    found = {}
    for root, _, files in os.walk(os.fsencode(folder)):
        for name in files:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found[path] = (os.stat(path).st_mtime_ns, open(path, "rb").read(2**20))
    return found


def check(dataset, entries):
    """Each picture is there once with its caption, each file that is left out is told, and nothing else is."""
    wanted = {pixels(entry): entry for entry in entries if entry.caption is not None}
    got = {row.pixels: dataset.caption(row) for row in dataset.rows}
    assert got == {key: entry.caption for key, entry in wanted.items()}, {
        wanted[key].name: (got.get(key), wanted[key].caption) for key in wanted if got.get(key) != wanted[key].caption
    }
    assert len(dataset.rows) == len(wanted) and all(row.source.isprintable() and row.file.isprintable() for row in dataset.rows)
    told = [f"{each.file} {each.reason}" for each in dataset.skipped]
    assert all(line.isprintable() for line in told)
    for entry in entries:
        if entry.reason:
            assert any(str(entry.name) in line and entry.reason in line for line in told), (entry.name, told)
    return told


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_from_the_disk(workspace, tmp_path, corpus, name):
    (tmp_path / "in").mkdir()
    write(corpus[name], tmp_path / "in")
    before = snapshot(tmp_path / "in")
    dataset = create_dataset(workspace, name, [tmp_path / "in"])
    told = check(dataset, corpus[name])
    for part in LINES_TOLD.get(name, []):
        assert any(part in line for line in told), (part, told)
    assert snapshot(tmp_path / "in") == before
    assert Dataset.load(dataset.root).rows == dataset.rows
    loosen(tmp_path / "in")


def test_all_folders_packed_as_archives(workspace, tmp_path, corpus):
    plain = {name: [entry for entry in entries if entry.is_plain] for name, entries in corpus.items()}
    for name, entries in plain.items():
        (tmp_path / f"{name}.zip").write_bytes(packed({entry.name: entry.make for entry in entries}))
    dataset = create_dataset(workspace, "packed", [tmp_path])
    told = check(dataset, [entry for entries in plain.values() for entry in entries])
    assert all(line.split("/")[0] in {f"{name}.zip" for name in FOLDERS} for line in told), told


def test_all_folders_sent_by_a_page(tmp_path, corpus):
    workspace = Workspace.at(tmp_path / "workspace")
    imports = Imports(workspace)
    job = imports.create(None, "sent")
    plain = [(name, entry) for name, entries in corpus.items() for entry in entries if entry.is_plain]
    for name, entry in plain:
        path = imports.place(job, f"{name}/{entry.name}", len(entry.make))
        path.write_bytes(entry.make)
        imports.grow(job, len(entry.make))
        imports.took(job)
    imports.finish(job.id)
    wait_until(lambda: imports.find(job.id).state != "reading")
    assert imports.find(job.id).state == "finished", imports.find(job.id).error
    check(open_dataset(workspace, imports.find(job.id).dataset), [entry for _, entry in plain])
    imports.close()
    assert not [path for path in (workspace.root / "incoming").iterdir()]
    assert {path.name for path in tmp_path.iterdir()} == {"workspace"}
