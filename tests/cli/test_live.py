"""Runs and those who follow them: attach, stop, leave, die; and a run killed at any moment ends with the same bytes."""

import os
import random
import signal
import time

import psutil
import pytest

STEPS = 100_000  # more than any test waits for: these runs end because they are told to
LONG = ("--set", f"train.steps={STEPS}", "--set", "train.snapshot_every=null", "--set", "preview.every=0")


def _gone(pid):
    """Whether this process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _running(status):
    return status["state"] == "running" and status["step"] >= 1


@pytest.fixture(scope="module")
def long_run(home):
    """A long run on the shared workspace that is stopped in the end."""
    follower = home.cli.start(*home.train(*LONG))
    yield follower
    if home.cli.status(follower.run)["pid"]:
        home.cli.here("stop", follower.run)
    assert home.cli.status(follower.run)["pid"] is None


def test_followers_come_and_go_the_run_goes_on(cli, long_run):
    """Two watch, one is killed, one loses its terminal, one asks to stop; a Ctrl-C stops what was resumed."""
    run = long_run.run
    pid = cli.wait_until(run, _running)["pid"]
    second, third = cli.start("resume", run, "--json"), cli.start("resume", run, "--json")
    assert second.run == third.run == run
    long_run.kill(signal.SIGKILL)
    third.kill(signal.SIGHUP)
    assert long_run.end().code == -signal.SIGKILL and third.end().code == -signal.SIGHUP
    before = cli.status(run)
    assert cli.wait_until(run, lambda s: s["step"] > before["step"])["pid"] == pid
    stopped = cli("stop", run, "--json").well().json
    assert stopped == {"run": run, "state": "stopped", "pid": None, "step": stopped["step"], "steps": STEPS} and _gone(pid)
    watched = second.end().well().json
    assert watched == {"run": run, "state": "stopped", "steps": stopped["step"], "adapter": str(cli.folder(run) / "adapter.safetensors")}

    resumed = cli.start("resume", run, "--json")
    pid = cli.wait_until(run, lambda s: _running(s) and s["step"] > stopped["step"])["pid"]
    resumed.kill(signal.SIGINT)
    ended = resumed.end()
    assert ended.code == 0 and ended.json["state"] == "stopped" and ended.json["steps"] > stopped["step"] and _gone(pid)
    assert "stopping" in ended.err and len(ended.err.split()) < 20
    assert cli.here("stop", run).complaint().count(run) == 1
    whole = [p for p in (cli.folder(run) / "snapshots").iterdir() if (p / "done").is_file()]
    assert f"{ended.json['steps']:06d}" in {p.name for p in whole}


def test_two_who_resume_at_once_share_one_process(cli, long_run):
    """The last test left the run stopped; both followers see the same run to its end, a killed process is told to both."""
    run = long_run.run
    both = [cli.start("resume", run, "--json") for _ in range(2)]
    pid = cli.wait_until(run, _running)["pid"]
    os.kill(pid, signal.SIGKILL)
    for follower in both:
        answer = follower.end()
        assert run in answer.complaint(1) and "resume" in answer.err
        assert answer.json["state"] == "interrupted" and answer.json["run"] == run
    log = (cli.folder(run) / "log.txt").read_text()
    assert "already" not in log and "Traceback" not in log
    assert cli.status(run)["state"] == "interrupted"


def _kill_once(cli, follower, pause_s):
    """Kill the run's process `pause_s` from now; whether it was still at work."""
    time.sleep(pause_s)
    pid = cli.status(follower.run)["pid"]
    if pid:
        os.kill(pid, signal.SIGKILL)
    answer = follower.end()
    if answer.code:
        assert answer.json["state"] == "interrupted" and "broke off" in answer.complaint(1)
    return bool(answer.code)


def _leftovers(folder):
    return [p for p in folder.rglob("*") if p.name.startswith(".tmp-") and p.is_dir()]


def _same_bytes(cli, run, home):
    for name in ("adapter.safetensors", "scores.json", "snapshots/000020/ema.safetensors", "snapshots/000030/raw.safetensors"):
        theirs, ours = cli.folder(home.run) / name, cli.folder(run) / name
        assert ours.read_bytes() == theirs.read_bytes(), f"{name} differs from that of the undisturbed run"
    assert not _leftovers(cli.folder(run))


def _wait_for_step(cli, follower, step):
    while max(cli.steps(follower.run), default=0) < step and follower.process.poll() is None:
        time.sleep(0.005)


def test_killed_stopped_and_resumed_equals_undisturbed(cli, home):
    """Killed while it starts, stopped at a random step, killed twice more: the same bytes in the end."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    follower = cli.start(*home.train())
    run = follower.run
    assert _kill_once(cli, follower, chance.uniform(0, 1))
    for low, high, way in ((1, 5, "stop"), (8, 14, "kill"), (18, 26, "kill")):
        follower = cli.start("resume", run, "--json")
        _wait_for_step(cli, follower, chance.randint(low, high))
        if way == "kill":
            assert _kill_once(cli, follower, chance.uniform(0, 0.05)), "it ended before it could be killed"
        else:
            assert cli.here("stop", run, "--json").well().json["state"] == follower.end().well().json["state"] == "stopped"
    answer = cli("resume", run, "--json").well()
    assert answer.json["state"] == "finished" and answer.json["steps"] == 30
    _same_bytes(cli, run, home)


@pytest.mark.slow
def test_thirty_random_kills(cli, home):
    seed = random.randrange(10**6)
    chance, kills = random.Random(seed), 0
    print(f"seed {seed}")
    while kills < 30:
        begun = time.monotonic()
        follower, span = cli.start(*home.train()), 12.0
        run = follower.run
        while True:
            if not _kill_once(cli, follower, chance.uniform(0, span)):
                break
            kills += 1
            follower = cli.start("resume", run, "--json")
            span = min(span, time.monotonic() - begun)
        assert cli.status(run)["state"] == "finished"
        _same_bytes(cli, run, home)


@pytest.mark.slow
def test_signals_at_random_moments_end_a_run_cleanly(cli, home):
    """SIGTERM, SIGINT to the follower, sleep and wake: always a resumable state, and the same bytes in the end."""
    chance = random.Random(random.randrange(10**6))
    follower = cli.start(*home.train())
    run = follower.run
    for _ in range(12):
        time.sleep(chance.uniform(0, 8))
        pid = cli.status(run)["pid"]
        if not pid:
            break
        what = chance.choice(("term", "interrupt", "sleep"))
        if what == "sleep":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(pid, signal.SIGCONT)
            continue
        os.kill(pid, signal.SIGTERM) if what == "term" else follower.kill(signal.SIGINT)
        state = follower.end().json["state"]
        assert state in {"stopped", "finished", "interrupted"}
        follower = cli.start("resume", run, "--json")
    assert follower.end().json["state"] == "finished"
    _same_bytes(cli, run, home)
