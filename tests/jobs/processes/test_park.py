"""A parked run holds, gives nothing up, and ends with the same bytes as an undisturbed one."""

import json
import subprocess
import sys
import threading
import time

import psutil
import pytest

from studio.jobs.processes import park, room, supervisor
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import identify
from studio.jobs.training.hooks import RunHooks
from studio.store import write_json
from studio.train.loop import train
from tests.fixtures.runs import NoHooks, dataset, spec_for, training
from tests.fixtures.waiting import PATIENCE_S, wait_until
from tests.jobs.conftest import make_run_of

SETTINGS = ("train.steps=120", "train.snapshot_every=60", "train.early_stop=false")


def _kinds(run):
    return [e["kind"] for e in read_events(run.events)[0]]


@pytest.fixture(scope="module")
def undisturbed(shop, tiny_folder):
    run = make_run_of(shop, tiny_folder, *SETTINGS)
    assert supervisor.start(run).wait(PATIENCE_S) == 0
    return run.adapter.read_bytes()


def test_parked_and_let_go_equals_undisturbed(shop, tiny_folder, undisturbed):
    run = make_run_of(shop, tiny_folder, *SETTINGS)
    process = supervisor.start(run)
    wait_until(lambda: run.last_step() > 3)
    for _ in range(2):
        assert park.ask(run) and park.ask(run)
        wait_until(lambda: run.status()["state"] == "parked")
        step = run.last_step()
        assert run.lives()
        time.sleep(0.3)
        assert run.last_step() == step
        park.release(run)
        wait_until(lambda step=step: run.last_step() > step)
    assert process.wait(PATIENCE_S) == 0 and run.status()["state"] == "finished"
    assert run.adapter.read_bytes() == undisturbed
    assert _kinds(run).count("parked") == _kinds(run).count("unparked") == 2
    steps = [e["step"] for e in read_events(run.events)[0] if e["kind"] == "step"]
    assert steps == list(range(1, 121))


def test_a_dead_owner_lets_go_and_a_stop_ends_the_wait(shop, tiny_folder, undisturbed):
    run = make_run_of(shop, tiny_folder, *SETTINGS)
    process = supervisor.start(run)
    wait_until(lambda: run.last_step() > 3)
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.park_file, identify(psutil.Process(owner.pid)))
    wait_until(lambda: run.status()["state"] == "parked")
    assert not park.ask(run), "somebody else has it"
    owner.kill()
    owner.wait()
    wait_until(lambda: run.status()["state"] == "running")
    assert not run.park_file.exists()
    assert park.ask(run)
    wait_until(lambda: run.status()["state"] == "parked")
    assert supervisor.stop(run)["state"] == "stopped" and process.wait(PATIENCE_S) == 0
    park.release(run)
    assert supervisor.start(run).wait(PATIENCE_S) == 0
    assert run.adapter.read_bytes() == undisturbed


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "started": 1.0, "boot": "another"}'])
def test_a_damaged_or_stale_file_holds_nobody(shop, tiny_folder, content):
    run = make_run_of(shop, tiny_folder)
    run.park_file.write_text(content)
    assert not park.is_asked(run)
    assert park.ask(run) and json.loads(run.park_file.read_text())["pid"] == psutil.Process().pid


def test_all_tensors_come_back_where_they_were(shop, tmp_path, tiny_parts, monkeypatch):
    """On a GPU everything moves; here a stand-in for the device shows that what moves is used again."""
    data = dataset(shop, tmp_path / "pictures", name="parked")
    spec = spec_for(data, tiny_parts.source)
    run = make_run_of(shop, tiny_parts.source)
    state = training(shop, data, tiny_parts, spec, run.folder)
    assert train(state, NoHooks(stop_at=3), lambda *a, **k: None) == "stopped"
    before = {n: t.detach().clone() for n, t in state.adapter.state().items()}
    monkeypatch.setattr(park, "empty_cache", lambda device: None)
    moments = [v["exp_avg"] for v in state.optimizer.state.values()]
    state.parts.device = type("Device", (), {"type": "pretended"})()
    back = park.put_aside(state)
    back()
    import torch

    state.parts.device = torch.device("cpu")
    assert all(torch.equal(t, before[n]) for n, t in state.adapter.state().items())
    assert all(torch.equal(a, v["exp_avg"]) for a, v in zip(moments, state.optimizer.state.values(), strict=True))
    assert train(state, NoHooks(), lambda *a, **k: None) == "finished"


