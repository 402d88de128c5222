"""Recipes in their order, and the card of each: whole, or as whole as its file is."""

import json
import shutil

import pytest

from studio import recipes
from studio.errors import StudioError
from studio.method_cards import find_card, for_page, in_lines, list_cards, read_card
from studio.recipes import list_recipes
from studio.store import ASSETS


@pytest.fixture()
def folder(tmp_path, monkeypatch):
    """The folder of recipes, one's own."""
    shutil.copytree(ASSETS / "presets", tmp_path / "presets")
    monkeypatch.setattr(recipes, "ASSETS", tmp_path)
    return tmp_path / "presets"


def _change(folder, name, **values):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_recipes_come_in_their_order(folder):
    _change(folder, "lora", order=999)
    known = list_recipes()
    assert known.index("textual-inversion") < known.index("pivotal") and known[-1] == "lora"
    values = json.loads((folder / "lora.json").read_text())
    del values["order"]
    (folder / "unordered.json").write_text(json.dumps(values))
    assert list_recipes()[-1] == "unordered"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"title": 3}', b'{"title": "x", "about": "y", "methods": {}, "bases": {}}']
)
def test_a_recipe_that_cannot_be_read_is_left_out(folder, content):
    (folder / "broken.json").write_bytes(content)
    assert "broken" not in list_recipes() and "lora" in list_recipes()
    with pytest.raises(StudioError, match="no such recipe"):
        read_card("broken")


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_a_whole_card(name):
    card = read_card(name)
    assert all([card.what, card.family, card.creators, card.source, card.use_when, card.not_when])
    assert 2014 <= card.year <= 2026 and ("arXiv:" in card.source or "doi" in card.source.lower() or "http" in card.source)
    lines = in_lines(card)
    assert card.source in lines and str(card.year) in lines


@pytest.mark.parametrize("methods", [[], [{}], ["lora"], [{"kind": "lora"}, {"kind": "of another day"}]])
def test_a_recipe_of_unknown_methods_is_left_out(folder, methods):
    _change(folder, "lora", methods=methods)
    assert "lora" not in list_recipes() and "textual-inversion" in list_recipes()


def test_a_card_names_only_recipes_that_are_there(folder):
    _change(folder, "lora", card={"related": ["pivotal", "never-heard-of", "lora", 3], "year": "2021", "what": ["x"], "other_names": "y"})
    card = read_card("lora")
    assert card.related == ("pivotal",) and card.year is None and card.other_names == ()
    assert card.what == card.about and card.source.startswith("Hu et al.")
    assert for_page(card)["related"] == [{"recipe": "pivotal", "title": "Pivotal tuning"}]
    _change(folder, "lora", card=None)
    assert read_card("lora").family == "" and len(list_cards()) == len(list_recipes())


def test_an_unknown_recipe_has_no_card():
    assert find_card("never-heard-of") is None and find_card("../lora") is None and find_card("lora").recipe == "lora"
