"""Runs as shown: curves, what a resumed run replaces, torn lines, increments, honest sentences."""

import json
import math
import threading

import pytest

from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import Run, make_run
from studio.jobs.runs.metrics import MAX_POINTS, LiveRuns, _read_cursor
from studio.store import Workspace
from tests.fixtures.runs import spec_for

SCORE = {"loss": 0.3, "base": 0.6, "log_ratio": math.log(0.5), "standard_error": 0.1, "num_better": 8, "num_images": 8, "ratios": []}


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture(scope="module")
def spec(shop, tiny_folder):
    return spec_for(open_dataset(shop, "shapes"), tiny_folder, "train.steps=100", "preview.every=50")


@pytest.fixture()
def run(workspace, spec):
    return make_run(workspace, spec)


def log_steps(log, first, last, loss=lambda step: 1 / step):
    for step in range(first, last + 1):
        log.emit("step", step=step, loss=loss(step), grad_norm=1.0, lr=1e-3, seconds=0.25)
    log.flush()


def told(answer):
    return [e["text"] for e in answer["events"]]


def fresh(workspace):
    """A reader that has kept nothing."""
    return LiveRuns(workspace)


@pytest.fixture()
def impatient(monkeypatch):
    monkeypatch.setattr("studio.jobs.runs.metrics.FRESH_S", -1)


def test_a_run_that_has_told_nothing_yet_is_whole_too(workspace, run):
    answer = fresh(workspace).live(run.id, "0")
    assert answer["full"] and answer["name"] == "shapes lora", "else a page goes on showing the run before under the state of this one"


def test_a_whole_answer_and_then_only_what_is_new(workspace, run, impatient):
    log, live = EventLog(run.events), fresh(workspace)
    log.emit("loaded", base="tiny", family="SD", device="cpu", precision="fp32")
    log_steps(log, 1, 10)
    first = live.live(run.id)
    assert first["full"] and first["steps"] == 100 and first["step"] == 10 and first["name"] == "shapes lora"
    assert first["points"]["raw"] == [[s, float(f"{1 / s:.5g}")] for s in range(1, 11)]
    assert first["speed"] == 4.0 and told(first) == ["Base tiny (SD) on cpu, fp32"]
    nothing = live.live(run.id, first["cursor"])
    assert not nothing["full"] and nothing["points"]["raw"] == [] and nothing["events"] == [] and "name" not in nothing
    log_steps(log, 11, 12)
    log.emit("score", step=12, held_out=SCORE, train=SCORE)
    log.emit("preview", step=12, base=False, files=["previews/000012/00.png"])
    new = live.live(run.id, first["cursor"])
    assert [x for x, _ in new["points"]["raw"]] == [11, 12] and len(new["points"]["smooth"]) == 2
    measured = {"loss": 0.3, "base": 0.6, "change_percent": -50.0, "num_better": 8, "num_images": 8}
    assert new["scores"] == [{"step": 12, **measured, "seen": 0.3, "seen_base": 0.6}]
    assert new["previews"][0]["files"][0].startswith(f"/studio/runs/{run.id}/pictures/previews/000012/00.png?v=")
    assert new["best"] == 12
    assert fresh(workspace).live(run.id, first["cursor"])["points"]["raw"] == new["points"]["raw"], "also after a restart of the studio"


def test_a_resumed_run_replaces_what_came_after_its_step(workspace, run, impatient):
    log, live = EventLog(run.events), fresh(workspace)
    log_steps(log, 1, 50, lambda s: 1.0)
    log.emit("score", step=40, held_out=SCORE)
    log.emit("preview", step=50, base=False, files=["previews/000050/00.png"])
    log.emit("preview", step=0, base=True, files=["previews/base/00.png"])
    before = live.live(run.id)
    log.emit("resumed", step=30, steps=100, layers=4)
    log_steps(log, 31, 35, lambda s: 2.0)
    after = live.live(run.id, before["cursor"])
    assert after["full"], "a page must not keep what was replaced"
    assert after["step"] == 35 and [x for x, _ in after["points"]["raw"]] == list(range(1, 36))
    assert [y for _, y in after["points"]["raw"]][-5:] == [2.0] * 5
    assert after["scores"] == [] and [p["step"] for p in after["previews"]] == [0]
    assert "Training goes on from step 30" in told(after)
    smooth = fresh(workspace).live(run.id)["points"]["smooth"]
    assert smooth == after["points"]["smooth"] and 1 < smooth[-1][1] < 2
    log_steps(log, 36, 36)
    assert not live.live(run.id, after["cursor"])["full"]