def test_hooks_hold_between_steps(shop, tiny_folder, tmp_path, tiny_parts):
    data = dataset(shop, tmp_path / "pictures", name="hooked")
    run = make_run_of(shop, tiny_folder)
    state = training(shop, data, tiny_parts, spec_for(data, tiny_folder), run.folder)
    said = []
    hooks = RunHooks(run, state, lambda kind, **v: said.append(kind), lambda: False, said.append)
    assert not hooks.stop_requested() and not said
    park.ask(run)
    threading.Timer(0.2, park.release, [run]).start()
    assert not hooks.stop_requested()
    assert said == ["parked", "parked", "running", "unparked"]


def test_pictures_while_a_run_trains(shop, tiny_folder, undisturbed, monkeypatch):
    """Beside it; with it parked; cancelled while it waits: each is said, and the run ends with the same bytes."""
    from studio.jobs import resident
    from studio.jobs.draw.drawings import create_drawing

    answers, told = ["beside"], []
    monkeypatch.setattr(room, "decide", lambda *_: answers[-1])
    out = type("Out", (), {"write": lambda s, text: told.append(json.loads(text)), "flush": lambda s: None})()
    server = resident.Server(shop, out)
    run = make_run_of(shop, tiny_folder, *SETTINGS)
    process = supervisor.start(run)
    wait_until(lambda: run.last_step() > 3)

    def ask():
        wanted = {"base": str(tiny_folder), "prompt": "a disc", "steps": 1, "sampler": "ddim", "seed": len(told)}
        return create_drawing(shop, wanted)

    def cancel_once_it_waits(drawing):
        wait_until(lambda: told[-1].get("note") == "waiting for the run")
        drawing.cancel_file.touch()

    beside = ask()
    server._work("draw", beside.id)
    assert (beside.status()["state"], beside.status()["note"]) == ("finished", "beside the run")
    answers.append("wait")
    waiting = ask()
    threading.Thread(target=cancel_once_it_waits, args=[waiting], daemon=True).start()
    server._work("draw", waiting.id)
    assert waiting.status()["state"] == "cancelled" and told[-1]["note"] == "waiting for the run"
    answers.append("park")
    parked = ask()
    server._work("draw", parked.id)
    assert (parked.status()["state"], parked.status()["note"]) == ("finished", "run parked")
    assert run.status()["state"] == "parked"
    server._release()
    assert process.wait(PATIENCE_S) == 0
    assert _kinds(run).count("parked") == 1 and run.adapter.read_bytes() == undisturbed


GIB = 2**30


@pytest.mark.parametrize(
    ("needed", "device", "state", "answer"),
    [
        (4 * GIB, ("cuda", 6, 24), "running", "beside"),
        (8 * GIB, ("cuda", 6, 24), "running", "park"),
        (8 * GIB, ("cuda", 6, 24), "parked", "park"),
        (8 * GIB, ("cuda", 6, 24), "preparing", "wait"),
        (8 * GIB, ("cuda", 6, 24), "finishing", "wait"),
        (23 * GIB, ("cuda", 6, 24), "running", "wait"),
        (8 * GIB, ("cpu", 6, 24), "running", "wait"),
        (4 * GIB, ("cpu", 6, 24), "preparing", "beside"),
    ],
)
def test_beside_parked_or_after(needed, device, state, answer):
    kind, free, total = device
    assert room.decide(needed, room.Device(kind, free * GIB, total * GIB, 2), state) == answer


def test_what_drawing_needs():
    weights = 1_066_000_000  # Stable Diffusion 1.5
    needed = room.drawing(weights, 512, 512, 1, 2)
    assert 2.5 * GIB < needed < 4 * GIB
    assert room.drawing(0, 512, 512, 1, 2) < needed < room.drawing(weights, 512, 512, 8, 2)
    assert room.drawing(0, 512, 512, 16, 2) == room.drawing(0, 512, 512, 64, 2), "drawn sixteen at a time"
