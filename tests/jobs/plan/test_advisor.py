"""Advice: what suits, within memory, among what is there; every reason with its source."""

import itertools

import pytest

from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.jobs.plan.advice_rules import GOALS, HINTS, RULES
from studio.jobs.plan.advisor import Situation, advise, advise_for, machine_gib
from studio.recipes import list_recipes
from studio.store import Workspace
from tests.fixtures.tiny import images

HERE = ("lora", "textual-inversion", "pivotal")
ALL = (*HERE, "dreambooth-lora", "dreambooth-full", "full", "lokr", "oft")


def _cost(recipe, settings):
    part = next((int(s.split("=")[1]) for s in settings), 8)
    return {"full": 30.0, "dreambooth-full": 30.0, "textual-inversion": 2.0}.get(recipe, 4.0) + 0.5 * part, 8


def _advise(num_images=20, goal="style", memory_gib=100.0, recipes=HERE):
    return advise(Situation(num_images, goal, memory_gib, recipes), _cost)


@pytest.mark.parametrize(
    ("situation", "recipe"),
    [
        ({"goal": "style"}, "lora"),
        ({"goal": "modality", "num_images": 60}, "lora"),
        ({"goal": "subject", "num_images": 5}, "lora"),
        ({"goal": "subject", "num_images": 5, "recipes": ALL}, "dreambooth-lora"),
        ({"goal": "subject", "num_images": 5, "recipes": ("textual-inversion",)}, "textual-inversion"),
        ({"goal": "modality", "num_images": 40, "recipes": ("ddpm-lora", "ddpm-full")}, "ddpm-lora"),
        ({"goal": "modality", "num_images": 400, "recipes": ("ddpm-lora", "ddpm-full")}, "ddpm-full"),
        ({"goal": "modality", "num_images": 3, "recipes": ("lora",)}, "lora"),
        ({"goal": "style", "memory_gib": 3.0}, "textual-inversion"),
    ],
)
def test_what_suits_is_chosen_among_what_is_there(situation, recipe):
    assert _advise(**situation).recipe == recipe


def test_a_subject_is_advised_dreambooth_though_its_noun_is_still_to_come(tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")
    create_dataset(workspace, "shapes", [images(tmp_path / "pictures", 5)])
    assert advise_for(workspace, "shapes", "subject")["recipe"] == "dreambooth-lora"


def test_no_recipe_is_named_that_is_not_there():
    for goal, count, memory, recipes in itertools.product(GOALS, (1, 5, 9, 30, 100, 500), (1.0, 5.0, 100.0), (HERE, ALL, ("pivotal",))):
        advice = _advise(count, goal, memory, recipes)
        assert {advice.recipe, *(r for r, _ in advice.instead)} <= set(recipes) and advice.recipe not in dict(advice.instead)
        assert all(reason.text.endswith(".") and reason.source for reason in (*advice.reasons, *(r for _, r in advice.instead)))
        assert advice.fits == (advice.needs_gib <= memory) and (advice.fits or any("smaller base" in w for w in advice.warnings))
        assert advice.preset == ("quick" if count <= 8 else "balanced")


def test_a_batch_goes_in_parts_where_memory_is_short():
    assert _advise(memory_gib=8.0).settings == ("data.crops=4",)
    advice = _advise(memory_gib=6.0)
    assert advice.recipe == "lora" and "train.micro_batch=4" in advice.settings and advice.needs_gib == 6.0
    assert any("In parts of 4" in r.text for r in advice.reasons)
    none = _advise(memory_gib=0.5)
    assert not none.fits and "smaller base" in none.warnings[0] and not any("micro_batch" in s for s in none.settings)


def test_many_pictures_may_train_everything_where_memory_allows():
    assert "full" in dict(_advise(300, "modality", recipes=ALL).instead)
    assert "full" not in dict(_advise(300, "modality", 20.0, ALL).instead) and "full" not in dict(
        _advise(100, "modality", recipes=ALL).instead
    )


@pytest.mark.parametrize("memory_gib", [0, -2, float("nan"), float("inf"), 1e9])
def test_memory_is_a_number_of_gib(memory_gib):
    with pytest.raises(StudioError, match="more than 0 and at most"):
        _advise(memory_gib=memory_gib)


@pytest.mark.parametrize(
    ("situation", "said"),
    [
        ({"goal": "art"}, "choose one of style, subject, modality"),
        ({"num_images": 0}, "no pictures"),
        ({"recipes": ()}, "no recipe here supports"),
    ],
)
def test_what_cannot_be_advised_is_said(situation, said):
    with pytest.raises(StudioError, match=said):
        _advise(**situation)


def test_a_recipe_without_a_rule_speaks_for_itself(monkeypatch):
    monkeypatch.setattr("studio.jobs.plan.advisor.RULES", ())
    advice = _advise(recipes=("textual-inversion",))
    assert advice.recipe == "textual-inversion" and "arXiv:2208.01618" in advice.reasons[0].source


def test_advice_for_a_dataset_can_be_trained(tmp_path):
    from studio.models.bases import find_base
    from studio.recipes import Choice, resolve, stand_in

    workspace = Workspace.at(tmp_path / "workspace")
    dataset = create_dataset(workspace, "shapes", [images(tmp_path / "pictures", 12)])
    for goal in GOALS:
        told = advise_for(workspace, "shapes", goal)
        assert told["num_images"] == 12 and told["memory_gib"] == round(machine_gib(workspace), 2)
        choice = Choice(
            dataset, find_base("starter"), told["recipe"], told["preset"], settings=[*stand_in(told["recipe"]), *told["settings"]]
        )
        assert any("class noun" in w for w in told["warnings"]) == bool(stand_in(told["recipe"]))
        assert resolve(choice).recipe == told["recipe"] in list_recipes()
    tight = advise_for(workspace, "shapes", "style", 0.62)
    assert any(s.startswith("train.micro_batch=") for s in tight["settings"]) and tight["fits"]
    for words, said in (
        (("nobody", "style"), "nobody"),
        (("shapes", "nothing"), "--goal nothing"),
        (("shapes", "style", 0.0), "--memory 0"),
    ):
        with pytest.raises(StudioError, match=said):
            advise_for(workspace, *words)


def test_every_sentence_is_one_and_has_a_source():
    for reason in [*(r.reason for r in RULES), *(h.reason for h in HINTS)]:
        assert reason.text[0].isupper() and reason.text.count(". ") == 0 and reason.source