def test_steps_that_come_again_without_a_word_replace_too(workspace, run):
    log = EventLog(run.events)
    log_steps(log, 1, 10)
    log_steps(log, 6, 7, lambda s: 5.0)
    points = fresh(workspace).live(run.id)["points"]["raw"]
    assert [x for x, _ in points] == [1, 2, 3, 4, 5, 6, 7] and points[-1][1] == 5.0


def test_torn_damaged_and_strange_lines_do_no_harm(workspace, run, impatient):
    log, live = EventLog(run.events), fresh(workspace)
    log_steps(log, 1, 3)
    strange = [
        b"\xff\xfe", b"[1, 2]", b"null", b'{"kind": 3}', b'{"kind": "step"}', b'{"kind": "step", "step": "9"}', b"[" * 5000,
        b'{"kind": "score", "step": 2, "held_out": {"loss": 1}}', b'{"kind": "preview", "step": 2, "files": "x"}',
        b'{"kind": "finished", "chosen": {}}', b'{"kind": "loaded"}', b'{"kind": "resumed", "step": -4}', b'{"kind": "cached"}',
    ]  # fmt: skip
    with open(run.events, "ab") as file:
        file.write(b"\n".join(strange) + b'\n{"kind": "step", "time": 1.0, "step": 4, "lo')
    assert [x for x, _ in live.live(run.id)["points"]["raw"]] == [1, 2, 3]
    with open(run.events, "ab") as file:
        file.write(b'ss": 0.5, "grad_norm": 1.0, "lr": 0.1, "seconds": 1}\n')
    assert live.live(run.id)["points"]["raw"][-1] == [4, 0.5]


def test_a_loss_that_is_no_number_is_a_gap(workspace, run):
    log = EventLog(run.events)
    log_steps(log, 1, 4, lambda s: math.nan if s == 3 else 1.0)
    answer = fresh(workspace).live(run.id)
    assert [y for _, y in answer["points"]["raw"]] == [1.0, 1.0, None, 1.0]
    assert [y for _, y in answer["points"]["smooth"]] == [1.0] * 4
    json.dumps(answer, allow_nan=False)


def test_a_file_made_anew_or_cut_is_read_anew(workspace, run, impatient):
    log, live = EventLog(run.events), fresh(workspace)
    log_steps(log, 1, 20)
    before = live.live(run.id)
    run.events.unlink()
    log_steps(EventLog(run.events), 1, 60, lambda s: 9.0)
    again = live.live(run.id, before["cursor"])
    assert again["full"] and again["step"] == 60 and again["points"]["raw"][0][1] == 9.0
    run.events.write_bytes(run.events.read_bytes()[:500])
    cut = live.live(run.id, again["cursor"])
    assert cut["full"] and 0 < cut["step"] < 10
    run.events.unlink()
    assert live.live(run.id)["step"] == 0


def test_a_hundred_thousand_steps_make_a_small_answer_that_shows_every_spike(workspace, run, impatient):
    spike = {70_123: 50.0, 90_001: -3.0}
    lines = (
        f'{{"kind": "step", "time": {1e9 + s}, "step": {s}, "loss": {spike.get(s, 0.5 + 0.1 * math.sin(s))}, '
        f'"grad_norm": 1.0, "lr": 0.001, "seconds": 0.1}}\n'
        for s in range(1, 100_001)
    )
    run.events.write_text("".join(lines))
    live = fresh(workspace)
    answer = live.live(run.id)
    assert answer["step"] == 100_000 and answer["points"]["raw"][-1][0] == 100_000
    assert len(answer["points"]["raw"]) <= MAX_POINTS + 2
    assert {50.0, -3.0} <= {y for _, y in answer["points"]["raw"]}
    assert len(json.dumps(answer)) < 40_000
    log_steps(EventLog(run.events), 100_001, 100_003)
    assert len(json.dumps(live.live(run.id, answer["cursor"]))) < 2_500


def test_many_pages_share_one_reading(workspace, run, monkeypatch):
    log = EventLog(run.events)
    log_steps(log, 1, 5)
    live, read = fresh(workspace), []
    live.live(run.id)
    history = next(iter(live._kept.values())).history
    monkeypatch.setattr(history, "refresh", lambda: read.append(1))
    monkeypatch.setattr("studio.jobs.runs.metrics.FRESH_S", 60)
    pages = [threading.Thread(target=live.live, args=(run.id,)) for _ in range(20)]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    assert read == []


def test_only_so_many_runs_are_kept(workspace, run, monkeypatch):
    monkeypatch.setattr("studio.jobs.runs.metrics.MAX_KEPT", 2)
    live = fresh(workspace)
    for i in range(5):
        folder = workspace.runs / f"00{i + 10}-copy"
        folder.mkdir()
        (folder / "spec.json").write_bytes((run.folder / "spec.json").read_bytes())
        live.live(folder.name)
    assert list(live._kept) == ["0013-copy", "0014-copy"]


