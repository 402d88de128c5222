"""Views are made once, out of process, and shown only for pictures of a dataset; lists follow the files."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile

import psutil
import pytest
from PIL import Image

from studio.dataset import edit, removal
from studio.dataset.export import stream_zip
from studio.dataset.intake import create_dataset
from studio.dataset.listing import FILTERS, SORTS, Query, facts, page, summary
from studio.dataset.rows import open_dataset
from studio.dataset.shelf import Shelf
from studio.dataset.views import Views
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.corpus import encode, photo


@pytest.fixture
def views(workspace):
    with_worker = Views(workspace)
    yield with_worker
    with_worker.close()


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """A workspace with a dataset of one large and one small picture, imported once; not to be changed."""
    given, workspace = tmp_path_factory.mktemp("given"), Workspace.at(tmp_path_factory.mktemp("sizes"))
    (given / "a large.png").write_bytes(encode(photo(1, (1500, 500)), "PNG"))
    (given / "b small.png").write_bytes(encode(photo(2, (48, 32)), "PNG"))
    create_dataset(workspace, "Sizes", [given / "a large.png", given / "b small.png"])
    return workspace


@pytest.fixture
def large(workspace, sizes):
    """A dataset of one large and one small picture in the test's own workspace."""
    shutil.copytree(sizes.root, workspace.root, dirs_exist_ok=True)
    return open_dataset(workspace, "Sizes")


def test_small_views_are_made_at_import(workspace, large):
    names = {path.name: path for path in (workspace.cache / "views").iterdir()}
    assert set(names) == {f"{row.pixels}-256.webp" for row in large.rows}
    sizes = [Image.open(names[f"{row.pixels}-256.webp"]).size for row in large.rows]
    assert sizes == [(256, 85), (48, 32)]  # reduced, and never enlarged


def test_missing_views_are_made_when_asked_for_and_kept(workspace, large, views):
    name = f"{large.rows[0].pixels}-1024.webp"
    path = views.path(name)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("WEBP", (1024, 341))
    before = path.stat().st_mtime_ns
    assert views.path(name).stat().st_mtime_ns == before
    os.unlink(workspace.cache / "views" / f"{large.rows[1].pixels}-256.webp")
    with Image.open(views.path(f"{large.rows[1].pixels}-256.webp")) as image:
        assert image.convert("RGB").tobytes() == photo(2, (48, 32)).tobytes()  # small ones are exact


@pytest.mark.parametrize("name", ["", "../../x", "0" * 64 + "-256.webp", "0" * 64 + "-512.webp", "Z" * 64 + "-256.webp", "dataset.json"])
def test_only_pictures_of_a_dataset_are_shown(views, large, name):
    with pytest.raises(StudioError, match="picture"):
        views.path(name)


def test_a_removed_picture_is_shown_no_more(workspace, large, views):
    name = f"{large.rows[0].pixels}-256.webp"
    assert views.path(name)
    undo = removal.remove_pictures(workspace, "Sizes", [large.rows[0].file])["undo"]
    with pytest.raises(StudioError, match="in no dataset"):
        views.path(name)
    removal.restore_pictures(workspace, "Sizes", undo)
    assert views.path(name)


def test_a_damaged_or_replaced_picture_is_one_clear_line(large, views):
    large.path(large.rows[0]).write_bytes(b"damaged")
    with pytest.raises(StudioError, match="cannot be read"):
        views.path(f"{large.rows[0].pixels}-1024.webp")
    large.path(large.rows[1]).write_bytes(encode(photo(9), "PNG"))
    with pytest.raises(StudioError, match="replaced by another picture"):
        views.path(f"{large.rows[1].pixels}-1024.webp")
    large.path(large.rows[1]).unlink()
    with pytest.raises(StudioError, match="cannot be read"):
        views.path(f"{large.rows[1].pixels}-1024.webp")


