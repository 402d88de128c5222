"""Judging an adapter: what is drawn and compared, what is kept with the run, and what stands against it."""

import shutil

import pytest

from studio.dataset.removal import remove_pictures
from studio.dataset.rows import Row, open_dataset
from studio.errors import StudioError
from studio.jobs.board.facts import result_facts, summarise_log
from studio.jobs.draw.judgements import JudgementRequest, create_judgement, find_judgement, parse_request, read_verdict, trained_on
from studio.jobs.draw.judging import _apart as apart
from studio.jobs.draw.judging import judge_run, num_pictures
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import find_run
from studio.sample.pictures import read_settings
from studio.store import Workspace, read_json, write_json


@pytest.fixture()
def own(shop, two_runs, tmp_path):
    """A workspace with the dataset and a finished run, of this test alone."""
    shutil.copytree(shop.root, tmp_path / "workspace")
    workspace = Workspace.at(tmp_path / "workspace")
    return workspace, find_run(workspace, two_runs[0].id)


def request(run, **values):
    return JudgementRequest(run=run.id, **{"count": 10, **values})


def test_what_is_drawn_is_compared_told_and_kept_with_the_run(own, tmp_path):
    workspace, run = own
    ticks = []
    found = judge_run(workspace, run, request(run, seed=5), tmp_path / "out", Warm(), lambda *tick: ticks.append(tick))
    dataset, seen, unseen, gone = trained_on(workspace, run)
    assert (found["count"], found["trained"], found["gone"]) == (10, len(seen), 0) and found["step"] == run.read(
        "scores.json", "chosen", "step"
    )
    states = [state for state, _ in ticks]
    assert sorted(set(states), key=states.index) == ["loading", "drawing", "comparing"]
    done = [how_far for _, how_far in ticks]
    assert done == sorted(done) and done[-1] <= num_pictures(workspace, run, request(run))
    files = {row.file for row in seen}
    assert {row.file for row in unseen} == {row.file for row in dataset.rows} - files
    for each in found["pictures"]:
        assert each["trained"] in files and -1 <= each["pixels"] <= 1.001
        for name, strength in (("base", 0.0), ("file", 1.0)):
            settings = read_settings(tmp_path / "out" / each[name])
            assert settings["seed"] == each["seed"] == 5 + int(each["file"][:3]) and settings["strength"] == strength
            assert settings["prompt"] in {dataset.caption(row) for row in seen}
    assert [each["key"] for each in found["findings"]] == ["domain", "copies", "variety", "captions"] and len(found["signs"]) == 3
    assert found["findings"][0]["state"] == "unknown", "one unseen picture has no distance"
    kept = read_verdict(run)
    assert kept["text"] == found["text"] and "pictures" not in kept
    facts = result_facts(run, summarise_log(run.events))
    assert facts["result.copies"] == f"{sum(each['is_suspect'] for each in found['pictures'])} of 10"
    assert facts["result.domain"] is None and facts["result.variety"].endswith(" %")
    write_json(run.folder / "verdict.json", kept | {"findings": [{"key": "copies"}]})
    assert read_verdict(run) is None, "damaged"
    again = judge_run(workspace, run, request(run, seed=5), tmp_path / "again", Warm(), lambda *tick: None)
    assert again == found, "the same seed draws and finds the same"
    write_json(run.folder / "scores.json", read_json(run.folder / "scores.json") | {"chosen": {"step": 999}})
    assert read_verdict(run) is None, "it was said of another adapter"


def test_pictures_that_are_gone_are_counted_and_without_any_it_is_told(own):
    workspace, run = own
    _, seen, unseen, _ = trained_on(workspace, run)
    remove_pictures(workspace, "shapes", [seen[0].file])
    assert trained_on(workspace, run)[3] == 1
    remove_pictures(workspace, "shapes", [row.file for row in seen[1:]])
    with pytest.raises(StudioError, match="none of the pictures it was trained on is in shapes"):
        create_judgement(workspace, request(run))
    assert len(open_dataset(workspace, "shapes").rows) == len(unseen) and find_judgement(workspace, run.id) is None


def test_only_one_judgement_of_a_run_at_a_time_and_the_newest_is_kept(own):
    workspace, run = own
    first, is_new = create_judgement(workspace, request(run))
    assert is_new and create_judgement(workspace, request(run, count=30)) == (first, False)
    first.write_status("finished")
    second, is_new = create_judgement(workspace, request(run, count=30))
    assert is_new and not first.folder.exists() and find_judgement(workspace, run.id) == second
    second.write_status("finished")
    with pytest.raises(StudioError, match="no snapshot of step 3; there are: 2, 4, 6"):
        create_judgement(workspace, request(run, snapshot=3))


@pytest.mark.parametrize("values", [{"count": 7}, {"count": 257}, {"seed": -1}, {"run": "r" * 301}, {"strength": 1}])
def test_what_is_asked_wrongly_is_named(values):
    with pytest.raises(StudioError, match=next(iter(values))):
        parse_request({"run": "1", **values})


def test_copies_do_not_stand_for_each_other():
    rows = [
        Row(file=f"{i}.png", sha256="s", pixels=pixels, width=8, height=8, group=group)
        for i, (pixels, group) in enumerate(
            [("a", ""), ("a", ""), ("b", "alike-1"), ("c", "alike-1"), ("d", "patient 1"), ("e", "patient 1")]
        )
    ]
    assert apart(rows, rows).astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
