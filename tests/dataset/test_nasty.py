"""Files made to hurt, by each way in: read from the disk, packed as a zip, sent by a page. Each is taken, or named in one line."""

import subprocess
import sys
import time

import pytest

from studio.dataset import worker as worker_module
from studio.dataset.intake import create_dataset
from studio.dataset.rows import open_dataset
from studio.store import Workspace
from tests.dataset.archive_corpus import packed
from tests.dataset.nasty_corpus import nasty
from tests.fixtures.waiting import wait_until
from ui.imports import Imports


@pytest.fixture(scope="module")
def corpus():
    return nasty()


def check(dataset, corpus, prefix=""):
    notes = {row.source: row.note for row in dataset.rows}
    told = {each.file: each.reason for each in dataset.skipped if "scene 1 tile" not in each.file}
    assert set(notes) == {case.name for case in corpus if not case.reason}
    assert set(told) == {prefix + case.name for case in corpus if case.reason}
    for case in corpus:
        said = told[prefix + case.name] if case.reason else notes[case.name]
        assert (case.reason or case.note) in said and said.isprintable(), (case.name, said)
        assert not any(word in said for word in ("Error", "Traceback", "()")) and len(said) < 200, (case.name, said)


def test_a_folder_from_the_disk(workspace, tmp_path, corpus):
    for case in corpus:
        (tmp_path / case.name).write_bytes(case.data)
    check(create_dataset(workspace, "nasty", [tmp_path]), corpus)


def test_a_zip_archive(workspace, tmp_path, corpus):
    kept = [case for case in corpus if not case.reason or len(case.data) < 10**6]  # a bomb would make the archive one
    (tmp_path / "all.zip").write_bytes(packed({case.name: case.data for case in kept}))
    check(create_dataset(workspace, "nasty", [tmp_path / "all.zip"]), kept, "all.zip/")


def test_files_sent_by_a_page(tmp_path, corpus):
    workspace = Workspace.at(tmp_path)
    imports = Imports(workspace)
    job = imports.create(None, "nasty")
    for case in corpus:
        imports.place(job, case.name, len(case.data)).write_bytes(case.data)
        imports.grow(job, len(case.data))
        imports.took(job)
    imports.finish(job.id)
    wait_until(lambda: imports.find(job.id).state != "reading")
    assert imports.find(job.id).state == "finished", imports.find(job.id).error
    check(open_dataset(workspace, imports.find(job.id).dataset), corpus)
    imports.close()


@pytest.mark.parametrize("program, is_over", [("while True: pass", True), ("import time; time.sleep(60)", True), ("busy", False)])
def test_time_is_what_a_picture_computes_not_what_a_busy_machine_takes(monkeypatch, program, is_over):
    monkeypatch.setattr(worker_module, "LIMIT_S", 0.4)
    idle = "import time\nwhile True:\n e = time.process_time() + 0.01\n while time.process_time() < e: pass\n time.sleep(0.05)"
    process = subprocess.Popen([sys.executable, "-S", "-c", idle if program == "busy" else program])
    try:
        clock = worker_module._Clock(process.pid)
        assert not clock.is_over()
        deadline = time.monotonic() + (1.2 if program == "busy" else 30)
        while not clock.is_over() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert clock.is_over() == is_over
    finally:
        process.kill()
        process.wait()
