"""The Train screen: what to train on the left, one run on the right. Layout and events only."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.models.bases import Base
from studio.recipes import worded
from studio.spec import RunSpec
from ui.controls import Form
from ui.desk import Desk
from ui.frame import LATEST, QUIET, ask, on_show, safe, widget
from ui.train_form import (
    PRESETS,
    Draft,
    TrainForm,
    about,
    base_choices,
    dataset_choices,
    dump,
    in_plain_words,
    preset_choices,
    recipe_choices,
    undump,
)  # fmt: skip
from ui.training import start_training

PLAIN = ("dataset", "base", "recipe", "preset", "name", "start_from")  # of a Draft, in the order of the page's inputs
# A reply {asked, wish, plain, defaults, settings, label, levels, note, ready} meets the form as it is by now. If somebody has changed it
# since it `asked`, the reply is about something else: nothing is touched, choices least of all (somebody may be about to click one), but
# what another screen has chosen (`wish`, by place among the plain ones) where that is as it was; and the form asks again. Without `asked`
# all of it is a wish, always done.
MEET = """(reply, ...now) => {
  const { asked, wish, plain, defaults, settings, label, levels, note, ready } = JSON.parse(reply);
  const text = value => String(value ?? '').trim();
  const rest = [defaults, ...settings, { __type__: 'update', label }, levels, note, { __type__: 'update', interactive: ready }];
  const isAsItWas = i => text(asked[i]) === text(now[i]), still = { __type__: 'update' };
  if (!asked || asked.every((_, i) => isAsItWas(i))) return [...rest, ...plain];
  window.studio?.askAgain?.();
  return [...rest.map(() => still), ...plain.map((update, i) => wish.includes(i) && isAsItWas(i) ? update : still)];
}"""
# Which dataset is chosen where none is: that of the address, which is asked about by itself and is not to be met by another one.
ARRIVE = "(...now) => [now[0] || new URLSearchParams(location.search).get('dataset') || '', ...now.slice(1)]"
TELL_DATASET = "value => { window.studio?.place.set({ dataset: value || null }); return value; }"


def build(desk: Desk) -> None:
    """The screen."""
    page = TrainPage(desk)
    with gr.Row(elem_id="train-body"):
        with gr.Column(scale=4, min_width=300, elem_id="train-form"):
            page.draw()
        with gr.Column(scale=9, min_width=320):
            page.live = widget("live_run", value={}, events=("clone", "extend", "place"))
    page.listen()


class TrainPage:
    """The controls of the screen, and what happens when they are used."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.live = desk, None
        self.plain: dict[str, Any] = {}

    def draw(self) -> None:
        """The form: six choices, the folded rest, what it will cost, and the button."""
        workspace = self.desk.workspace
        named = {"interactive": True, "allow_custom_value": True, "min_width": 140}  # any value: the lists change while the page is open
        with gr.Row(elem_id="train-what"):
            self.plain["dataset"] = gr.Dropdown(dataset_choices(workspace), value=None, label="Dataset", elem_id="train-dataset", **named)
            self.plain["base"] = gr.Dropdown(base_choices(workspace), value="starter", label="Base", elem_id="train-base", **named)
        recipes = recipe_choices(workspace, "starter")
        told = about(workspace, recipes[0][1], "starter")
        self.plain["recipe"] = gr.Radio(recipes, value=recipes[0][1], label="Method", info=told, elem_id="train-recipe", interactive=True)
        self.help = widget("train_help", events=("advice",))
        self.plain["preset"] = gr.Radio(preset_choices({}), value=PRESETS[0], label="Preset", elem_id="train-preset", interactive=True)
        noun = gr.Textbox(
            label="Class noun", info="What your pictures show, in one to three words: dog, teapot", max_lines=1, elem_id="train-noun",
            interactive=True, visible=False,
        )  # fmt: skip
        prompts = gr.Textbox(
            label="Preview prompts", info="One per line; drawn with the base and while it learns", lines=3, max_lines=4,
            elem_id="train-prompts", interactive=True,
        )  # fmt: skip
        self.plain["name"] = gr.Textbox(
            label="Name", placeholder="automatic", max_lines=1, max_length=120, elem_id="train-name", interactive=True
        )
        self.form = Form({"prior.class_noun": noun, "preview.prompts": prompts})
        with gr.Accordion(self._advanced(0, self.form.foreign(recipes[0][1])), open=False, elem_id="train-advanced") as self.advanced:
            self.reset = gr.Button("Reset to the preset", size="sm", elem_id="train-reset")
            self.form.draw("set")
            self.levels = widget("noise_levels", value={})
        self.plain["start_from"] = gr.Textbox(visible=False)
        self.defaults = gr.Textbox(visible=False)
        self.note = widget("train_note", value={}, events=("forget", "again"))
        self.button = gr.Button("Train adapter", variant="primary", elem_id="train-button", interactive=False)  # until there is a dataset
        self.train = TrainForm(workspace, self.form, self._read)

    def _read(self, dataset: str, base: Base, spec: RunSpec) -> str:
        """Have all captions, as this run would train on them, looked at as the base reads them."""
        kept = self.desk.views.shelf.open(dataset)
        return self.desk.readings.ask(base, {row.file: worded(spec, kept.caption(row)) for row in kept.dataset.rows})

    def _advanced(self, num_changed: int, foreign: set[str]) -> str:
        number = len([s for s in self.form.settings if s.name not in foreign and s.name not in self.form.elsewhere])
        return f"Advanced ({number})" + (f" · {num_changed} changed" if num_changed else "")

    def _control(self, name: str, value: Any, foreign: set[str]) -> Any:
        """What a setting's control gets: its value, and for a setting that not every choice has, whether it is there at all."""
        return {"__type__": "update", "value": value, "visible": name not in foreign} if name in self.form.can_be_foreign else value

    @property
    def inputs(self) -> list[Any]:
        return [*(self.plain[name] for name in PLAIN), self.defaults, *self.form.controls]

    def read(self, values: tuple) -> Draft:
        """The draft that the inputs hold."""
        plain, rest = values[: len(PLAIN)], values[len(PLAIN) :]
        told = {name: str(value or "") for name, value in zip(PLAIN, plain, strict=True)}
        return Draft(**told, values=self.form.read(rest[1:]), defaults=undump(rest[0]))

    def show(self, draft: Draft, note: dict[str, Any], asked: tuple | None = None, wish: tuple[int, ...] = ()) -> str:
        """A reply for `MEET`: every control; of the plain ones what there is to choose from, and the value where it is not as `asked`."""
        before = self.read(asked) if asked else None
        told = {name: {} if before and getattr(draft, name) == getattr(before, name) else {"value": getattr(draft, name)} for name in PLAIN}
        for name in ("dataset", "base"):
            told[name] = {key: value or None for key, value in told[name].items()}
        workspace = self.desk.workspace
        told["dataset"]["choices"] = dataset_choices(workspace)
        told["base"]["choices"] = base_choices(workspace)
        told["recipe"] |= {"choices": recipe_choices(workspace, draft.base), "info": about(workspace, draft.recipe, draft.base)}
        told["preset"]["choices"] = preset_choices(note.get("costs", {}))
        foreign = self.train.foreign(draft)
        reply = {
            "asked": asked,
            "wish": wish,
            "plain": [{"__type__": "update", **told[name]} for name in PLAIN],
            "defaults": dump(draft.defaults),
            "settings": [self._control(s.name, draft.values.get(s.name), foreign) for s in self.form.settings],
            "label": self._advanced(note.get("num_changed", 0), foreign),
            "levels": note.pop("levels", {}),
            "note": note | {"chosen": {name: getattr(draft, name) for name in ("dataset", "base", "recipe")}},
            "ready": bool(draft.dataset),
        }
        return dump(reply)

    def _follow(self, draft: Draft, values: tuple) -> str:
        before = self.read(values)
        wish = tuple(i for i, name in enumerate(PLAIN) if getattr(draft, name) != getattr(before, name))
        return self.show(*self.train.refresh(draft), asked=values, wish=wish)

    def refresh(self, *values: Any) -> str:
        """After a change: what follows from it."""
        return self._follow(self.read(values), values)

    def arrive(self, *values: Any) -> str:
        """When the screen is shown: a dataset is chosen where there is one."""
        draft = self.read(values)
        known = [name for _, name in dataset_choices(self.desk.workspace)]
        if draft.dataset not in known:
            draft.dataset = known[0] if known else ""
        return self._follow(draft, values)

    def take_place(self, event: gr.EventData, *values: Any) -> str:
        """Another screen has chosen a dataset or a base."""
        draft = self.read(values)
        asked = {"dataset": event.dataset, "base": getattr(event, "base", "")}
        known = {"dataset": dataset_choices(self.desk.workspace), "base": base_choices(self.desk.workspace)}
        chosen = {key: value for key, value in asked.items() if value in [name for _, name in known[key]]}
        return self._follow(replace(draft, **chosen), values)

    def reset_settings(self, *values: Any) -> str:
        """Back to what recipe and preset say: a wish, done also when the button is pressed straight out of a field."""
        return self.show(*self.train.refresh(replace(self.read(values), values={}, defaults={})))

    def take_advice(self, event: gr.EventData, *values: Any) -> str:
        """The recipe, preset and settings that the advisor recommends: a wish."""
        draft = replace(self.read(values), recipe=str(event.recipe), preset=str(event.preset), values={}, defaults={}, start_from="")
        return self.show(*self.train.take(draft, [str(s) for s in event.settings]))

    def forget_start(self, *values: Any) -> str:
        """Do not continue from another run."""
        return self._follow(replace(self.read(values), start_from=""), values)

    def clone(self, event: gr.EventData) -> str:
        """The settings of a run, all of them."""
        return self._fill(event.run, extend=False)

    def extend(self, event: gr.EventData) -> str:
        """The settings of a run, to go on from its adapter."""
        return self._fill(event.run, extend=True)

    def _fill(self, run: str, extend: bool) -> str:
        try:
            return self.show(*self.train.draft_of(run, extend))
        except (StudioError, OSError) as error:
            raise gr.Error(safe(in_plain_words(error)), print_exception=False) from None

    def start(self, request: gr.Request, *values: Any) -> tuple[Any, Any]:
        """Train: the run that is shown from now on, or what is wrong, told beside the button. StudioError without a dataset."""
        draft = self.read(values)
        try:
            if not draft.dataset:
                raise StudioError("choose a dataset first: import pictures or load a demo on the Dataset screen")
            run = start_training(self.desk, self.train.request(draft), page=request.session_hash or "")
        except (StudioError, OSError) as error:
            return gr.skip(), self.train.refresh(draft)[1] | {"error": in_plain_words(error)}
        return {"run": run.id}, gr.skip()

    def listen(self) -> None:
        """Tie events to what they do."""
        chosen = [self.plain[name].input for name in ("dataset", "base", "recipe", "preset")]
        left = [control.blur if isinstance(control, gr.Textbox) else control.input for control in self.form.controls]
        follow = self._answer(self.refresh, self.inputs)
        follow(partial(gr.on, [*chosen, *left]), **LATEST)
        follow(self.note.again)
        self.plain["dataset"].input(None, self.plain["dataset"], self.plain["dataset"], js=TELL_DATASET, **QUIET)
        on_show(partial(self._answer(self.arrive, self.inputs), js=ARRIVE))
        self._answer(self.reset_settings, self.inputs)(self.reset.click)
        self._answer(self.forget_start, self.inputs)(self.note.forget)
        self._answer(self.clone)(self.live.clone)
        self._answer(self.extend)(self.live.extend)
        self._answer(self.take_place, self.inputs)(self.live.place)
        self._answer(self.take_advice, self.inputs)(self.help.advice)
        self.button.click(self.start, self.inputs, [self.live, self.note], **QUIET)

    def _answer(self, act: Callable, inputs: Any = None) -> Callable[[Callable], None]:
        """What has `act` answer an event, and the form meet its reply."""
        plain = [self.plain[name] for name in PLAIN]
        outputs = [self.defaults, *self.form.controls, self.advanced, self.levels, self.note, self.button, *plain]
        return partial(ask, act=act, inputs=inputs, meet=(MEET, self.inputs, outputs))
