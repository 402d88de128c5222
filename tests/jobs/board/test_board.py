"""Runs side by side: facts, settings, and what differs."""

import json
import subprocess
import sys

import pytest

from studio.errors import StudioError
from studio.jobs.board.facts import NONE, UNSET, summarise_log, text
from studio.jobs.board.table import MAX_RUNS, compare
from studio.jobs.runs.manage import delete_run
from studio.store import Workspace
from tests.fixtures.kept_runs import BEGAN, kept_run


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path)


def _rows(board):
    return {row["key"]: row for row in board["rows"]}


def test_facts_come_first_then_every_setting(workspace):
    first, second = kept_run(workspace, "one"), kept_run(workspace, "two", rank=8, change=-0.1, steps=100)
    board = compare(workspace, [first.id, second.id])
    rows = _rows(board)
    assert [h["name"] for h in board["runs"]] == ["one", "two"] and [h["error"] for h in board["runs"]] == ["", ""]
    assert board["rows"][0]["key"] == "result.state"
    told = {
        "result.change": ["−48.0 %, better on 8 of 8", "−10.0 %, better on 8 of 8"],
        "result.chosen": ["step 200, averaged (EMA)", "step 100, averaged (EMA)"],
        "what.train": ["72", "72"],
        "what.held_out": ["8", "8"],
        "what.layers": ["48", "48"],
        "what.parameters": ["1,024", "512"],
        "cost.steps": ["200", "100"],
        "cost.minutes": ["1", "0.5"],
        "cost.memory": ["1.125", "1.125"],
        "method.rank": ["16", "8"],
        "train.steps": ["200", "100"],
        "train.early_stop": ["yes", "yes"],
        "base.size_px": [UNSET, UNSET],
        "preview.prompts": ["axial T1 brain · coronal T2 brain"] * 2,
    }
    assert {key: rows[key]["values"] for key in told} == told
    assert {key for key in told if rows[key]["differs"]} == {
        "result.change", "result.chosen", "what.parameters", "cost.steps", "cost.minutes", "method.rank", "train.steps",
    }  # fmt: skip
    assert rows["method.rank"]["title"] == "Rank" and rows["method.rank"]["group"] == "Method"
    assert rows["train.resume_every"]["unit"] == "steps"
    spec = first.spec()
    names = {f"{g}.{n}" for g in ("base", "data", "train", "preview", "evaluate") for n in type(getattr(spec, g)).model_fields}
    assert names | {f"method.{n}" for n in type(spec.methods[0]).model_fields if n != "kind"} <= rows.keys()
    assert board["notes"] == []


def test_the_least_difference_of_a_setting_is_marked(workspace):
    first, second = kept_run(workspace), kept_run(workspace)
    spec = json.loads((second.folder / "spec.json").read_text())
    spec["methods"][0]["lr"] = 0.000100001
    (second.folder / "spec.json").write_text(json.dumps(spec))
    board = compare(workspace, [first.id, second.id])
    assert {key for key, row in _rows(board).items() if row["differs"]} == {"method.lr"}
    assert _rows(board)["method.lr"]["values"] == ["0.0001", "0.000100001"]


def test_what_is_not_known_yet_is_not_marked_as_different(workspace):
    done, waiting = kept_run(workspace), kept_run(workspace, state="queued")
    for name in ("events.jsonl", "origin.json", "status.json"):
        (waiting.folder / name).unlink()
    rows = _rows(compare(workspace, [done.id, waiting.id]))
    unknown = {key for key, row in rows.items() if row["values"][1] == NONE and row["values"][0] != NONE}
    assert {"result.held_out", "what.train", "what.parameters", "cost.minutes", "cost.size"} <= unknown
    assert not {key for key in unknown if rows[key]["differs"]}
    assert rows["result.state"]["differs"] and rows["cost.steps"]["differs"]
    further = kept_run(workspace, change=-0.1)
    assert _rows(compare(workspace, [done.id, waiting.id, further.id]))["result.change"]["differs"], "two that are known still differ"
    spec = json.loads((further.folder / "spec.json").read_text())
    spec["methods"] = [{"kind": "textual_inversion"}]
    (further.folder / "spec.json").write_text(json.dumps(spec))
    rows = _rows(compare(workspace, [done.id, further.id]))
    assert rows["method.rank"]["values"] == ["16", NONE] and rows["method.rank"]["differs"], "no such setting is not an unknown one"
    assert rows["method.alpha"]["values"] == [UNSET, NONE] and rows["method.alpha"]["differs"], "nor is it one that was left as it is"


