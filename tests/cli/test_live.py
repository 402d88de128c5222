"""Runs and those who follow them: attach, stop, leave, die; and a run killed at any moment ends with the same bytes."""

import os
import random
import signal
import time

import psutil
import pytest

STEPS = 100_000  # more than any test waits for: these runs end because they are told to
LONG = ("--set", f"train.steps={STEPS}", "--set", "train.snapshot_every=null", "--set", "preview.every=0")
SPAN_S = 6  # about as long as the quick run of these tests takes from its start to its end


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


def test_followers_come_and_go_the_run_goes_on(cli, long_run, tmp_path):
    """Three watch, one is killed, one loses its terminal, one sees it stopped; two resume it at once, a Ctrl-C of one ends it."""
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

    both = [cli.start("resume", run, "--json") for _ in range(2)]
    pid = cli.wait_until(run, lambda s: _running(s) and s["step"] > stopped["step"])["pid"]
    cli.here("sample", run, "--steps", 1, "--out", tmp_path).well()
    both[1].kill(signal.SIGINT)
    ended = [follower.end() for follower in both]
    assert ended[0].well().json == ended[1].json and ended[1].code == 0 and "stopping" in ended[1].err
    assert ended[0].json["state"] == "stopped" and ended[0].json["steps"] > stopped["step"] and _gone(pid)
    assert run in cli.here("stop", run).complaint()
    assert (cli.folder(run) / "snapshots" / f"{ended[0].json['steps']:06d}" / "done").is_file()
    assert not (cli.folder(run) / "log.txt").read_text(), "one process worked on it, though two asked for it"


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
    for low, high, way in ((1, 5, "stop"), (8, 14, "kill"), (18, 22, "kill")):
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
        follower = cli.start(*home.train())
        run = follower.run
        while _kill_once(cli, follower, chance.uniform(0, SPAN_S)):
            kills += 1
            follower = cli.start("resume", run, "--json")
        assert cli.status(run)["state"] == "finished"
        _same_bytes(cli, run, home)


@pytest.mark.slow
def test_signals_at_random_moments_end_a_run_cleanly(cli, home):
    """SIGTERM, SIGINT to the follower, sleep and wake: always a resumable state, and the same bytes in the end."""
    chance = random.Random(random.randrange(10**6))
    follower = cli.start(*home.train())
    run = follower.run
    for _ in range(12):
        time.sleep(chance.uniform(0, SPAN_S))
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
