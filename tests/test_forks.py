"""What forked processes of the studio are to those who start them: the same as any other process."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from studio.dataset.worker import _ENVIRONMENT
from studio.jobs.processes.supervisor import spawn
from tests.fixtures import forks

pytestmark = pytest.mark.skipif(subprocess.Popen is not forks.Popen, reason="forks on Linux alone, and where they are wanted")
CLI = [sys.executable, "-m", "studio.cli"]


@pytest.fixture()
def decoder():
    """A forked decoding process that waits for its input."""
    command, env = [sys.executable, "-m", "studio.dataset.decode"], os.environ | forks.ONE_THREAD
    with subprocess.Popen(command, cwd=forks.ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_words_streams_and_exit_code_are_its_own():
    done = subprocess.run([*CLI, "nonsense"], cwd=forks.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: No such command 'nonsense'")


@pytest.mark.parametrize("words", [["studio.cli"], ["-P", "studio.dataset.decode"], ["studio.jobs.worker"]])
def test_processes_are_forked_whatever_else_was_imported(words):
    """A start that is not costs the imports, five seconds of a processor each: the whole suite may be told by its time alone."""
    for name in ("rasterio", "gradio", "diffusers", "pydicom", "nibabel", "pyarrow"):
        pytest.importorskip(name)
    *options, module = words
    env = {**os.environ, "PYTHONPATH": str(forks.ROOT), "LINES": "24"} | (_ENVIRONMENT if module.endswith("decode") else {})
    command = [sys.executable, *options, "-m", module, "x"]
    assert forks._order(command, forks.ROOT, env, True, False), forks.settings(env).items() ^ forks.settings(forks.helpers.env).items()


def test_the_environment_is_its_own(tmp_path):
    env = os.environ | {"DOMAIN_STUDIO_WORKSPACE": str(tmp_path / "here")}
    with subprocess.Popen([*CLI, "dataset", "list", "--json"], cwd=forks.ROOT, env=env, stdout=subprocess.PIPE) as process:
        assert process._line, "it was forked"
        assert process.stdout.read().endswith(b"\n[]\n") and process.wait() == 0
    assert (tmp_path / "here").is_dir()
    assert "DOMAIN_STUDIO_WORKSPACE" not in os.environ


def test_it_is_a_process_that_can_be_waited_for_and_killed(decoder):
    assert decoder._line and decoder.stdout.readline() == b'{"ready": true}\n'
    assert decoder.poll() is None and psutil.Process(decoder.pid).is_running() and decoder.pid != os.getpid()
    with pytest.raises(subprocess.TimeoutExpired):
        decoder.wait(0.05)
    waiters = [threading.Thread(target=decoder.wait) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    decoder.kill()
    for waiter in waiters:
        waiter.join(20)
    assert decoder.poll() == decoder.wait() == decoder.returncode == -signal.SIGKILL


def test_one_that_was_forgotten_while_it_ran_does_no_harm_to_others(decoder):
    decoder._line.close()  # as the collector may do before it
    assert decoder.poll() == -signal.SIGKILL


def test_it_ends_with_its_input(decoder):
    decoder.stdin.close()
    assert decoder.wait(20) == 0


def test_a_detached_one_is_in_a_session_of_its_own(tmp_path):
    process = spawn("studio.jobs.models.scan", str(tmp_path), log=tmp_path / "log.txt", talking=True)
    assert process._line and os.getsid(process.pid) == process.pid
    process.communicate(b"{}\n", timeout=60)
    assert process.returncode == 0 and (tmp_path / "log.txt").read_text() == ""


@pytest.mark.parametrize("env", [{"HF_HOME": "elsewhere"}, {"OMP_NUM_THREADS": "7"}])
def test_another_environment_is_another_start(env):
    with subprocess.Popen([*CLI, "nonsense"], cwd=forks.ROOT, env=os.environ | env, stderr=subprocess.PIPE) as process:
        assert process._line is None and b"No such command" in process.stderr.read()


def test_plain_starts_are_plain(plain_starts):
    assert subprocess.Popen is forks.Plain
