"""Controls are drawn from the spec: every setting has one, and what it shows means what the spec says."""

import ast
from pathlib import Path

import gradio as gr
import pytest
from pydantic import BaseModel

from studio.dataset.intake import create_dataset
from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.models.bases import find_base
from studio.overrides import FIXED, known_settings
from studio.recipes import Choice, resolve
from studio.registry import METHODS
from studio.settings import setting
from studio.spec import RunSpec
from studio.store import Workspace
from tests.fixtures.tiny import images
from ui.controls import Form, all_settings, changed, gather, settings_of
from ui.train_form import Draft, TrainForm

UI = Path(__file__).resolve().parents[2] / "ui"
OTHER = {  # for every setting a value that is not its default, as a person would type it
    "method.rank": "8", "method.alpha": "4.5", "method.lr": "1e-3", "method.targets": "attention", "method.text_encoder": True,
    "method.text_encoder_targets": "q_proj+fc1", "method.text_encoder_lr": "2e-5",
    "method.rslora": "yes", "method.token": "<other>", "method.num_vectors": "3",
    "prior.class_noun": "bar", "prior.token": "zwx", "prior.weight": "0.5", "prior.match": "outputs", "prior.count": "12",
    "prior.prompt": "a bar", "prior.steps": "9", "prior.guidance": "2.5", "train.optimizer": "adamw8bit",
    "method.initial_words": "a head", "method.replaces": "shape", "method.embedding_lr": "2e-4",
    "method.factor": "4", "method.block_size": "16",
    "train.gradient_checkpointing": "on", "train.offload": "off", "train.base_bits": "16", "train.recorded": "off", "train.compile": True,
    "train.steps": "77", "train.batch_size": "3", "train.micro_batch": "2",
    "train.seed": str(2**63 - 1), "train.warmup_share": "0.1", "train.max_grad_norm": "0.5", "train.ema_decay": "0.9",
    "train.min_snr_gamma": "0", "train.timesteps": "logit-normal", "train.timestep_shift": "2.5",
    "train.precision": "fp32", "train.snapshot_every": "11", "train.resume_every": "7",
    "train.early_stop": False,
    "data.mask_floor": "0.25", "data.crops": "2", "data.flip": True, "data.turns": True, "data.colour": "0.08",
    "data.caption_dropout": "0.2", "preview.every": "9",
    "preview.prompts": "a red disc\n<b>bold</b> 7",
    "preview.negative": "123", "preview.seed": "8", "preview.steps": "5", "preview.guidance": "4.25", "preview.sampler": "ddim",
    "evaluate.num_timesteps": "3", "evaluate.max_images": "5", "base.size_px": "32", "base.prediction_type": "v_prediction",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    create_dataset(workspace, "shapes", [images(tmp_path_factory.mktemp("given"), 10)])
    return workspace


@pytest.fixture(scope="module")
def form():
    with gr.Blocks():
        made = Form({"preview.prompts": gr.Textbox(label="Preview prompts")})
        made.draw("set")
    return made


RECIPES = {"method.factor": "lokr", "method.block_size": "oft"}  # of the settings that pivotal tuning lacks


def choice_of(place, name=""):
    """A choice whose recipe has this setting."""
    return Choice(open_dataset(place, "shapes"), find_base("starter"), RECIPES.get(name, "pivotal"), preset="quick")


@pytest.fixture()
def choice(place):
    return choice_of(place)


def about_a_disc(name):
    """What the settings of a subject need before they mean anything: a noun."""
    return ["prior.class_noun=disc"] if name.startswith("prior.") and name != "prior.class_noun" else []


def names(form):
    return [s.name for s in form.settings]


def test_every_setting_of_the_spec_is_drawn_once(form):
    known = set(known_settings(list(METHODS))) - {"name"}
    assert set(names(form)) == known and len(names(form)) == len(known) == len(OTHER)
    assert not set(names(form)) & FIXED
    assert len(form.controls) == len(set(map(id, form.controls))) == len(known)


def test_titles_help_and_units_come_from_the_spec(form):
    for shown in form.settings:
        if shown.name in form.elsewhere:
            continue
        control, field = form.drawn[shown.name], shown.field
        assert control.label.startswith(field.title) and control.info == field.description and control.interactive
        assert control.elem_id == f"set-{shown.name.replace('.', '-')}"
    assert form.drawn["preview.every"].label == "Preview every (steps)"
    assert isinstance(form.drawn["data.flip"], gr.Checkbox)
    assert [c[0] for c in form.drawn["train.precision"].choices] == ["auto", "fp32", "bf16", "fp16"]
    assert [c[0] for c in form.drawn["base.prediction_type"].choices] == ["automatic", "epsilon", "v_prediction"]


def test_what_is_shown_and_not_touched_changes_nothing(form, choice):
    shown = form.shown(resolve(choice))
    assert gather(form.settings, shown, shown) == []


@pytest.mark.parametrize("name", sorted(OTHER))
def test_each_setting_reaches_the_run_and_comes_back(form, place, name):
    choice = choice_of(place, name)
    choice.settings = about_a_disc(name)
    plain = form.shown(resolve(choice))
    assert plain[name] != OTHER[name], "the test needs another value"
    given = gather(form.settings, {**plain, name: OTHER[name]}, plain)
    assert len(given) == 1 and given[0].startswith(f"{name}=")
    choice.settings += given
    back = form.shown(resolve(choice))
    kind = next(s for s in form.settings if s.name == name)
    numeric = {int, float} & set(kind.kinds)
    assert float(back[name]) == float(OTHER[name]) if numeric else back[name] == OTHER[name]


def test_all_settings_at_once_are_the_same_after_gathering_and_filling(form, choice):
    plain = form.shown(resolve(choice))
    choice.settings = gather(form.settings, {n: v for n, v in OTHER.items() if n not in RECIPES}, plain)
    spec = resolve(choice)
    assert spec.train.seed == 2**63 - 1 and spec.preview.negative == "123" and spec.preview.prompts == ["a red disc", "<b>bold</b> 7"]
    shown = form.shown(spec)
    choice.settings = gather(form.settings, shown, plain)
    assert resolve(choice) == spec


@pytest.mark.parametrize("name", [n for n in sorted(OTHER) if n not in {"preview.prompts"}])
def test_an_emptied_control_means_automatic_or_is_told(form, place, name):
    choice = choice_of(place, name)
    shown = next(s for s in form.settings if s.name == name)
    if shown.is_switch:
        return
    choice.settings = about_a_disc(name)
    plain = form.shown(resolve(choice))
    choice.settings += gather(form.settings, {**plain, name: ""}, plain)
    if shown.is_optional or shown.kinds == [str]:
        resolve(choice)
    else:
        with pytest.raises(StudioError, match=name.partition(".")[2]):
            resolve(choice)


@pytest.mark.parametrize(
    "name, typed",
    [
        ("method.lr", "0"), ("method.lr", "NaN"), ("method.lr", "Infinity"), ("method.rank", "-1"), ("method.rank", "2.5"),
        ("train.steps", "abc"),
        ("train.steps", "1e99"), ("train.steps", "0"), ("train.batch_size", "true"), ("train.seed", "9" * 5000),
        ("data.caption_dropout", "2"),
        ("train.precision", "fp7"), ("preview.prompts", "\n".join("abcdefghi")), ("preview.prompts", "x" * 3000), ("base.size_px", "[1]"),
        ("method.rslora", "maybe"), ("preview.guidance", '{"a": 1}'), ("train.steps", "12 steps"), ("train.steps", "0x10"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_in_one_line_that_names_the_setting(place, form, name, typed):
    train = TrainForm(place, form)
    draft, _ = train.refresh(Draft("shapes"))
    draft.values[name] = typed
    draft, note = train.refresh(draft)
    title = next(s.field.title for s in form.settings if s.name == name)
    assert note["error"].startswith(f"{title} (") and name not in note["error"], note["error"]
    assert "\n" not in note["error"] and len(note["error"]) < 400
    assert draft.values[name] == typed, "what was typed stays"


def test_what_was_typed_stays_when_the_preset_changes(place, form):
    train = TrainForm(place, form)
    draft, note = train.refresh(Draft("shapes"))
    quick = draft.values["train.steps"]
    assert note["num_changed"] == 0 and set(note["costs"]) == {"quick", "balanced", "thorough"} and note["text"]
    draft.values["method.rank"] = "3"
    draft.preset = "thorough"
    draft, note = train.refresh(draft)
    assert draft.values["method.rank"] == "3" and note["num_changed"] == 1
    assert int(draft.values["train.steps"]) == 4 * int(quick)
    draft.values["train.batch_size"] = "8"
    draft, _ = train.refresh(draft)
    assert int(draft.values["train.steps"]) == 8 * int(quick), "as many pictures as before, in smaller batches"
    draft.values["train.steps"] = "50"
    draft.preset = "quick"
    draft, _ = train.refresh(draft)
    assert draft.values["train.steps"] == "50"
    request = train.request(draft)
    assert sorted(request.settings) == ["method.rank=3", "train.batch_size=8", "train.steps=50"]
    draft.values["method.rank"] = draft.defaults["method.rank"]
    assert train.refresh(draft)[1]["num_changed"] == 2


def test_a_new_kind_of_field_needs_no_new_code():
    class Spec(BaseModel):
        strength: float | None = setting(None, "Strength", "How much", unit="x", ge=0, le=1)
        mode: bool | None = setting(None, "Mode", "Which")
        words: list[str] = setting([], "Words", "Many")

    strength, mode, words = settings_of(Spec, "new")
    with gr.Blocks():
        drawn = [s.draw(s.name) for s in (strength, mode, words)]
    assert [type(d).__name__ for d in drawn] == ["Textbox", "Dropdown", "Textbox"] and drawn[0].label == "Strength (x)"
    assert strength.assign("0.5") == "new.strength=0.5" and strength.assign(" ") == "new.strength=null"
    assert mode.assign("yes") == "new.mode=true" and words.assign("a\n\n b ") == 'new.words=["a", "b"]'
    assert changed({"new.mode": "no"}, {"new.mode": "automatic"}) == ["new.mode"]


def test_no_screen_names_a_setting_of_a_method():
    methods = [s.name.partition(".")[2] for s in all_settings()["method"] if s.name.startswith("method.")]
    fields = set(methods) - {"alpha", "targets", "token"}  # words of other rooms, too
    for path in sorted(UI.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            words = {node.attr} if isinstance(node, ast.Attribute) else {node.value} if isinstance(node, ast.Constant) else set()
            assert not words & fields, f"{path}:{node.lineno}"


def test_the_spec_says_all_a_control_needs():
    for group in all_settings().values():
        for shown in group:
            assert shown.field.title and shown.field.description, shown.name
    assert RunSpec.model_fields["preset"].annotation.__args__ == ("quick", "balanced", "thorough")
