"""A run struck at any of its storage operations, by a kill or by a full disk, ends with the same bytes once it is resumed."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studio.jobs.runs.folders import Run
from studio.train.checkpoint import whole_steps

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="forks a process, as on Linux")]
ROOT = Path(__file__).resolve().parents[2]
SHORT = ("train.steps=6", "train.resume_every=2", "train.snapshot_every=3", "preview.every=6", 'preview.prompts=["a disc"]')
EVERY = 5  # of the operations, from a random one on


class Nursery:
    """Works on runs with faults; see nursery.py."""

    def __init__(self):
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def work(self, folder, fault="", at=-1):
        """(exit code, number of operations) of working on the run in `folder`."""
        self._process.stdin.write(json.dumps({"run": str(folder), "fault": fault, "at": at}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["operations"]

    def end(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.end()


@pytest.fixture(scope="module")
def reference(home, nursery, tmp_path_factory):
    """(a workspace with a run that has not begun, its adapter's bytes in the end, how many operations that took)."""
    from studio.jobs.runs.create import Request, create_run
    from studio.store import Workspace

    root = tmp_path_factory.mktemp("faults") / "workspace"
    shutil.copytree(home.cli.workspace / "datasets", root / "datasets")
    wanted = [word for word in home.train()[6::2] if "=" in word]
    run = create_run(Workspace.at(root), Request("shapes", str(home.base), settings=[*wanted, *SHORT]))
    begun = root.with_name("begun")
    shutil.copytree(root, begun)
    code, operations = nursery.work(run.folder)
    assert code == 0 and operations > 50
    return begun, run.id, run.adapter.read_bytes(), operations


@pytest.mark.parametrize("fault", ["kill", "full"])
def test_struck_at_every_operation(nursery, reference, tmp_path, fault):
    begun, name, adapter, operations = reference
    start = random.randrange(EVERY)
    print(f"{operations} operations, every {EVERY}th from {start}")
    for at in range(start, operations, EVERY):
        root = tmp_path / f"at {at}"
        shutil.copytree(begun, root)
        run = Run(root / "runs" / name)
        code, _ = nursery.work(run.folder, fault, at)
        assert code in ((-9,) if fault == "kill" else (0, 1)), (at, code)
        state = run.status()["state"]
        if state == "failed":
            assert "full" in run.status()["error"], at
        assert (
            state == "interrupted" or state == "finished" and run.adapter.read_bytes() == adapter or (fault, state) == ("full", "failed")
        ), at
        before = whole_steps(run.folder / "resume")
        code, _ = nursery.work(run.folder)
        assert code == 0 and run.adapter.read_bytes() == adapter, f"struck at operation {at}, whole then: {before}"
        assert run.summary() == {"run": name, "state": "finished", "pid": None, "step": 6, "steps": 6}, at
        assert not [p for p in run.folder.rglob(".tmp-*") if p.is_dir()], at
        shutil.rmtree(root)
