"""The command line as a person meets it: in processes of its own, or quickly in this one."""

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.tiny import images, tiny_sd

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
QUICK = (
    "train.steps=30", "train.resume_every=4", "train.snapshot_every=10", "train.batch_size=4", "method.rank=4", "method.lr=0.02",
    "method.targets=attention+feed_forward+conv", "preview.every=15", "preview.steps=2", "evaluate.num_timesteps=4",
)  # fmt: skip
NOT_IN_A_LINE = re.compile(r"Traceback|\b(Key|Type|Value|Attribute|Index|Assertion|Recursion|Runtime|FileExists|FileNotFound)Error\b|Errno")


@dataclass(frozen=True)
class Answer:
    """What a command left behind: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The last line of stdout as JSON."""
        return json.loads(self.out.splitlines()[-1])

    def well(self):
        """Itself, when all went well and stderr is silent."""
        assert (self.code, self.err) == (0, ""), (self.code, self.out[-500:], self.err[-2000:])
        return self

    def complaint(self, *codes):
        """The one clear line of an error, when it ended with one of `codes`: 2, asked wrongly, unless given; 1 = went wrong."""
        assert self.code in (codes or (2,)), (self.code, self.out[-500:], self.err[-2000:])
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable(), self.err[-2000:]
        assert not NOT_IN_A_LINE.search(lines[0]), lines[0]
        assert len(lines[0]) > 20, lines[0]
        return lines[0]


class Follower:
    """A command at work, and the run it told of on its first line."""

    def __init__(self, process):
        self.process = process
        self._first = process.stdout.readline()
        self.run = self._first.split()[-1] if self._first.startswith("run ") else ""

    def kill(self, number):
        os.kill(self.process.pid, number)

    def end(self, timeout=PATIENCE_S):
        """The Answer once the command has ended."""
        out, err = self.process.communicate(timeout=timeout)
        return Answer(self.process.returncode, self._first + out, err)


class Cli:
    """The commands on one workspace."""

    def __init__(self, workspace):
        self.workspace = Path(workspace)

    def _popen(self, words, env):
        return subprocess.Popen(
            [sys.executable, "-m", "studio.cli", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "DOMAIN_STUDIO_WORKSPACE": str(self.workspace), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *words, timeout=PATIENCE_S, **env):
        """Run a command in a process of its own."""
        process = self._popen(words, env)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Answer(process.returncode, out, err)

    def start(self, *words):
        """Start a command that follows a run."""
        return Follower(self._popen(words, {}))

    def here(self, *words):
        """Run a command in this process: quick, for those that need no process of their own."""
        from typer.testing import CliRunner

        from studio.cli import app

        result = CliRunner().invoke(app, [str(w) for w in words], env={"DOMAIN_STUDIO_WORKSPACE": str(self.workspace)})
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return Answer(result.exit_code, result.stdout, result.stderr)

    def folder(self, run):
        return self.workspace / "runs" / run

    def status(self, run):
        return self.here("runs", run, "--json").well().json

    def steps(self, run):
        """The steps in the run's events, in the order they were made."""
        path = self.folder(run) / "events.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event["kind"] == "step":
                    found.append(event["step"])
        return found

    def wait_until(self, run, true_of):
        """Wait until `true_of(status)`; the status then."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status = self.status(run)
            if true_of(status):
                return status
            assert status["state"] not in {"failed", "interrupted"}, status
            time.sleep(0.05)
        raise AssertionError(f"waited in vain: {status}")


def settings(*more):
    """The words of a quick training, with further settings."""
    return [word for s in (*QUICK, *more) for word in ("--set", s)]


def hashes(folder):
    """{path: SHA-256} of every file below `folder`."""
    files = [p for p in Path(folder).rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@dataclass(frozen=True)
class Home:
    """A workspace with a dataset `shapes` and one finished run on a tiny base; shared, so leave its files as they are."""

    cli: Cli
    base: Path
    pictures: Path
    run: str
    answer: Answer

    def train(self, *more, dataset="shapes"):
        """The words of a training like the finished one."""
        return ["train", "--dataset", dataset, "--base", self.base, "--json", *settings(), *more]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    base, pictures, cli = tiny_sd(root / "tiny base"), images(root / "pictures ✓", 8), Cli(root / "workspace")
    cli("dataset", "new", "shapes", pictures).well()
    answer = cli("train", "--dataset", "shapes", "--base", base, "--json", *settings()).well()
    return Home(cli, base, pictures, answer.json["run"], answer)


@pytest.fixture()
def cli(home):
    """The commands on the shared workspace; its dataset and its finished run are as before afterwards."""
    kept = [home.cli.workspace / "datasets" / "shapes", home.cli.folder(home.run)]
    before = [hashes(folder) for folder in kept]
    yield home.cli
    assert [hashes(folder) for folder in kept] == before, "something saved before was changed"


@pytest.fixture()
def own(tmp_path):
    """The commands on an empty workspace of this test alone."""
    return Cli(tmp_path / "workspace")


@pytest.fixture()
def inline(monkeypatch):
    """Work on runs in this process: for tests of what a run says, where its process does not matter."""
    from studio.jobs import worker
    from studio.jobs.processes import supervisor

    class Ended:
        def __init__(self, code):
            self.returncode = code

        def poll(self):
            return self.returncode

    def start(run):
        run.stop_file.unlink(missing_ok=True)
        with contextlib.redirect_stderr(io.StringIO()):
            return Ended(worker.main(run.folder))

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    monkeypatch.setattr(supervisor, "start", start)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
