"""A run's state is derived from what is true now."""

import os
import subprocess
import sys
import threading

import psutil
import pytest

from studio.errors import StudioError
from studio.jobs.runs.folders import Run, boot_id, find_run, list_runs, make_run
from studio.store import Workspace, write_json
from tests.jobs.conftest import plain_spec


@pytest.fixture()
def run(tmp_path):
    return make_run(Workspace.at(tmp_path), plain_spec())


def _status(**changes):
    me = psutil.Process()
    return {"state": "running", "pid": me.pid, "started": me.create_time(), "boot": boot_id(), **changes}


def test_a_living_process_is_believed(run):
    run.write_status("running")
    assert run.status()["state"] == "running" and run.summary()["pid"] == os.getpid()


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 - 3},
        {"pid": 1},
        {"started": 1.0},
        {"boot": "another boot"},
        {"pid": None},
        {"pid": "1; rm -rf"},
        {"started": None},
    ],
)
@pytest.mark.parametrize("state", ["starting", "preparing", "running", "finishing"])
def test_a_stale_status_is_never_running(run, state, changes):
    write_json(run.folder / "status.json", _status(state=state, **changes))
    assert run.status()["state"] == "interrupted" and not run.lives() and run.summary()["pid"] is None


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 50, b"[]", b"null", b'"running"'])
def test_a_damaged_status_is_interrupted(run, content):
    (run.folder / "status.json").write_bytes(content)
    assert run.status()["state"] == "interrupted"


def test_a_zombie_does_not_live(run):
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    started = process.create_time()
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    write_json(run.folder / "status.json", _status(pid=child.pid, started=started))
    assert run.status()["state"] == "interrupted"
    child.wait()


def test_ended_states_stay(run):
    for state in ("finished", "stopped", "failed"):
        write_json(run.folder / "status.json", _status(state=state, pid=None))
        assert run.status()["state"] == state


def test_ids_are_unique_when_many_are_made_at_once(tmp_path):
    workspace, made = Workspace.at(tmp_path), []
    threads = [threading.Thread(target=lambda i=i: made.append(make_run(workspace, plain_spec(f"run {i % 3}")).id)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({i[:4] for i in made}) == 12
    assert [r.id for r in list_runs(workspace)] == sorted(made)


def test_runs_are_found_by_id_number_and_beginning(tmp_path):
    workspace = Workspace.at(tmp_path)
    first, second = make_run(workspace, plain_spec("brain")), make_run(workspace, plain_spec("Größe 東京"))
    for name in (first.id, "1", "0001", "0001-b"):
        assert find_run(workspace, name) == first
    assert find_run(workspace, "2") == second
    for name in ("", "3", "../..", "/etc", "-1", "0", "000"):
        with pytest.raises(StudioError, match="run"):
            find_run(workspace, name)


def test_a_spec_comes_back_as_it_was(run):
    assert Run(run.folder).spec() == plain_spec()
