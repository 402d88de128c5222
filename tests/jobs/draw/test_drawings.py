"""Drawings: what may be asked, what is planned, and what is told about them afterwards."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.errors import StudioError
from studio.jobs.draw import drawings
from studio.jobs.draw.drawings import create_drawing, list_drawings, parse_request, plan_shots, read_drawing, weights
from studio.store import ASSETS, Workspace, write_json
from studio.trash import from_trash
from tests.jobs.conftest import a_run


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


def test_a_drawing_is_waiting_then_told_and_listed_newest_first(workspace):
    run = a_run(workspace)
    first = create_drawing(workspace, {"adapters": [{"run": "1", "strength": 0.5}], "prompt": "two\nlines", "count": 2})
    second = create_drawing(workspace, {})
    assert [d.id for d in list_drawings(workspace)] == [second.id, first.id]
    assert [d.id for d in list_drawings(workspace, 1)] == [second.id]
    request = read_drawing(workspace, first.id).request()
    assert (request.adapters[0].run, request.base, request.prompt) == (run.id, "starter", "two lines")
    assert first.status()["state"] == "waiting" and first.status()["total"] == 4
    assert [(p.file, p.kind, p.seed, p.strength) for p in first.plan()] == [
        ("00.png", "base", 0, 0.0), ("01.png", "adapted", 0, 0.5), ("02.png", "base", 1, 0.0), ("03.png", "adapted", 1, 0.5),
    ]  # fmt: skip


def test_base_alone_can_be_drawn(workspace):
    assert [p.kind for p in create_drawing(workspace, {"prompt": "a cat"}).plan()] == ["base"]


@pytest.mark.parametrize(
    ("strip", "expected"),
    [
        ("none", [("base", None), (0, 1.0), (1, 0.5)]),
        ("together", [("base", None), (None, None)]),
        ("strength", [("base", None), (0, -1.0), (0, 2.0), (1, -1.0), (1, 2.0)]),
        ("snapshots", [("base", None), (0, 10), (0, 20), (1, 30)]),
    ],
)
def test_what_each_strip_plans(workspace, strip, expected):
    a_run(workspace, "one", snapshots=(10, 20)), a_run(workspace, "two", snapshots=(30,))
    request = {"adapters": [{"run": "1"}, {"run": "2", "strength": 0.5}], "strip": strip, "strengths": [2, 0, -1]}
    plan = create_drawing(workspace, request).plan()
    which = "snapshot" if strip == "snapshots" else "strength"
    assert [("base", None) if p.kind == "base" else (p.adapter, getattr(p, which)) for p in plan] == expected


def test_a_method_without_strengths_between_says_so_and_nothing_is_made(workspace):
    a_run(workspace, "turned", kind="oft"), a_run(workspace, "plain")
    for request in (
        {"adapters": [{"run": "1", "strength": 0.5}]},
        {"adapters": [{"run": "1"}, {"run": "2"}], "strip": "strength"},
        {"adapters": [{"run": "1", "strength": 2.0}, {"run": "2"}], "strip": "together"},
    ):
        with pytest.raises(StudioError, match=r"strength (0.5|0.25|2): OFT turns .* only 0 \(the base\) and 1"):
            create_drawing(workspace, request)
    assert list_drawings(workspace) == []
    assert create_drawing(workspace, {"adapters": [{"run": "1"}, {"run": "2", "strength": 0.5}]}).status()["total"] == 3


def test_which_adapters_a_picture_is_drawn_with(workspace):
    a_run(workspace, "one"), a_run(workspace, "two")
    request = parse_request({"adapters": [{"run": "1"}, {"run": "2", "strength": 0.5}], "strip": "together"})
    base, together = plan_shots(workspace, request)
    assert weights(request, base) == [] and weights(request, together) == [(0, 1.0), (1, 0.5)]
    alone = plan_shots(workspace, request.model_copy(update={"strip": "none"}))
    assert [weights(request, p) for p in alone] == [[], [(0, 1.0)], [(1, 0.5)]]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 20.5}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63 - 1, "count": 2}, "seed"),
        ({"count": 17}, "count"),
        ({"width": 0}, "width"),
        ({"sampler": "magic"}, "sampler 'magic' is not known; there are: ddim"),
        ({"strip": "rainbow"}, "strip"),
        ({"prompt": "x" * 3000}, "3000 characters"),
        ({"prompt": 5}, "prompt"),
        ({"extra": 1}, "extra"),
        ({"adapters": [{"run": "1", "strength": 11}]}, "strength"),
        ({"adapters": [{"run": "1", "strength": float("inf")}]}, "strength"),
        ({"adapters": [{"run": "1"}] * 5}, "adapters"),
        ({"adapters": [{"run": "../../etc"}]}, "no such run"),
        ({"adapters": [{"run": ""}]}, "no such run"),
        ({"adapters": [{"run": "1", "snapshot": 3}]}, "no snapshot of step 3; there are: 10"),
        ({"adapters": [{"file": "../x.safetensors"}]}, "file"),
        ({"adapters": [{"file": "0" * 64 + ".safetensors", "label": "mine"}]}, "mine is not here any more"),
        ({"strip": "strength", "strengths": [float("nan")], "adapters": [{"run": "1"}]}, "strengths"),
        ({"strip": "strength", "count": 16, "adapters": [{"run": "1"}]}, "112 pictures are 48 more than the 64"),
        ({"base": "nowhere"}, "nothing there"),
        ([], "must be"),
        (None, "must be"),
    ],
)
def test_what_is_refused_in_one_line_and_makes_nothing(workspace, request_, told):
    a_run(workspace, snapshots=(10,))
    with pytest.raises(StudioError) as error:
        create_drawing(workspace, request_)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert list_drawings(workspace) == [] and not list((workspace.root / "drawings").glob(".tmp-*"))


def test_a_run_without_adapter_is_told_as_it_is(workspace):
    a_run(workspace, adapter=False)
    with pytest.raises(StudioError, match=r"no adapter yet \(finished\)"):
        create_drawing(workspace, {"adapters": [{"run": "1"}]})


def test_adapters_of_different_bases_do_not_meet(workspace):
    shutil.copytree(ASSETS / "starter", workspace.models / "copy", ignore=shutil.ignore_patterns("judge", "*.md"))
    a_run(workspace, "one"), a_run(workspace, "two", base="copy")
    with pytest.raises(StudioError, match="was trained on copy.*same base"):
        create_drawing(workspace, {"adapters": [{"run": "1"}, {"run": "2"}]})


def test_hostile_ids_find_nothing(workspace):
    create_drawing(workspace, {})
    for name in ("", "..", "../runs", "a/b", "nul\0", "00000001", "x" * 300):
        with pytest.raises(StudioError):
            read_drawing(workspace, name)


def test_ids_are_unique_and_ordered_when_many_are_made_at_once(workspace):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: create_drawing(workspace, {"seed": i}).id, range(24)))
    listed = [d.id for d in list_drawings(workspace)]
    assert sorted(made) == listed[::-1] and len(set(listed)) == 24
    assert {d.request().seed for d in list_drawings(workspace)} == set(range(24))


def test_a_drawing_whose_process_is_gone_is_interrupted(workspace):
    drawing = create_drawing(workspace, {})
    drawing.write_status("drawing", done=1, total=2)
    assert drawing.status()["state"] == "drawing"
    told = json.loads((drawing.folder / "status.json").read_text())
    write_json(drawing.folder / "status.json", told | {"started": 1.0})
    assert drawing.status()["state"] == "interrupted" and "sample again" in drawing.status()["error"]
    (drawing.folder / "status.json").write_text("{")
    assert drawing.status()["state"] == "interrupted"


def test_cancelled_before_anyone_began(workspace):
    drawing = create_drawing(workspace, {})
    drawing.cancel()
    assert drawing.cancelled and drawing.status()["state"] == "cancelled"


def test_deleting_can_be_undone_but_not_while_drawing(workspace):
    drawing = create_drawing(workspace, {})
    with pytest.raises(StudioError, match="cancel it first"):
        drawings.delete_drawing(workspace, drawing.id)
    drawing.write_status("finished")
    token = drawings.delete_drawing(workspace, drawing.id)
    assert list_drawings(workspace) == []
    with pytest.raises(StudioError):
        read_drawing(workspace, drawing.id)
    from_trash(workspace, token)
    assert [d.id for d in list_drawings(workspace)] == [drawing.id]


def test_results_are_read_back_and_damage_is_named(workspace):
    drawing = create_drawing(workspace, {"prompt": "a cat"})
    drawing.write_result([p.model_copy(update={"width": 64, "height": 64}) for p in drawing.plan()], seconds=1.5)
    assert drawing.result()["seconds"] == 1.5 and drawing.result()["pictures"][0].width == 64
    (drawing.folder / "result.json").write_text('{"pictures": [{"file": 1}]}')
    with pytest.raises(StudioError, match=r"result\.json is damaged"):
        drawing.result()
    (drawing.folder / "request.json").write_text('{"steps": "x"}')
    with pytest.raises(StudioError, match=r"request\.json is damaged: steps"):
        drawing.request()


def test_a_workspace_that_cannot_be_written_leaves_nothing(workspace, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError):
        create_drawing(workspace, {})
    assert os.listdir(workspace.root / "drawings") == [".lock"]
