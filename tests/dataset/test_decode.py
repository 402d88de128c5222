"""The decoding process in itself: what it answers, what it may not do, and the small reader of stored pictures."""

import json
import os
import subprocess
import sys

import numpy as np
import psutil
import pytest

from studio.dataset import worker as worker_module
from studio.dataset.decode import MAX_MEMORY_BYTES, read
from studio.dataset.pixels import Unreadable
from studio.dataset.stored import hash_pixels, open_image
from studio.dataset.worker import Worker
from studio.errors import StudioError
from tests.dataset.corpus import encode, photo, quad


def ask(worker: Worker, source, target, tick=lambda: None):
    return worker.ask({"source": str(source), "target": str(target), "background": "#ffffff"}, tick)


def child() -> psutil.Process:
    return next(process for process in psutil.Process().children() if "studio.dataset.decode" in process.cmdline())


def test_facts_of_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(quad(), "PNG"))
    facts = read(tmp_path / "a.png", tmp_path / "stored", "#ffffff")
    assert (facts["width"], facts["height"], facts["suffix"], facts["note"]) == (48, 32, ".png", "")
    assert (tmp_path / "stored").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert facts["pixels"] == hash_pixels(quad())
    assert hash_pixels(quad()) != hash_pixels(quad(32, 48))


def test_equal_pixels_have_equal_hashes_whatever_the_format(tmp_path):
    hashes = set()
    for kind in ("PNG", "BMP", "TIFF"):
        (tmp_path / kind).write_bytes(encode(photo(1, (700, 600)), kind))
        hashes.add(read(tmp_path / kind, tmp_path / "stored", "#ffffff")["pixels"])
    assert len(hashes) == 1


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Unreadable, match="cannot be opened"):
        read(tmp_path / "pipe.png", tmp_path / "stored", "#ffffff")


def test_open_image_reads_what_was_stored(tmp_path):
    (tmp_path / "grey.png").write_bytes(encode(quad().convert("L"), "PNG"))
    image = open_image(tmp_path / "grey.png")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(quad().convert("L").convert("RGB")))


@pytest.mark.parametrize(
    "data, reason",
    [(None, "cannot be read"), (b"", "cannot be read"), (encode(quad().convert("RGBA"), "PNG"), "was replaced by a RGBA picture")],
)
def test_open_image_refuses_what_was_changed(tmp_path, data, reason):
    if data is not None:
        (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(StudioError, match=reason) as caught:
        open_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_names_survive_the_way_to_the_worker(tmp_path):
    with Worker() as worker:
        for name in (b"line\nbreak.png", b"not \xff utf-8.png", "東京 ‮.png".encode(), b"-rf.png", b'"quoted\\.png'):
            path = os.path.join(os.fsencode(tmp_path), name)
            with open(path, "wb") as file:
                file.write(encode(quad(), "PNG"))
            assert ask(worker, os.fsdecode(path), tmp_path / "stored")["width"] == 48


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
@pytest.mark.usefixtures("plain_starts")
def test_memory_is_limited(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    with Worker() as worker:
        assert ask(worker, tmp_path / "good.png", tmp_path / "stored")["width"] == 48
        assert child().rlimit(psutil.RLIMIT_AS) == (MAX_MEMORY_BYTES,) * 2


def test_a_full_disk_is_told_apart_from_a_bad_picture(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    with Worker() as worker:
        assert ask(worker, tmp_path / "good.png", tmp_path / "no" / "folder") == {"errno": 2}


@pytest.mark.usefixtures("plain_starts")
def test_a_killed_worker_costs_one_picture(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    with Worker() as worker:
        ask(worker, tmp_path / "good.png", tmp_path / "stored")
        process = child()
        process.suspend()
        answer = ask(worker, tmp_path / "good.png", tmp_path / "stored", tick=process.kill)
        assert answer["reason"].startswith("crashed the image decoder")
        assert ask(worker, tmp_path / "good.png", tmp_path / "stored")["width"] == 48


@pytest.mark.usefixtures("plain_starts")
def test_a_worker_that_died_between_pictures_costs_none(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    with Worker() as worker:
        ask(worker, tmp_path / "good.png", tmp_path / "stored")
        process = child()
        process.kill()
        psutil.wait_procs([process], timeout=5)
        assert ask(worker, tmp_path / "good.png", tmp_path / "stored")["width"] == 48


@pytest.mark.usefixtures("plain_starts")
def test_a_hanging_worker_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "LIMIT_S", 0.4)
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    with Worker() as worker:
        worker._start(lambda: None)
        process = child()
        process.suspend()
        assert ask(worker, tmp_path / "good.png", tmp_path / "stored")["reason"].startswith("took too long to decode (over 0.4 s)")
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_cannot_start_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "_COMMAND", [sys.executable, "-c", "raise SystemExit(1)"])
    with Worker() as worker, pytest.raises(StudioError, match="could not be started"):
        ask(worker, tmp_path / "a.png", tmp_path / "stored")


def test_the_worker_ends_with_its_input():
    process = subprocess.Popen([sys.executable, "-m", "studio.dataset.decode"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(b"", timeout=60)
    assert json.loads(out) == {"ready": True}
    assert process.returncode == 0


def test_a_module_beside_the_pictures_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    (tmp_path / "good.png").write_bytes(encode(quad(), "PNG"))
    monkeypatch.chdir(tmp_path)
    with Worker() as worker:
        assert ask(worker, tmp_path / "good.png", tmp_path / "stored")["width"] == 48
