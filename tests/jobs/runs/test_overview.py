"""Runs in rows: what each is, how it turned out, kept until its files change."""

import json
import math

import pytest

from studio.dataset.rows import open_dataset
from studio.jobs.runs import overview
from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import make_run
from studio.jobs.runs.overview import RunRows
from studio.store import Workspace
from tests.fixtures.runs import spec_for

SCORE = {"loss": 0.3, "base": 0.6, "log_ratio": math.log(0.75), "standard_error": 0.1, "num_better": 7, "num_images": 8, "ratios": []}


@pytest.fixture(scope="module")
def spec(shop, tiny_folder):
    return spec_for(open_dataset(shop, "shapes"), tiny_folder)


@pytest.fixture()
def run(tmp_path, spec):
    return make_run(Workspace.at(tmp_path / "workspace"), spec)


def finish(run):
    log = EventLog(run.events)
    log.emit("step", step=6, loss=0.5, grad_norm=1.0, lr=0.1, seconds=0.1)
    chosen = {"step": 4, "average": "ema", "held_out": SCORE}
    log.emit("finished", step=6, chosen=chosen, reason="lowest", peak_memory_gib=0.7, seconds=9.5)
    (run.folder / "scores.json").write_text(json.dumps({"chosen": chosen}))
    run.adapter.write_bytes(b"x")
    folder = run.folder / "previews" / "000006"
    folder.mkdir(parents=True)
    (folder / "00.png").write_bytes(b"x")
    run.write_status("finished", step=6, peak_memory_gib=0.7)


def rows_of(run):
    return RunRows(Workspace(run.folder.parent.parent))


def test_a_finished_run_in_a_row(run):
    finish(run)
    [row] = rows_of(run).read()
    assert row["run"] == run.id and row["state"] == "finished" and row["step"] == row["steps"] == 6
    assert (row["method"], row["dataset"], row["seconds"], row["peak_memory_gib"]) == ("LoRA", "shapes", 9.5, 0.7)
    assert row["held_out"] == {"loss": 0.3, "base": 0.6, "change_percent": -25.0, "num_better": 7, "num_images": 8}
    assert row["has_adapter"] and row["error"] is None and row["created"][:2] == "20"
    assert row["previews"][0].startswith(f"/studio/runs/{run.id}/pictures/previews/000006/00.png?v=")


def test_rows_are_kept_until_something_changes(run, monkeypatch):
    finish(run)
    rows, read = rows_of(run), []
    make = overview._read_row
    monkeypatch.setattr(overview, "_read_row", lambda *a: read.append(1) or make(*a))
    first = rows.read()
    assert rows.read() == first and len(read) == 1
    run.write_status("failed", error="the disk is full")
    [row] = rows.read()
    assert (row["state"], row["error"], len(read)) == ("failed", "the disk is full", 2)


def test_newest_first_and_deleted_ones_are_forgotten(run):
    workspace = Workspace(run.folder.parent.parent)
    other = make_run(workspace, run.spec())
    rows = RunRows(workspace)
    assert [r["run"] for r in rows.read()] == [other.id, run.id]
    (other.folder / "spec.json").unlink()
    assert [r["run"] for r in rows.read()] == [run.id] and list(rows._kept) == [run.id]


def test_the_truth_about_a_process_that_is_gone_is_told_also_from_memory(run):
    finish(run)
    rows = rows_of(run)
    rows.read()
    (run.folder / "status.json").write_text(json.dumps({"state": "running", "pid": 1, "started": 1.0, "boot": "another"}))
    assert rows.read()[0]["state"] == "interrupted"


@pytest.mark.parametrize("name", ["spec.json", "status.json", "scores.json", "events.jsonl"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"chosen": 3}', b"\xff\xfe"])
def test_damaged_files_spoil_no_list(run, name, damage):
    finish(run)
    (run.folder / name).write_bytes(damage)
    [row] = rows_of(run).read()
    assert row["run"] == run.id
    json.dumps(row, allow_nan=False)
