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


def test_advice_is_given_and_can_be_followed(own):
    own.here("dataset", "new", "icons", "--demo", "icons").well()
    told = own.here("advise", "icons", "--goal", "style", "--json").well()
    assert told.json["recipe"] == "lora" and told.json["reasons"] and "start it: train --dataset icons" in told.out
    for words in (["nobody", "--goal", "style"], ["icons", "--goal", "art"], ["icons", "--goal", "style", "--memory", "-1"], ["icons"]):
        assert own.here("advise", *words).complaint()


def test_a_duel_is_held_and_compared(home, own, tmp_path):
    own.here("dataset", "new", "shapes", home.pictures).well()
    words = ["duel", "shapes", "--base", home.base, "--recipes", "lora,textual-inversion"]
    small = [
        "train.steps=4",
        "train.batch_size=2",
        "method.rank=2",
        "preview.every=0",
        "evaluate.num_timesteps=2",
        "train.snapshot_every=2",
    ]
    answer = own(*words, *(w for s in small for w in ("--set", s)), "--json").well()
    runs = [r["run"] for r in answer.json["runs"]]
    assert [r["state"] for r in answer.json["runs"]] == ["finished"] * 2 and [r["steps"] for r in answer.json["runs"]] == [4, 4]
    assert answer.json["samples"] == 8 and "side by side: board 1 2" in answer.out
    rows = {r["key"]: r for r in own.here("board", *runs, "--json").well().json["rows"]}
    assert rows["what.method"]["values"] == ["LoRA", "Textual inversion"] and not rows["train.batch_size"]["differs"]
    for recipes in ("lora", "lora,lora", "lora,nothing", "a,b,c,d,e", ""):
        assert own.here("duel", "shapes", "--recipes", recipes).complaint()
    assert len(own.here("runs", "--json").well().json) == 2
