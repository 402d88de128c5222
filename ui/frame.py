"""What every screen is made of: own widgets on `gr.HTML`, refreshing when a tab is shown, and texts that are safe to show."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.errors import one_line

QUIET = {"api_visibility": "private", "show_progress": "hidden"}  # of events that nobody waits for and no client calls


def widget(name: str, value: Any = None, events: Sequence[str] = (), elem_id: str | None = None) -> gr.HTML:
    """Our own widget: `static/<name>.js` fills a static template; data reaches it as `props.value`, never as markup.

    The names in `events` can be listened to: JavaScript `trigger('restore', {...})` calls what `widget.restore(fn)` was given.
    """
    told = f"const events = [{', '.join(repr(e) for e in events)}];"  # quoted names are what Gradio looks for
    mount = (
        f"import('/studio/static/{name}.js').then(m => m.mount({{root: element.querySelector('.studio-widget'), props, trigger, watch}}))"
    )
    return gr.HTML(
        value=value,
        html_template=f"<div class='studio-widget {name.replace('_', '-')}' data-state='loading'></div>",
        js_on_load=f"{told} {mount};",
        apply_default_css=False,
        elem_id=elem_id or name.replace("_", "-"),
        container=False,
        padding=False,
    )


def safe(error: BaseException | str) -> str:
    """One line for a Gradio toast, which would run markup."""
    return html.escape(error if isinstance(error, str) else one_line(error))


@dataclass(frozen=True)
class Showing:
    """What is refreshed when a tab is shown."""

    tab: str
    refresh: Callable
    inputs: Any
    outputs: Any


_showing: list[Showing] = []


def on_show(tab: str, refresh: Callable, inputs: Any = None, outputs: Any = None) -> None:
    """Have `refresh(*inputs)` fill `outputs` when the page loads and whenever the tab is opened."""
    _showing.append(Showing(tab, refresh, inputs, outputs))


def take_showing() -> list[Showing]:
    """All that was registered since the last call."""
    taken = list(_showing)
    _showing.clear()
    return taken
