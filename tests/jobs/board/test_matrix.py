"""Pictures of several runs from the same seeds: drawn once, found again, and every trouble told beside those that worked."""

import pytest

from studio.errors import StudioError
from studio.jobs.board.matrix import MatrixRequest, look, order, parse_matrix, previews
from studio.jobs.draw import drawing_tasks
from studio.jobs.draw.drawings import create_drawing, delete_drawing, list_drawings
from studio.jobs.draw.restore import read_png_settings
from studio.jobs.processes.warm import Warm
from studio.store import Workspace
from tests.fixtures.kept_runs import kept_run

WANTED = MatrixRequest(prompts=["a red disc", "a blue bar"], seed=5, count=2, steps=2)


def _draw_here(shop):
    warm = Warm()

    def draw(request):
        drawing = create_drawing(shop, request)
        drawing_tasks.carry_out(shop, drawing, warm, lambda state, done: None)
        drawing.write_status("finished", total=len(drawing.plan()))
        return drawing

    return draw


def test_drawn_once_and_the_base_stands_first(shop, two_runs):
    ids = [r.id for r in two_runs]
    assert look(shop, ids, WANTED)["missing"] == ids
    told = order(shop, ids, WANTED, _draw_here(shop))
    assert [(c["kind"], c["title"]) for c in told["columns"]] == [("base", "base"), ("adapted", "rank 4"), ("adapted", "rank 3")]
    assert [(r["prompt"], r["seed"]) for r in told["rows"]] == [(p, s) for p in WANTED.prompts for s in (5, 6)]
    assert told["missing"] == told["busy"] == told["notes"] == [] and (told["done"], told["total"]) == (16, 16)
    cells = [cell for row in told["rows"] for cell in row["cells"]]
    assert len(set(cells)) == 12
    drawings = list_drawings(shop)
    for row in told["rows"]:
        drawing_id, file = row["cells"][2].split("/")[3], row["cells"][2].split("/")[-1]
        said = read_png_settings(shop.root / "drawings" / drawing_id / "pictures" / file)
        assert (said["picture"]["prompt"], said["request"]["prompt"], said["picture"]["seed"]) == (
            row["prompt"],
            row["prompt"],
            row["seed"],
        )
        assert said["picture"]["kind"] == "adapted" and said["request"]["adapters"][0]["run"] == ids[1]

    def never(request):
        raise AssertionError("drawn again")

    assert order(shop, ids[::-1], WANTED, never)["rows"] and len(list_drawings(shop)) == len(drawings)
    delete_drawing(shop, told["rows"][0]["cells"][2].split("/")[3])
    assert look(shop, ids, WANTED)["missing"] == [ids[1]]
    two_runs[0].adapter.touch()
    assert look(shop, ids, WANTED)["missing"] == ids, "an adapter that has changed draws anew"


def test_each_base_stands_before_its_own_runs(tmp_path):
    workspace = Workspace.at(tmp_path)
    runs = [kept_run(workspace, "a"), kept_run(workspace, "b", base="/models/other"), kept_run(workspace, "c")]
    told = previews(workspace, [runs[0].id, runs[1].id, runs[2].id, "0099-gone"])
    assert [c["title"] for c in told["columns"]] == ["base: starter", "a", "c", "base: other", "b"]
    assert [r["prompt"] for r in told["rows"]] == ["axial T1 brain", "coronal T2 brain"] and all(all(r["cells"]) for r in told["rows"])
    assert told["suggested"]["prompts"] == ["axial T1 brain", "coronal T2 brain"] and told["notes"] == []
    assert previews(workspace, ["0099-gone"])["rows"] == []


def test_troubles_are_told_and_the_others_drawn(shop, two_runs, tmp_path):
    unfinished = kept_run(shop, "no adapter", state="failed", error="x", change=None)
    foreign = kept_run(shop, "base gone", base=str(tmp_path / "gone"))
    wanted = WANTED.model_copy(update={"seed": 90, "count": 1, "prompts": ["a"]})
    told = order(shop, [two_runs[0].id, unfinished.id, foreign.id], wanted, _draw_here(shop))
    assert told["rows"][0]["cells"][1] and told["rows"][0]["cells"].count(None) == 4
    assert any("no adapter yet (failed)" in note for note in told["notes"]) and any("nothing there" in note for note in told["notes"])
    with pytest.raises(StudioError, match="at most 12"):
        look(shop, [str(i) for i in range(13)], WANTED)


NONSENSE = ["{", "[]", "3", "[" * 9999, '{"prompts": []}', '{"prompts": ["a","b","c","d","e"]}', '{"seed": -1}', '{"count": 5}']
NONSENSE += ['{"steps": 1e9}', '{"guidance": "x"}', '{"more": 1}', '{"prompts": ["' + "x" * 3000 + '"]}']


@pytest.mark.parametrize("text", NONSENSE)
def test_an_address_that_asks_for_nonsense_is_refused(text):
    with pytest.raises(StudioError):
        parse_matrix(text)
