"""A spare process becomes a run or the resident; without a line it leaves; a dead one is replaced."""

import os
import subprocess
import sys

import psutil
import pytest

from studio.jobs.processes import supervisor
from studio.jobs.processes.supervisor import spawn
from studio.jobs.resident_client import Resident
from studio.jobs.runs.folders import Run
from tests.fixtures.waiting import PATIENCE_S, wait_until
from tests.jobs.conftest import make_run_of


@pytest.fixture()
def spare(tmp_path):
    """A spare process; forked like others but where a test asks for `plain_starts`."""
    process = spawn("studio.jobs.spare", log=tmp_path / "log.txt", talking=True)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("plain_starts")
def test_a_spare_becomes_the_run(shop, tiny_folder, spare):
    run = make_run_of(shop, tiny_folder)
    process = supervisor.start(run, spare)
    assert process is spare and run.status()["pid"] == spare.pid
    assert process.wait(PATIENCE_S) == 0 and run.status()["state"] == "finished"
    assert run.adapter.is_file() and os.getsid(0) != spare.pid


def test_what_a_run_made_of_a_spare_prints_is_in_its_log(shop, tiny_folder, spare):
    run = make_run_of(shop, tiny_folder)
    (shop.datasets / "shapes" / "dataset.json").rename(shop.root / "away.json")
    try:
        assert supervisor.start(run, spare).wait(PATIENCE_S) == 1
    finally:
        (shop.root / "away.json").rename(shop.datasets / "shapes" / "dataset.json")
    assert run.status()["state"] == "failed" and "Traceback" in (run.folder / "log.txt").read_text()


def test_a_dead_spare_is_replaced_by_a_new_process(shop, tiny_folder, spare):
    spare.kill()
    spare.wait()
    run = make_run_of(shop, tiny_folder, "train.steps=1")
    process = supervisor.start(run, spare)
    assert process is not spare and process.wait(PATIENCE_S) == 0 and run.status()["state"] == "finished"


def test_a_spare_without_a_line_leaves_in_silence(spare, tmp_path):
    spare.stdin.close()
    assert spare.wait(PATIENCE_S) == 0 and not (tmp_path / "log.txt").read_text() and not spare.stdout.read()


def test_a_spare_touches_no_device_and_has_done_the_slow_imports():
    code = (
        "import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO()); from studio.jobs import spare; spare.main(); import torch\n"
        "before = set(sys.modules); from diffusers import StableDiffusionPipeline; import studio.jobs.resident\n"
        "assert not torch.cuda.is_initialized(); assert {'torch', 'diffusers', 'transformers', 'peft'} <= before\n"
        "import gc; assert gc.isenabled() and gc.get_freeze_count() > 100_000, 'what the libraries made is not looked through again'"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_the_client_keeps_one_spare_and_gives_it_away_once(shop, tiny_folder, monkeypatch):
    monkeypatch.setattr("studio.jobs.resident_client.START_AFTER_S", 0.0)
    (shop.cache / "machine.json").unlink(missing_ok=True)
    client = Resident(shop)
    try:
        client.warm()
        wait_until(lambda: client._spare is not None)
        wait_until((shop.cache / "machine.json").is_file, "the first time ever, it finds out what machine this is")
        first = client._spare
        client._prepare()
        assert client._spare is first, "one at most"
        run = make_run_of(shop, tiny_folder, "train.steps=1")
        assert client.spare_for_run(run) is first and client.spare_for_run(run) is None
        assert supervisor.start(run, first).wait(PATIENCE_S) == 0
        process = psutil.Process(client._process.pid)
    finally:
        client.close()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert Run(run.folder).status()["state"] == "finished"
