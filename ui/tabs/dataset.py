"""The Dataset screen: which dataset is open, its pictures, and what is done with their captions."""

import json
import time
from functools import partial

import gradio as gr

from ui.desk import Desk
from ui.frame import QUIET, SCRIPTS, ask, on_show, widget

# What a button does stands in dataset_dialogs.js; stock buttons, so that they look like those of the other screens.
_ACT = f"() => import(location.origin + '{SCRIPTS}/dataset_dialogs.js').then(m => m.act('{{name}}'))"
_OPEN = "name => { window.studio.place.set({dataset: name || null, filter: null}); }"
# The datasets that there are, on the page as it is by now: it shows the one of the address, whichever it was when this was asked.
_MEET = """reply => {
  const { choices, time } = JSON.parse(reply), still = { __type__: 'update' }, frame = (window.studio ||= {});
  if (time < frame.datasetsAt) return [still, still, still, still, still];
  frame.datasetsAt = time;
  const open = new URLSearchParams(location.search).get('dataset'), visible = choices.some(([, value]) => value === open);
  return [{ ...still, choices, value: visible ? open : null, visible }, ...Array(4).fill({ ...still, visible })];
}"""
BUTTONS = {"new": "New dataset", "demo": "Load demo", "rename": "Rename", "export": "Export", "delete": "Delete"}
FOR_AN_OPEN_ONE = ("new", "rename", "export", "delete")  # without one, the screen itself is the way to another


def build(desk: Desk) -> None:
    """The screen; its widgets ask for what they show themselves."""

    def choices() -> list[tuple[str, str]]:
        return [(kept.dataset.name, kept.dataset.root.name) for kept in desk.views.shelf.all()]

    def look() -> str:
        now = time.time()
        return json.dumps({"time": now, "choices": choices()})

    with gr.Row(elem_id="dataset-head"):
        picker = gr.Dropdown(
            choices(),
            value=None,
            visible=False,
            label="Dataset",
            show_label=False,
            container=False,
            elem_id="dataset-picker",
            interactive=True,
            scale=2,
            min_width=200,
        )
        buttons = {}
        for name, label in BUTTONS.items():
            shown = name not in FOR_AN_OPEN_ONE
            buttons[name] = gr.Button(label, elem_id=f"dataset-{name}", size="md", scale=0, min_width=80, visible=shown)
            buttons[name].click(None, None, None, js=_ACT.format(name=name), **QUIET)
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            grid = widget("dataset_grid", events=("listed",))
        with gr.Column(scale=1, min_width=300, elem_id="dataset-side"):
            widget("dataset_tools")
    picker.input(None, picker, None, js=_OPEN, **QUIET)
    follow = partial(ask, act=look, inputs=None, meet=(_MEET, [], [picker, *(buttons[name] for name in FOR_AN_OPEN_ONE)]))
    follow(grid.listed)
    on_show(follow)
