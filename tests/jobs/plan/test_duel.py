"""Duels: equal budgets, settings that recipes dictate left to them, and nothing made when anything is wrong."""

import json
import shutil

import pytest

from studio import recipes
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.jobs.plan.duel import Wanted, create_duel, describe, plan_duel, recipes_for
from studio.jobs.runs.folders import list_runs
from studio.store import ASSETS, Workspace
from tests.fixtures.tiny import images

PAIR = ["lora", "textual-inversion"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("duel")
    workspace = Workspace.at(root / "workspace")
    create_dataset(workspace, "shapes", [images(root / "pictures", 12)])
    return workspace


@pytest.fixture()
def unequal(tmp_path, monkeypatch):
    """A recipe like LoRA that dictates a small batch, few samples and other evaluation, and one for another kind of base alone."""
    shutil.copytree(ASSETS / "presets", tmp_path / "presets")
    lora = json.loads((tmp_path / "presets" / "lora.json").read_text())
    for base in lora["bases"].values():
        base["settings"] |= {"train.batch_size": 3, "train.ema_decay": 0.5, "evaluate.max_images": 2, "data.flip": True}
        base["samples"] = dict.fromkeys(base["samples"], 90)
    (tmp_path / "presets" / "small.json").write_text(json.dumps(lora | {"title": "Small"}))
    (tmp_path / "presets" / "foreign.json").write_text(json.dumps(lora | {"bases": {"elsewhere": lora["bases"]["sd"]}}))
    monkeypatch.setattr(recipes, "ASSETS", tmp_path)


def _equal(specs):
    for group, names in (
        ("train", ("steps", "batch_size", "seed", "snapshot_steps", "early_stop")),
        ("preview", ("at_steps", "seed", "steps")),
    ):
        for name in names:
            assert len({json.dumps(getattr(getattr(s, group), name)) for s in specs}) == 1, (group, name)
    assert len({s.evaluate.model_dump_json() for s in specs}) == 1


def test_a_subjects_noun_is_for_the_recipe_about_it_alone(workspace):
    told = {row["recipe"]: row for row in recipes_for(workspace, "shapes", "starter", "quick")}
    assert told["dreambooth-lora"]["subject"] and not told["dreambooth-lora"]["refusal"] and not told["lora"]["subject"]
    with pytest.raises(StudioError, match=r"prior\.class_noun"):
        plan_duel(workspace, Wanted("shapes", ["lora", "dreambooth-lora"]))
    duel = plan_duel(workspace, Wanted("shapes", ["lora", "dreambooth-lora"], settings=["prior.class_noun=disc"]))
    assert duel.specs["dreambooth-lora"].prior.class_noun == "disc" and duel.specs["lora"].prior.class_noun == ""
    _equal(duel.specs.values())


def test_runs_of_a_duel_have_the_same_budget_and_their_own_rest(workspace, unequal):
    before = len(list_runs(workspace))
    duel, runs = create_duel(workspace, Wanted("shapes", ["lora", "small", "pivotal"]))
    specs = [run.spec() for run in runs]
    _equal(specs)
    assert [s.recipe for s in specs] == ["lora", "small", "pivotal"] and len({s.name for s in specs}) == 3
    assert [s.train.batch_size for s in specs] == [3] * 3 and not specs[0].train.early_stop
    assert duel.budget() == {"samples": 3009, "batch_size": 3, "steps": 1003}  # the most samples: LoRA's quick 188 steps of 16
    assert [s.train.ema_decay for s in specs] == [0.99, 0.5, 0.99] and [s.data.flip for s in specs] == [False, True, False]
    assert len(list_runs(workspace)) == before + 3 and describe(workspace, duel)["seconds"] > 0


def test_typed_settings_are_for_all_and_those_of_a_method_for_who_has_them(workspace):
    typed = ["train.steps=5", "train.batch_size=2", "method.rank=3", "train.early_stop=true", "preview.seed=11"]
    specs = list(plan_duel(workspace, Wanted("shapes", PAIR, settings=typed)).specs.values())
    _equal(specs)
    assert (specs[1].train.steps, specs[1].train.batch_size, specs[0].methods[0].rank, specs[1].preview.seed) == (5, 2, 3, 11)
    assert all(s.train.early_stop for s in specs)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted("shapes", ["lora"]), "1 given"),
        (Wanted("shapes", []), "0 given"),
        (Wanted("shapes", [*PAIR, "pivotal", "small", "foreign"]), "5 given"),
        (Wanted("shapes", ["lora", "lora"]), "lora is named twice"),
        (Wanted("shapes", ["lora", "nothing"]), "no such recipe"),
        (Wanted("shapes", ["lora", "../lora"]), "no such recipe"),
        (Wanted("shapes", ["lora", "foreign"]), "no presets for this kind of base"),
        (Wanted("nobody", PAIR), "nobody"),
        (Wanted("shapes", PAIR, base="/nowhere"), "nothing there"),
        (Wanted("shapes", PAIR, preset="slow"), "no such preset"),
        (Wanted("shapes", PAIR, settings=["train.nothing=1"]), "no such setting"),
        (Wanted("shapes", PAIR, settings=["train.steps=-1"]), "train.steps"),
        (Wanted("shapes", PAIR, settings=["name=x"]), "named by what they try"),
        (Wanted("shapes", PAIR, settings=["nonsense"]), "key=value"),
    ],
)
def test_a_duel_that_cannot_be_makes_nothing(workspace, unequal, wanted, said):
    before = len(list_runs(workspace))
    with pytest.raises(StudioError, match=said):
        create_duel(workspace, wanted)
    assert len(list_runs(workspace)) == before


def test_a_duel_that_breaks_off_leaves_nothing(workspace, monkeypatch):
    from studio.jobs.plan import duel as module

    before, real = len(list_runs(workspace)), module.create_run

    def fail_at_second(place, request):
        if request.recipe != "lora":
            raise OSError(28, "full")
        return real(place, request)

    monkeypatch.setattr(module, "create_run", fail_at_second)
    with pytest.raises(OSError, match="full"):
        create_duel(workspace, Wanted("shapes", PAIR))
    assert len(list_runs(workspace)) == before


def test_what_a_base_cannot_carry_is_told_beforehand(workspace, unequal):
    rows = {r["recipe"]: r["refusal"] for r in recipes_for(workspace, "shapes", "starter", "quick")}
    assert rows["lora"] == "" and "no presets for this kind of base, only for elsewhere" in rows["foreign"]
    assert all(r["refusal"] == "" for r in recipes_for(workspace, "", "", "quick"))
