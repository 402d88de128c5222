"""Full and read-only disks, folders that vanish: one clear line, nothing saved before is lost, and work goes on afterwards."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from studio.errors import one_line
from studio.jobs.draw.drawings import create_drawing
from studio.jobs.processes.asked import OVER
from studio.jobs.resident_client import Resident
from studio.store import Workspace
from tests.fixtures.waiting import wait_until

MIB = 2**20
ROOM = 90 * MIB


class Disk:
    """A small file system in memory."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._filler = self.folder / "filler"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(self.folder)], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("mounting is not permitted here")

    def fill(self):
        """Leave no byte free."""
        with open(self._filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def free(self):
        self._filler.unlink(missing_ok=True)

    def lock(self):
        """Make it read-only."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def drop(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=False)


@pytest.fixture()
def disk(tmp_path):
    if os.name == "nt" or shutil.which("mount") is None:
        pytest.skip("no mount command here")
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk")
    yield made
    made.drop()


@pytest.fixture()
def here(home, own, disk):
    """Commands on a workspace on the small disk, with a dataset and a finished run."""
    own.workspace = disk.folder / "workspace"
    for kind, name in (("datasets", "shapes"), ("runs", home.run)):
        shutil.copytree(home.cli.workspace / kind / name, own.workspace / kind / name)
    return own


def _tree(workspace):
    return {str(p.relative_to(workspace)) for p in workspace.rglob("*") if p.name != ".lock"}


def test_a_full_disk_at_every_command(here, home, disk, tmp_path):
    here.here(*home.train("--set", "train.steps=0")).complaint()
    disk.fill()
    before = _tree(here.workspace)
    assert "full" in here.here("dataset", "new", "more", home.pictures).complaint(1, 2)
    assert "full" in here.here(*home.train()).complaint(1)
    assert "full" in here.here("sample", home.run, "--steps", 1, "--out", disk.folder / "o").complaint(1)
    assert "full" in here.here("export", home.run, "--out", disk.folder / "x.safetensors").complaint(1)
    assert "full" in here.here("dataset", "export", "shapes", "--out", disk.folder / "d").complaint(1)
    made = {p for p in _tree(here.workspace) - before if (here.workspace / p).is_file()}
    assert not made and not (disk.folder / "x.safetensors").exists()
    assert here.here("runs", "--json").well().json[0]["state"] == "finished"
    here.here("sample", home.run, "--steps", 1, "--seed", 9, "--out", tmp_path / "elsewhere").well()
    disk.free()
    here.here("dataset", "new", "more", home.pictures).well()
    here.here("export", home.run, "--out", disk.folder / "x.safetensors").well()


def test_pictures_asked_for_as_the_disk_fills_are_told_as_failed(here, home, disk):
    """Whoever waits for them is told so, though neither a status nor a log has room; after making room, the same process draws."""
    workspace, wanted = Workspace.at(here.workspace), {"prompt": "x", "steps": 1, "adapters": [{"run": home.run}]}
    client = Resident(workspace)
    try:
        drawing = create_drawing(workspace, wanted)
        disk.fill()
        with pytest.raises(OSError) as refused:
            create_drawing(workspace, wanted)
        assert one_line(refused.value).startswith(f"{workspace.root / 'drawings'}: the disk is full")
        client.draw(drawing.id)
        wait_until(lambda: drawing.status()["state"] in OVER, "an end")
        assert (drawing.status()["state"], "the disk is full" in drawing.status()["error"]) == ("failed", True)
        process = client._process.pid
        disk.free()
        again = create_drawing(workspace, wanted)
        client.draw(again.id)
        wait_until(lambda: again.status()["state"] in OVER, "the pictures")
        assert again.status()["state"] == "finished" and client._process.pid == process
    finally:
        client.close()


def test_a_read_only_workspace(here, home, disk, tmp_path):
    disk.lock()
    for words in (["dataset", "new", "more", home.pictures], home.train(), ["export", home.run, "--out", disk.folder / "x.safetensors"]):
        assert "read-only" in here.here(*words).complaint()
    assert "read-only" in here.here("sample", home.run, "--steps", 1, "--out", disk.folder / "o").complaint()
    assert here.here("resume", home.run, "--json").well().json["state"] == "finished"
    assert here.here("runs", "--json").well().json[0]["step"] == 30
    for words in (["dataset", "list"], ["dataset", "report", "shapes"], ["models"]):
        here.here(*words).well()
    here.here("sample", home.run, "--steps", 1, "--out", tmp_path / "elsewhere").well()
    here.here("export", home.run, "--out", tmp_path / "elsewhere.safetensors").well()
    here.workspace = disk.folder / "another"
    assert "read-only" in here.here("runs").complaint()


def _at_step(cli, run, step, act):
    """Do `act` once this run has made `step` steps, from another thread."""

    def wait():
        while not cli.folder(run).is_dir() or max(cli.steps(run), default=0) < step:
            time.sleep(0.002)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_disk_that_fills_while_training(here, home, disk, inline):
    """The run ends with the reason, what it had saved is whole, and after making room it ends as if nothing had happened."""
    run = "0002-shapes-lora"
    thread = _at_step(here, run, 6, disk.fill)
    answer = here(*home.train())
    thread.join()
    assert "full" in answer.complaint(1) and answer.json["state"] == "failed" and answer.json["run"] == run
    assert "full" in here.status(run)["error"]
    whole = [p for p in (here.folder(run) / "resume").iterdir() if (p / "done").is_file()]
    assert whole and not [p for p in here.folder(run).rglob(".tmp-*") if p.is_dir()]
    assert "full" in here.here("resume", run).complaint(1)
    disk.free()
    assert here.here("resume", run, "--json").well().json["state"] == "finished"
    _equal(here, run, home)


def _equal(cli, run, home):
    for name in ("adapter.safetensors", "scores.json"):
        assert (cli.folder(run) / name).read_bytes() == (home.cli.folder(home.run) / name).read_bytes(), name


def test_a_dataset_removed_while_training_and_before_resuming(own, home, inline):
    """What is encoded is no longer needed; a resumed run asks for its dataset by name, and goes on once it is back."""
    shutil.copytree(home.cli.workspace / "datasets", own.workspace / "datasets")
    data, away, run = own.workspace / "datasets/shapes", own.workspace / "away", "0001-shapes-lora"
    thread = _at_step(own, run, 3, lambda: data.rename(away))
    assert own.here(*home.train()).well().json["state"] == "finished"
    thread.join()
    _equal(own, run, home)
    shutil.rmtree(own.folder(run) / "resume" / "000030")
    (own.folder(run) / "adapter.safetensors").unlink()
    status = json.loads((own.folder(run) / "status.json").read_text())
    (own.folder(run) / "status.json").write_text(json.dumps(status | {"state": "running", "pid": 2**22 - 1}))
    assert own.status(run)["state"] == "interrupted"
    assert "shapes" in own.here("resume", run).complaint(1)
    assert own.here("runs", run, "--json").well().json["state"] == "failed"
    away.rename(data)
    assert own.here("resume", run, "--json").well().json["state"] == "finished"
    _equal(own, run, home)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_where_the_workspace_should_be(own, home, tmp_path, below):
    file = tmp_path / "file"
    file.write_text("precious")
    for words in (["runs"], ["dataset", "list"], ["dataset", "new", "x", home.pictures], home.train(), ["models"], ["stop", "1"]):
        assert str(file) in own.here(*words, "--workspace", file / below).complaint()
    report = own.here("doctor", "--workspace", file / below, "--json")
    assert report.code == 1 and not next(c for c in report.json["checks"] if c["what"] == "workspace")["ok"]
    assert file.read_text() == "precious"


@pytest.mark.parametrize("folder", ["datasets", "runs", "cache", "runs/.lock"])
def test_a_file_where_a_folder_of_the_workspace_should_be(own, home, inline, folder):
    own.here("dataset", "new", "shapes", home.pictures).well()
    path = own.workspace / folder
    if path.is_dir():
        path.rename(path.with_name("kept"))
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if folder.endswith(".lock") else path.write_text("precious")
    made = own.here("dataset", "new", "more", home.pictures)
    assert made.code == 0 or made.complaint()
    answer = own.here(*home.train("--set", "train.steps=1"))
    assert answer.code == 0 or answer.complaint(1, 2)
    assert path.is_dir() or path.read_text() == "precious"


def test_the_cache_may_vanish_or_rot(own, home, inline):
    shutil.copytree(home.cli.workspace / "datasets", own.workspace / "datasets")
    own.here(*home.train("--set", "train.steps=1")).well()
    for damage in (b"", b"\0" * 60, b"[]"):
        for file in (own.workspace / "cache").rglob("*"):
            if file.is_file():
                file.write_bytes(damage)
        run = own.here(*home.train("--set", "train.steps=1")).well().json["run"]
        own.here("sample", run, "--steps", 1, "--out", own.workspace / "out").well()
    shutil.rmtree(own.workspace / "cache")
    own.here("sample", run, "--steps", 1, "--out", own.workspace / "out").well()