@pytest.mark.parametrize("name", ["0099-gone", "../etc", "", "a/b", "..", "x" * 300, "\0"])
def test_a_run_that_is_not_there_is_told_in_a_sentence(workspace, run, name):
    with pytest.raises(StudioError, match="gone|is not a name"):
        fresh(workspace).live(name)


def test_a_run_deleted_while_shown_is_told(workspace, run, impatient):
    live = fresh(workspace)
    live.live(run.id)
    (run.folder / "spec.json").unlink()
    with pytest.raises(StudioError, match=f"run {run.id} is gone"):
        live.live(run.id)


@pytest.mark.parametrize("cursor", ["", "x", "12", "-5", "abc-99999999999999999999", "abc-1e3", "💥-3", "a-b-c"])
def test_a_strange_cursor_gives_all(workspace, run, cursor):
    log_steps(EventLog(run.events), 1, 3)
    assert fresh(workspace).live(run.id, cursor)["full"] or _read_cursor(cursor)[1] == -1


def test_damaged_settings_are_told_and_the_curve_still_shown(workspace, run):
    log_steps(EventLog(run.events), 1, 3)
    (run.folder / "spec.json").write_text("{")
    answer = fresh(workspace).live(run.id)
    assert "damaged" in answer["error"] and answer["steps"] is None and len(answer["points"]["raw"]) == 3


def ended(run, state, score=None, **values):
    log = EventLog(run.events)
    log_steps(log, 1, 40)
    if state in {"finished", "stopped"}:
        chosen = {"step": 40, "average": "ema", "held_out": score}
        log.emit(state, step=40, chosen=chosen, reason="because", peak_memory_gib=1.5, seconds=12.0)
        run.adapter.write_bytes(b"x")
    run.write_status(state, **values)


@pytest.mark.parametrize(
    "state, score, expected",
    [
        ("finished", SCORE, "Adapter ready. Held-out loss 50 % below the base on 8 of 8 unseen pictures."),
        ("finished", {**SCORE, "num_better": 5}, "Adapter ready. Held-out loss 50 % below the base, better on 5 of 8 unseen pictures."),
        ("finished", None, "Adapter ready. Nothing was held out"),
        (
            "finished",
            {**SCORE, "log_ratio": 0.2, "num_better": 1},
            "Adapter ready. But its held-out loss is 22 % above the base",
        ),
        ("finished", {**SCORE, "log_ratio": 0.001}, "Adapter ready. Held-out loss as the base's"),
        ("finished", {**SCORE, "log_ratio": None}, "Adapter ready. Its held-out loss is no number"),
        ("stopped", None, "Stopped at step 40 of 100. What it has learned so far is kept as an adapter. Resume continues from there."),
    ],
)
def test_the_verdict_is_honest(workspace, run, state, score, expected):
    ended(run, state, score)
    answer = fresh(workspace).live(run.id)
    assert answer["verdict"].startswith(expected) and answer["seconds"] == 12.0 and answer["memory"]["peak_gib"] == 1.5


def test_failures_and_gone_processes_say_what_to_do(workspace, run):
    ended(run, "failed", error="step 41: the loss is no longer a number")
    assert fresh(workspace).live(run.id)["verdict"] == "Failed at step 41: the loss is no longer a number"
    point = run.folder / "resume" / "000030"
    point.mkdir(parents=True)
    (point / "done").write_text("{}")
    (run.folder / "status.json").write_text(json.dumps({"state": "running", "pid": 1, "started": 1.0, "boot": "another"}))
    answer = fresh(workspace).live(run.id)
    assert answer["state"] == "interrupted"
    assert answer["verdict"].startswith("The process of this run is gone") and answer["verdict"].endswith("Resume continues from step 30.")


def test_a_living_run_tells_memory_and_time_left(workspace, run):
    log_steps(EventLog(run.events), 1, 40)
    run.write_status("running")
    answer = fresh(workspace).live(run.id)
    assert answer["state"] == "running" and answer["verdict"] == ""
    assert answer["memory"]["used_gib"] > 0.01 and answer["memory"]["total_gib"] > 0.5
    assert answer["seconds_left"] == 15.0  # 60 steps of 0.25 s; no previews measured yet
    brief = fresh(workspace).brief(run.id)
    assert brief == {"step": 40, "speed": 4.0, "seconds_left": 15.0}


def test_copies_of_a_run_folder_are_runs(workspace, run):
    ended(run, "finished", SCORE)
    copy = workspace.runs / "0044-copied"
    copy.mkdir()
    for name in ("spec.json", "events.jsonl", "status.json"):
        (copy / name).write_bytes((run.folder / name).read_bytes())
    assert fresh(workspace).live("0044-copied")["step"] == 40
    assert Run(copy).id == "0044-copied"
