"""Comparing on the command line: the board, the cards."""

import json

from studio.store import Workspace
from tests.fixtures.kept_runs import kept_run


def test_the_board_is_shown_told_and_written(own, tmp_path):
    workspace = Workspace.at(own.workspace)
    one, two = kept_run(workspace, "one"), kept_run(workspace, "=two", rank=8, dataset="icons")
    told = own.here("board", "1", "2", "--json").well()
    assert [r["run"] for r in told.json["runs"]] == [one.id, two.id] and "different data" in told.json["notes"][0]
    assert "≠ Rank" in told.out and "  Batch size" in told.out
    only = own.here("board", "1", "2", "--differs", "--json").well()
    assert only.json["rows"] and all(r["differs"] for r in only.json["rows"]) and "Batch size" not in only.out
    for name, part in (("b.csv", '"\'=two"'), ("b.html", "<!doctype html>")):
        answer = own.here("board", "1", "2", "--out", tmp_path / name, "--json").well()
        assert part in (tmp_path / name).read_text("utf-8") and json.loads(json.dumps(answer.json))["file"] == str(tmp_path / name)
        assert "exists already" in own.here("board", "1", "2", "--out", tmp_path / name).complaint()


def test_boards_that_cannot_be(own, tmp_path):
    workspace = Workspace.at(own.workspace)
    for _ in range(13):
        kept_run(workspace, steps=4, previews=0)
    assert "two runs or more" in own.here("board", "1").complaint()
    assert "no such run" in own.here("board", "1", "nothing").complaint()
    assert "at most 12" in own.here("board", *range(1, 14)).complaint()
    assert ".html or .csv" in own.here("board", "1", "2", "--out", tmp_path / "b.pdf").complaint()
    assert not list(tmp_path.glob("b.*"))


def test_the_cards_are_told(own):
    told = own.here("methods", "--json").well().json
    assert [c["recipe"] for c in told][:1] == ["lora"] and all(c["year"] and c["source"] for c in told)
    assert "Not when" in own.here("methods", "textual-inversion").well().out
    assert "there are: lora" in own.here("methods", "nothing").complaint()