def test_what_cannot_be_compared_is_said(workspace):
    runs = [kept_run(workspace), kept_run(workspace, dataset="icons"), kept_run(workspace, base="starter")]
    notes = compare(workspace, [r.id for r in runs])["notes"]
    assert len(notes) == 1 and "different data" in notes[0]
    origin = runs[2].folder / "origin.json"
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"base": "another"}))
    notes = " ".join(compare(workspace, [runs[0].id, runs[2].id])["notes"])
    assert "different base models" in notes and "different data" not in notes
    runs[0].write_status("running")
    assert any(runs[0].id in note for note in compare(workspace, [runs[0].id])["notes"])


def test_a_deleted_and_a_damaged_run_are_columns_that_say_so(workspace):
    whole, gone, damaged = kept_run(workspace), kept_run(workspace), kept_run(workspace)
    delete_run(workspace, gone.id)
    (damaged.folder / "spec.json").write_text('{"name": 3}')
    board = compare(workspace, [whole.id, gone.id, damaged.id, "../../etc", "x" * 400])
    assert [h["state"] for h in board["runs"]] == ["finished", "gone", "damaged", "gone", "gone"]
    errors = [h["error"] for h in board["runs"]]
    assert errors[0] == "" and "deleted" in errors[1] and "spec.json" in errors[2] and all(errors[3:])
    assert all(row["values"][1:] == [NONE] * 4 and not row["differs"] for row in board["rows"])
    assert compare(workspace, [gone.id])["rows"] == [] and compare(workspace, [])["rows"] == []


@pytest.mark.parametrize("file", ["scores.json", "origin.json", "status.json", "events.jsonl", "adapter.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"chosen": {"held_out": {"loss": "x"}}, "data": 3}', b"\xff" * 40])
def test_damaged_files_leave_their_rows_empty(workspace, file, content):
    run = kept_run(workspace)
    (run.folder / file).write_bytes(content)
    board = compare(workspace, [run.id])
    assert board["runs"][0]["error"] == "" and _rows(board)["method.rank"]["values"] == ["16"]


def test_a_run_of_several_sessions_counts_only_its_own_time(tmp_path):
    lines = [
        {"kind": "loaded", "time": BEGAN, "family": "f", "device": "cpu", "precision": "fp32"},
        {"kind": "step", "time": BEGAN + 10, "step": 1, "loss": 0.5},
        {"kind": "loaded", "time": BEGAN + 5000},
        {"kind": "step", "time": BEGAN + 5020, "step": 2, "loss": 0.25},
    ]
    log = tmp_path / "events.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "st')
    facts = summarise_log(log)
    assert facts["seconds"] == 30 and facts["loss"] == 0.25 and facts["device"] == "cpu"
    assert summarise_log(tmp_path / "none") == {"seconds": 0.0, "loss": None}


def test_too_many_runs_are_refused_and_double_ones_shown_once(workspace):
    run = kept_run(workspace)
    assert len(compare(workspace, [run.id] * 40)["runs"]) == 1
    with pytest.raises(StudioError, match="at most"):
        compare(workspace, [f"{i}" for i in range(MAX_RUNS + 1)])


def test_values_are_told_as_people_read_them():
    told = [None, "", [], True, 0, 1234567, 0.0001, 0.30000000004, [1, 2], ["a", "b"], list(range(20))]
    assert [text(v) for v in told] == [
        NONE, NONE, NONE, "yes", "0", "1,234,567", "0.0001", "0.3", "1, 2", "a · b", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 … (20)",
    ]  # fmt: skip


def test_the_board_needs_no_torch():
    code = "import sys, studio.jobs.board.table, studio.jobs.runs.manage\n"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