@pytest.mark.usefixtures("plain_starts")
def test_the_decoder_may_die_and_many_may_ask(large, views):
    views.path(f"{large.rows[0].pixels}-1024.webp")
    for child in psutil.Process().children():
        if "studio.dataset.decode" in child.cmdline():
            os.kill(child.pid, signal.SIGKILL)
            child.wait(10)
    found = []
    threads = [threading.Thread(target=lambda: found.append(views.path(f"{large.rows[1].pixels}-1024.webp"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and found[0].exists()


def test_a_view_that_cannot_be_written_is_an_error_of_the_disk(workspace, large, views):
    folder = workspace.cache / "views"
    folder.rename(workspace.cache / "away")
    folder.write_text("in the way")
    with pytest.raises(OSError):
        views.path(f"{large.rows[0].pixels}-1024.webp")


def test_this_process_decodes_nothing():
    modules = ", ".join(f"studio.dataset.{name}" for name in ("views", "edit", "wording", "listing"))
    code = f"import sys, {modules}; print({{'PIL', 'torch'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_lists_follow_the_files(workspace, dataset):
    shelf = Shelf(workspace)
    first = shelf.open(dataset.name)
    assert shelf.open(dataset.name) is first
    edit.set_caption(workspace, dataset, dataset.rows[2].file, "changed <b>")
    second = shelf.open(dataset.name)
    assert second.version != first.version and second.caption(dataset.rows[2]) == "changed <b>"
    removal.remove_pictures(workspace, dataset.name, [dataset.rows[0].file])
    assert len(shelf.open(dataset.name).dataset.rows) == 9
    (dataset.root / "dataset.json").write_text("{")
    assert shelf.all() == [] and "is damaged" in shelf.damaged()[0]
    removal.delete_dataset(workspace, dataset.root.name)
    with pytest.raises(StudioError, match="no dataset is called"):
        shelf.open(dataset.name)


def test_pages_filters_orders_and_words(workspace, dataset):
    edit.set_caption(workspace, dataset, dataset.rows[2].file, "")
    edit.set_caption(workspace, dataset, dataset.rows[3].file, "Ünïcode word " * 30)
    kept = Shelf(workspace).open(dataset.name)

    def files(**query):
        return [item["file"] for item in page(kept, Query(**query))["items"]]

    everything = [row.file for row in dataset.rows]
    assert files() == everything and files(offset=4, limit=3) == everything[4:7]
    assert files(sort="newest") == everything[::-1]
    assert files(filter="no_caption") == [everything[2]] and files(filter="edited") == everything[2:4]
    assert files(filter="held_out") == [row.file for row in dataset.held_out_rows]
    assert files(filter="check:long_caption") == files(text="ünïcode") == [everything[3]]
    assert files(text="A5.png") == [everything[5]] and files(text="nothing") == []
    for name in (*FILTERS, *SORTS):
        page(kept, Query(filter=name) if name in FILTERS else Query(sort=name))
    with pytest.raises(StudioError, match="the filter is one of"):
        page(kept, Query(filter="x"))
    item = page(kept, Query())["items"][2]
    assert item["badges"] == (["held out"] if dataset.rows[2].split == "held_out" else []) + ["edited", "no caption"]
    assert item["thumb"] == f"/studio/views/{dataset.rows[2].pixels}-256.webp"


def test_what_the_doctor_finds_leads_to_its_pictures(workspace, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    (tmp_path / "twin.png").write_bytes(encode(photo(0), "PNG"))
    (tmp_path / "near.png").write_bytes(encode(photo(1).resize((192, 128)), "PNG"))
    (tmp_path / "small.png").write_bytes(encode(photo(5, (32, 32)), "PNG"))
    (tmp_path / "2.txt").write_text("word " * 60)
    (tmp_path / "bad.png").write_bytes(b"x")
    kept = Shelf(workspace).open(create_dataset(workspace, "Look", [tmp_path]).name)
    found = {each["key"] for each in kept.diagnosis["findings"]}
    assert found >= {"no_caption", "exact", "near", "small", "long_caption", "weak_split", "skipped", "few"}
    assert facts(kept)["doctor"]["score"] == kept.diagnosis["score"] < 80
    for name in found - {"skipped", "weak_split", "few"}:
        assert page(kept, Query(filter=f"check:{name}"))["shown"], name
    assert page(kept, Query(filter="check:dark"))["shown"] == 0
    notes = {item["source"]: (item["badges"], item["note"]) for item in page(kept, Query())["items"]}
    assert "problem" in notes["twin.png"][0] and notes["twin.png"][1].startswith("the same picture as 0001-0.png")
    assert "looks like" in notes["near.png"][1] and "low resolution: 32×32 px" in notes["small.png"][1]
    assert summary(kept)["captions"] == 1


@pytest.mark.parametrize("captions", ["txt", "jsonl"])
def test_a_zip_holds_what_the_folder_would(dataset, tmp_path, captions):
    from studio.dataset.export import export_dataset

    folder = export_dataset(dataset, tmp_path / "out", captions)
    with zipfile.ZipFile(io.BytesIO(b"".join(stream_zip(dataset, captions)))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_zip_of_a_dataset_that_lacks_a_picture_is_refused_at_once(dataset):
    dataset.path(dataset.rows[0]).unlink()
    with pytest.raises(StudioError, match="is missing"):
        stream_zip(dataset, "txt")
