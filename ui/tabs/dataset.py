"""The Dataset screen: which dataset is open, its pictures, and what is done with their captions."""

from typing import Any

import gradio as gr

from ui.desk import Desk
from ui.frame import QUIET, SCRIPTS, on_show, widget

# What a button does stands in dataset_dialogs.js; stock buttons, so that they look like those of the other screens.
_ACT = f"() => import(location.origin + '{SCRIPTS}/dataset_dialogs.js').then(m => m.act('{{name}}'))"
_OPEN = "name => { window.studio.place.set({dataset: name || null, filter: null}); }"
BUTTONS = {"new": "New dataset", "demo": "Load demo", "rename": "Rename", "export": "Export", "delete": "Delete"}
FOR_AN_OPEN_ONE = ("new", "rename", "export", "delete")  # without one, the screen itself is the way to another


def build(desk: Desk) -> None:
    """The screen; its widgets ask for what they show themselves."""

    def choices() -> list[tuple[str, str]]:
        return [(kept.dataset.name, kept.dataset.root.name) for kept in desk.views.shelf.all()]

    def refresh() -> Any:
        return gr.Dropdown(choices=choices())

    def follow(event: gr.EventData) -> list[Any]:
        found = choices()
        is_open = event.dataset in dict(found).values()
        picked = gr.Dropdown(choices=found, value=event.dataset if is_open else None, visible=is_open)
        return [picked, *[gr.Button(visible=is_open)] * len(FOR_AN_OPEN_ONE)]

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
    grid.listed(follow, None, [picker, *(buttons[name] for name in FOR_AN_OPEN_ONE)], queue=False, **QUIET)
    on_show(lambda event: event(refresh, None, picker, queue=False, **QUIET))
