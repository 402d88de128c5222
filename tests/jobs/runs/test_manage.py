"""Runs are renamed, deleted and brought back without losing anything; what lives is left alone."""

import json
import os
import threading

import pytest
from filelock import FileLock

from studio.errors import StudioError
from studio.jobs.runs.folders import list_runs, make_run
from studio.jobs.runs.manage import delete_run, rename_run
from studio.store import Workspace, write_json
from studio.trash import empty_trash, from_trash, list_trash, to_trash, trash_size
from tests.fixtures.kept_runs import kept_run


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path)


def _files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_rename_changes_the_name_and_nothing_else(workspace):
    run = kept_run(workspace)
    before, made = _files(run.folder), (run.folder / "spec.json").stat().st_mtime
    assert rename_run(workspace, run.id, "  Brain\n<b>#2</b> ") == "Brain <b>#2</b>"
    after = _files(run.folder)
    assert {n for n in before if before[n] != after[n]} == {"spec.json"} and before.keys() == after.keys()
    old, new = json.loads(before["spec.json"]), json.loads(after["spec.json"])
    assert new == old | {"name": "Brain <b>#2</b>"} and list(new) == list(old)
    assert 0 < (run.folder / "spec.json").stat().st_mtime - made < 0.1  # when it was made stays told
    assert run.spec().name == "Brain <b>#2</b>" and run.id == list_runs(workspace)[0].id


def test_two_runs_may_have_one_name(workspace):
    first, second = kept_run(workspace, "one"), kept_run(workspace, "two")
    rename_run(workspace, second.id, "one")
    assert first.spec().name == second.spec().name and first.id != second.id


@pytest.mark.parametrize("name", ["", "   ", "\n\0", "x" * 121, "é" * 300])
def test_a_name_that_cannot_be_is_refused_in_words(workspace, name):
    run = kept_run(workspace)
    before = _files(run.folder)
    with pytest.raises(StudioError, match="^name: "):
        rename_run(workspace, run.id, name)
    assert _files(run.folder) == before


def test_a_damaged_spec_is_named_and_not_written_over(workspace):
    run = kept_run(workspace)
    (run.folder / "spec.json").write_text("{")
    with pytest.raises(StudioError, match=r"spec\.json is damaged"):
        rename_run(workspace, run.id, "new")
    assert (run.folder / "spec.json").read_text() == "{"


@pytest.mark.parametrize("run_id", ["", "..", "../runs", "/etc", "0001", "9-nobody", "a\0b", "x" * 300, "<img src=x>"])
def test_only_whole_ids_name_a_run(workspace, run_id):
    run = kept_run(workspace)
    for act in (delete_run, lambda w, i: rename_run(w, i, "new")):
        with pytest.raises(StudioError):
            act(workspace, run_id)
    assert run.folder.is_dir() and run.spec().name == "brain mri lora"


def test_a_deleted_run_comes_back_as_it_was(workspace):
    run = kept_run(workspace)
    before = _files(run.folder)
    token = delete_run(workspace, run.id)
    assert not run.folder.exists() and list_runs(workspace) == []
    assert [(r["token"], r["kind"], r["title"]) for r in list_trash(workspace)] == [(token, "run", "brain mri lora")]
    assert from_trash(workspace, token) == run.folder
    assert _files(run.folder) == before and list_trash(workspace) == []
    with pytest.raises(StudioError, match="brought back already"):
        from_trash(workspace, token)


def test_a_damaged_run_can_be_deleted(workspace):
    run = kept_run(workspace)
    for file in ("spec.json", "status.json", "events.jsonl"):
        (run.folder / file).write_bytes(b"\xff\x00{")
    token = delete_run(workspace, run.id)
    assert not run.folder.exists() and list_trash(workspace)[0]["token"] == token


def test_a_living_run_stays(workspace):
    run = kept_run(workspace)
    run.write_status("running")
    with pytest.raises(StudioError, match="stop it first"):
        delete_run(workspace, run.id)
    write_json(run.folder / "status.json", {"state": "finished"})
    with FileLock(run.folder / ".lock"), pytest.raises(StudioError, match="stop it first"):  # its process still holds it
        delete_run(workspace, run.id)
    assert run.folder.is_dir() and list_trash(workspace) == []
    delete_run(workspace, run.id)


def test_of_two_who_delete_at_once_one_is_told(workspace):
    run, ended, tokens = kept_run(workspace), [], []

    def delete():
        try:
            tokens.append(delete_run(workspace, run.id))
        except StudioError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=delete) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(tokens) == 1 and len(ended) == 7 and all(run.id in e for e in ended), ended
    assert [r["token"] for r in list_trash(workspace)] == tokens
    from_trash(workspace, tokens[0])
    assert run.spec().name == "brain mri lora"


def test_a_deleted_runs_id_is_not_given_again(workspace):
    kept_run(workspace)
    second = kept_run(workspace)
    token = delete_run(workspace, second.id)
    third = make_run(workspace, list_runs(workspace)[0].spec())
    assert third.id.startswith("0003-")
    empty_trash(workspace)
    delete_run(workspace, third.id)
    assert make_run(workspace, list_runs(workspace)[0].spec()).id.startswith("0004-")
    assert len(list_runs(workspace)) == 2
    with pytest.raises(StudioError, match="not in the trash"):
        from_trash(workspace, token)


def test_what_is_in_the_way_of_a_return_stays(workspace):
    run = kept_run(workspace)
    token = delete_run(workspace, run.id)
    run.folder.mkdir()
    (run.folder / "new").write_text("mine")
    with pytest.raises(StudioError, match="is taken"):
        from_trash(workspace, token)
    assert (run.folder / "new").read_text() == "mine" and len(list_trash(workspace)) == 1


@pytest.mark.parametrize("token", ["", "..", "../runs", "/", "x" * 300, "20250101-000000-00000000"])
def test_a_token_that_is_none_is_said(workspace, token):
    kept_run(workspace)
    with pytest.raises((StudioError, OSError)):
        from_trash(workspace, token)


@pytest.mark.parametrize("home", ["../outside", "/etc/x", "", "runs/../../x"])
def test_a_forged_label_leads_nowhere(workspace, home):
    (workspace.root / "note").write_text("x")
    token = to_trash(workspace, workspace.root / "note", "note")
    label = workspace.root / ".trash" / token / "trash.json"
    label.write_text(json.dumps(json.loads(label.read_text()) | {"home": home}))
    with pytest.raises(StudioError):
        from_trash(workspace, token)
    assert list_trash(workspace) == []


def test_emptying_frees_what_it_says(workspace):
    assert list_trash(workspace) == [] and trash_size(workspace) == 0 and empty_trash(workspace) == 0
    outside = workspace.root / "keep"
    outside.mkdir()
    (outside / "mine").write_text("x")
    run = kept_run(workspace)
    os.symlink(outside, run.folder / "link")
    delete_run(workspace, run.id)
    size = trash_size(workspace)
    assert size > 1000 and empty_trash(workspace) == size
    assert list_trash(workspace) == [] and trash_size(workspace) == 0 and (outside / "mine").exists()
