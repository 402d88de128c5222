"""The board as a file: nothing runs in a spreadsheet, nothing is fetched by a page, nothing personal leaves unasked."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from studio.errors import StudioError
from studio.jobs.board.export import LEFT_OUT, bare_png, safe_cell, to_csv, to_html, write_board
from studio.jobs.board.table import compare, named_runs
from studio.jobs.runs.manage import delete_run
from studio.store import Workspace
from tests.fixtures.kept_runs import kept_run

HOSTILE = '=HYPERLINK("http://x.example","y")'
MARKUP = "<script>alert(1)</script><img src=http://x.example onerror=alert(2)>"


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


def _table(text):
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))


def test_csv_is_the_board(workspace):
    ids = [kept_run(workspace, "one").id, kept_run(workspace, "two", rank=8).id]
    table = {row[2]: row for row in _table(to_csv(workspace, ids))}
    assert table["Fact"][4:] == ["one", "two"] and table["Run"][4:] == ids
    assert table["Rank"] == ["≠", "Method", "Rank", "", "16", "8"] and table["Batch size"][0] == ""
    assert table["Year"][4:] == ["2021", "2021"] and "LoRA: Low-Rank" in table["Origin paper"][4]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "\n@", "\uff1d"])
def test_no_cell_begins_a_formula(start):
    assert safe_cell(start + "1+1").startswith("'") and safe_cell("1" + start) == "1" + start


def test_hostile_names_stay_text_in_csv(workspace):
    names = [HOSTILE, "@SUM(1)", "+1", "-1", "a,b\"c';"]
    ids = [kept_run(workspace, name, dataset=name).id for name in names]
    for row in _table(to_csv(workspace, ids)):
        assert not [cell for cell in row if cell[:1] in set("=+-@\t\r")], row
    assert _table(to_csv(workspace, ids))[0][4:] == [f"'{n}" for n in names[:4]] + names[4:]


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in {"src", "href", "xlink:href"} or k.startswith("on")]


def test_html_needs_nothing_else_and_runs_nothing(workspace):
    ids = [kept_run(workspace, MARKUP[:110]).id, kept_run(workspace, "two", rank=8, change=-0.1).id]
    text = to_html(workspace, ids)
    page = _Tags()
    page.feed(text)
    assert "script" not in page.tags and page.tags.count("svg") == 2 and page.tags.count("polyline") == 4
    assert page.tags.count("img") == 6 and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"url\(|@import", text) and "default-src &#x27;none&#x27;" in text
    assert '<tr class="differs"><th scope="row"><b title="differs">≠</b> Rank' in text and '<tr class="same">' in text


def test_what_was_typed_and_where_it_lies_leave_only_when_asked(workspace):
    base = str(workspace.root / "models" / "mine")
    ids = [kept_run(workspace, "one", base=base).id, kept_run(workspace, "two", base=base).id]
    damaged = kept_run(workspace, "three")
    (damaged.folder / "spec.json").write_text("{")
    ids.append(damaged.id)
    for write in (to_csv, to_html):
        text = write(workspace, ids)
        assert "coronal" not in text and str(workspace.root) not in text and LEFT_OUT in text and "mine" in text
        assert "spec.json is damaged" in text
        assert "coronal T2 brain" in write(workspace, ids, prompts=True)


def test_pictures_go_without_their_texts(workspace, tmp_path):
    from PIL import Image

    from studio.sample.pictures import read_settings, write_png

    path, bare = tmp_path / "a.png", tmp_path / "b.png"
    write_png(path, Image.new("RGB", (8, 8), (200, 10, 10)), {"prompt": "a secret"})
    bare.write_bytes(bare_png(path))
    assert read_settings(path)["prompt"] == "a secret" and read_settings(bare) == {}
    assert Image.open(bare).tobytes() == bytes([200, 10, 10]) * 64
    path.write_bytes(b"no picture")
    assert bare_png(path) == b"" == bare_png(tmp_path / "none.png")


def test_a_file_is_written_once_and_only_as_html_or_csv(workspace, tmp_path):
    ids = [kept_run(workspace).id, kept_run(workspace).id]
    out = write_board(workspace, ids, tmp_path / "board.CSV")
    before = out.read_bytes()
    for name, said in (("board.CSV", "exists already"), ("board.xlsx", "ends in .html or .csv"), ("board", "ends in .html or .csv")):
        with pytest.raises(StudioError, match=said):
            write_board(workspace, ids, tmp_path / name)
    assert out.read_bytes() == before


def test_runs_are_named_as_people_name_them(workspace):
    runs = [kept_run(workspace, name) for name in ("one", "two", "three")]
    assert named_runs(workspace, ["1", "0002", "0003-th"]) == [r.id for r in runs]
    delete_run(workspace, runs[1].id)
    assert named_runs(workspace, ["1", runs[1].id, "2"]) == [runs[0].id, runs[1].id, "0002"]
    board = compare(workspace, named_runs(workspace, ["1", "2", "3"]))
    assert [h["state"] for h in board["runs"]] == ["finished", "gone", "finished"]
    for names, said in (
        (["1"], "name two runs or more"), (["1", "one"], "no such run"), (["1", "4"], "no such run"), (["1", "../../etc"], "no such run"),
        (["1", "0001"], "name two runs or more"), (["2", "0002-x"], "none of these runs is here"), (["1", ""], "no such run"),
    ):  # fmt: skip
        with pytest.raises(StudioError, match=said):
            named_runs(workspace, names)


def test_a_run_whose_recipe_is_gone_still_shows(workspace):
    runs = [kept_run(workspace), kept_run(workspace)]
    spec = json.loads((runs[0].folder / "spec.json").read_text())
    (runs[0].folder / "spec.json").write_text(json.dumps(spec | {"recipe": "of-old"}))
    rows = {r["key"]: r["values"] for r in compare(workspace, [r.id for r in runs])["rows"]}
    assert rows["what.method"] == ["lora (its recipe of-old is not here any more)", "LoRA"]
    assert rows["what.year"] == ["—", "2021"] and rows["method.rank"] == ["16", "16"]


def test_changed_pictures_under_one_name_differ(workspace):
    runs = [kept_run(workspace), kept_run(workspace)]
    origin = json.loads((runs[1].folder / "origin.json").read_text())
    origin["data"].popitem()
    (runs[1].folder / "origin.json").write_text(json.dumps(origin))
    board = compare(workspace, [r.id for r in runs])
    marked = {r["key"] for r in board["rows"] if r["differs"]}
    assert "what.data" in marked and "what.dataset" not in marked and "different data" in board["notes"][0]
