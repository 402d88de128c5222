"""Queued runs go one after another; a queued run can be killed, stopped, resumed, and its state is always true."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from studio.jobs.processes import supervisor
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import make_run
from studio.jobs.runs.queue import first_ahead
from studio.store import Workspace
from tests.fixtures.waiting import PATIENCE_S, wait_until
from tests.jobs.conftest import make_run_of, plain_spec


@pytest.fixture()
def sleeper():
    """A process that stands for a run at work."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def _is_waiting(run):
    return run.status()["state"] == "queued" and any(e["kind"] == "queued" for e in read_events(run.events)[0])


def test_the_order_is_that_of_queueing(tmp_path, sleeper):
    workspace = Workspace.at(tmp_path)
    a, b, c = (make_run(workspace, plain_spec(f"run {i}")) for i in range(3))
    assert first_ahead(workspace, a, 5.0) is None
    b.write_status("queued", sleeper, queued=3.0)
    assert first_ahead(workspace, a, 5.0) == b and first_ahead(workspace, a, 2.0) is None
    c.write_status("queued", sleeper, queued=5.0)
    assert first_ahead(workspace, b, 3.0) is None and first_ahead(workspace, c, 5.0) == b
    for state in ("starting", "preparing", "running", "finishing", "parked"):
        c.write_status(state, sleeper)
        assert first_ahead(workspace, b, 3.0) == c, state
    for state in ("finished", "stopped", "failed"):
        c.write_status(state, sleeper)
        assert first_ahead(workspace, b, 3.0) is None, state
    c.write_status("running", sleeper)
    sleeper.kill()
    wait_until(lambda: first_ahead(workspace, b, 3.0) is None)


def test_a_queued_run_waits_without_loading_anything_and_then_runs(shop, tiny_folder, sleeper, plain_starts):
    first, second = make_run_of(shop, tiny_folder), make_run_of(shop, tiny_folder)
    first.write_status("running", sleeper)
    process = supervisor.start(second, queued=True)
    wait_until(lambda: _is_waiting(second))
    assert second.lives() and second.summary()["state"] == "queued" and second.summary()["step"] == 0
    assert psutil.Process(process.pid).memory_info().rss < 150 * 2**20, "torch alone is more"
    first.write_status("finished")
    assert process.wait(PATIENCE_S) == 0 and second.status()["state"] == "finished"
    assert read_events(second.events)[0][0]["behind"] == first.id


def test_stopped_killed_and_resumed_while_queued(shop, tiny_folder, sleeper):
    first, second = make_run_of(shop, tiny_folder), make_run_of(shop, tiny_folder)
    first.write_status("running", sleeper)
    process = supervisor.start(second, queued=True)
    wait_until(lambda: _is_waiting(second))
    assert supervisor.stop(second) | {"run": "", "pid": None} == {"run": "", "state": "stopped", "pid": None, "step": 0, "steps": 6}
    assert process.wait(PATIENCE_S) == 0
    process = supervisor.start(second, queued=True)
    wait_until(lambda: _is_waiting(second) and second.status()["pid"] == process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert second.status()["state"] == "interrupted"
    process = supervisor.start(second)  # resumed: at once
    assert process.wait(PATIENCE_S) == 0 and second.status()["state"] == "finished" and first.status()["state"] == "running"
