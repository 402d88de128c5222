"""The adapters of a run: which there are, which is meant, and what each did on held-out pictures."""

import math

import pytest

from studio.errors import StudioError
from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import Run
from studio.jobs.runs.snapshots import adapter_step, change_percent, check_adapter, chosen, runs_with_adapter, scored_snapshots
from studio.store import Workspace
from tests.fixtures.kept_runs import kept_run


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


def keep(run, *steps):
    """Snapshots that are whole, as their marker says."""
    for step in steps:
        folder = run.snapshots / f"{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "done").touch()
    return run


@pytest.mark.parametrize(
    ("held_out", "percent"),
    [
        ({"log_ratio": math.log(0.75)}, -25.0), ({"log_ratio": 0}, 0.0), ({"log_ratio": math.nan}, None), ({"log_ratio": 1e9}, None),
        ({"log_ratio": -math.inf}, None), ({"log_ratio": "0.5"}, None), ({}, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_a_change_is_told_where_it_was_measured(held_out, percent):
    assert change_percent(held_out) == percent


def test_snapshots_come_with_their_scores_and_parts_of_one_do_not_count(workspace):
    run = keep(kept_run(workspace), 3, 4, 5)
    (run.snapshots / "000006").mkdir()
    log = EventLog(run.events)
    for step, ratio in ((3, math.log(0.5)), (5, math.nan)):
        log.emit("score", step=step, held_out={"log_ratio": ratio})
    with open(run.events, "ab") as file:
        file.write(b'{"kind": "score", "step": 4, "held_out": {"log_\n')
    assert scored_snapshots(run) == [
        {"step": 3, "change_percent": -50.0}, {"step": 4, "change_percent": None}, {"step": 5, "change_percent": None},
    ]  # fmt: skip


def test_the_adapter_that_is_meant(workspace):
    ended, going = kept_run(workspace), keep(kept_run(workspace, state="failed"), 10, 20)
    empty = kept_run(workspace, state="failed")
    assert adapter_step(ended, None) == chosen(ended)["step"] == 200
    assert (adapter_step(going, None), adapter_step(going, 10), chosen(going)) == (20, 10, {})
    with pytest.raises(StudioError, match="no snapshot of step 11; there are: 10, 20"):
        check_adapter(going, 11)
    with pytest.raises(StudioError, match=r"no adapter yet \(failed\)"):
        adapter_step(empty, None)
    assert [run.id for run in runs_with_adapter(workspace)] == [going.id, ended.id]


def test_a_damaged_choice_is_no_choice(workspace):
    run = kept_run(workspace)
    for text in ("{", '{"chosen": 3}', "[]"):
        (run.folder / "scores.json").write_text(text)
        assert chosen(Run(run.folder)) == {}
