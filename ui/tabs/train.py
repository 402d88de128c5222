"""The Train screen: what to train on the left, one run on the right. Layout and events only."""

from dataclasses import replace
from typing import Any

import gradio as gr

from studio.errors import StudioError
from ui.controls import Form
from ui.desk import Desk
from ui.frame import QUIET, on_show, widget
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
        recipes = recipe_choices()
        self.plain["recipe"] = gr.Radio(
            recipes, value=recipes[0][1], label="Method", info=about(recipes[0][1]), elem_id="train-recipe", interactive=True
        )
        self.plain["preset"] = gr.Radio(preset_choices({}), value=PRESETS[0], label="Preset", elem_id="train-preset", interactive=True)
        prompts = gr.Textbox(
            label="Preview prompts", info="One per line; drawn with the base and while it learns", lines=3, max_lines=4,
            elem_id="train-prompts", interactive=True,
        )  # fmt: skip
        self.plain["name"] = gr.Textbox(
            label="Name", placeholder="automatic", max_lines=1, max_length=120, elem_id="train-name", interactive=True
        )
        self.form = Form({"preview.prompts": prompts})
        with gr.Accordion(self._advanced(0), open=False, elem_id="train-advanced") as self.advanced:
            self.reset = gr.Button("Reset to the preset", size="sm", elem_id="train-reset")
            self.form.draw("set")
        self.plain["start_from"] = gr.Textbox(visible=False)
        self.defaults = gr.Textbox(visible=False)
        self.note = widget("train_note", value={}, events=("forget",))
        self.button = gr.Button("Train adapter", variant="primary", elem_id="train-button", interactive=False)  # until there is a dataset
        self.train = TrainForm(workspace, self.form)

    def _advanced(self, num_changed: int) -> str:
        number = len(self.form.settings) - len(self.form.elsewhere)
        return f"Advanced ({number})" + (f" · {num_changed} changed" if num_changed else "")

    @property
    def inputs(self) -> list[Any]:
        return [*(self.plain[name] for name in PLAIN), self.defaults, *self.form.controls]

    @property
    def outputs(self) -> list[Any]:
        """Everything `show` fills."""
        return [*self.inputs, self.advanced, self.note, self.button]

    def read(self, values: tuple) -> Draft:
        """The draft that the inputs hold."""
        plain, rest = values[: len(PLAIN)], values[len(PLAIN) :]
        told = {name: str(value or "") for name, value in zip(PLAIN, plain, strict=True)}
        return Draft(**told, values=self.form.read(rest[1:]), defaults=undump(rest[0]))

    def show(self, draft: Draft, note: dict[str, Any], before: Draft | None = None) -> list[Any]:
        """Updates of `outputs`; what is as `before` is left alone, since a person may be typing there meanwhile."""
        same = before or Draft(preset="", recipe="", base="", dataset=" ", name=" ")
        plain = {name: getattr(draft, name) if getattr(draft, name) != getattr(same, name) else gr.skip() for name in PLAIN}
        for name, choices in (("dataset", dataset_choices), ("base", base_choices)):
            value = {} if getattr(draft, name) == getattr(same, name) else {"value": getattr(draft, name) or None}
            plain[name] = gr.Dropdown(choices=choices(self.desk.workspace), **value)
        plain["recipe"] = gr.Radio(value=draft.recipe, info=about(draft.recipe))
        plain["preset"] = gr.Radio(choices=preset_choices(note.get("costs", {})), value=draft.preset)
        settings = [draft.values[s.name] if draft.values.get(s.name) != same.values.get(s.name) else gr.skip() for s in self.form.settings]
        advanced = gr.Accordion(label=self._advanced(note.get("num_changed", 0)))
        button = gr.Button(interactive=bool(draft.dataset))
        return [*(plain[name] for name in PLAIN), dump(draft.defaults), *settings, advanced, note, button]

    def _follow(self, draft: Draft, values: tuple) -> list[Any]:
        return self.show(*self.train.refresh(draft), before=self.read(values))

    def refresh(self, *values: Any) -> list[Any]:
        """After a change: what follows from it."""
        return self._follow(self.read(values), values)

    def arrive(self, *values: Any) -> list[Any]:
        """When the screen is shown: a dataset is chosen where there is one."""
        draft = self.read(values)
        known = [name for _, name in dataset_choices(self.desk.workspace)]
        if draft.dataset not in known:
            draft.dataset = known[0] if known else ""
        shown = self.show(*self.train.refresh(draft))
        shown[PLAIN.index("base")] = gr.Dropdown(choices=base_choices(self.desk.workspace))  # its value may just be chosen from elsewhere
        return shown

    def take_place(self, event: gr.EventData, *values: Any) -> list[Any]:
        """Another screen has chosen a dataset or a base."""
        draft = self.read(values)
        asked = {"dataset": event.dataset, "base": getattr(event, "base", "")}
        known = {"dataset": dataset_choices(self.desk.workspace), "base": base_choices(self.desk.workspace)}
        chosen = {key: value for key, value in asked.items() if value in [name for _, name in known[key]]}
        if not chosen:
            return [gr.skip()] * len(self.outputs)
        return self.show(*self.train.refresh(replace(draft, **chosen)))

    def reset_settings(self, *values: Any) -> list[Any]:
        """Back to what recipe and preset say."""
        draft = self.read(values)
        draft.values, draft.defaults = {}, {}
        return self._follow(draft, values)

    def forget_start(self, *values: Any) -> list[Any]:
        """Do not continue from another run."""
        draft = self.read(values)
        draft.start_from = ""
        return self._follow(draft, values)

    def clone(self, event: gr.EventData) -> list[Any]:
        """The settings of a run, all of them."""
        return self._fill(event.run, extend=False)

    def extend(self, event: gr.EventData) -> list[Any]:
        """The settings of a run, to go on from its adapter."""
        return self._fill(event.run, extend=True)

    def _fill(self, run: str, extend: bool) -> list[Any]:
        try:
            return self.show(*self.train.draft_of(run, extend))
        except (StudioError, OSError) as error:
            return [*[gr.skip()] * (len(self.outputs) - 2), {"error": in_plain_words(error)}, gr.skip()]

    def start(self, request: gr.Request, *values: Any) -> tuple[Any, Any]:
        """Train: the run that is shown from now on, or what is wrong, told beside the button."""
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
        quiet = {"queue": False, **QUIET}
        on_show("train", self.arrive, self.inputs, self.outputs)
        self.plain["dataset"].input(None, self.plain["dataset"], self.plain["dataset"], js=TELL_DATASET, **QUIET)
        for name in ("dataset", "base", "recipe", "preset"):
            self.plain[name].input(self.refresh, self.inputs, self.outputs, trigger_mode="always_last", **quiet)
        for control in self.form.controls:
            left = control.blur if isinstance(control, gr.Textbox) else control.input
            left(self.refresh, self.inputs, self.outputs, trigger_mode="always_last", **quiet)
        self.reset.click(self.reset_settings, self.inputs, self.outputs, **quiet)
        self.note.forget(self.forget_start, self.inputs, self.outputs, **quiet)
        self.live.clone(self.clone, None, self.outputs, **quiet)
        self.live.extend(self.extend, None, self.outputs, **quiet)
        self.live.place(self.take_place, self.inputs, self.outputs, **quiet)
        self.button.click(self.start, self.inputs, [self.live, self.note], **quiet)
