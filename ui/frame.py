"""What every screen is made of: own widgets on `gr.HTML`, refreshing when a tab is shown, and texts that are safe to show."""

import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import one_line

# Of every event of the screens: no client calls it, it needs no stream to the page (one that breaks has Gradio load the page anew, with all
# that was typed in it), and none is dropped while an earlier answer is under way, as Gradio would. Where answers may cross, they meet the
# page as it is by then. "always_last" is for events without data of their own alone: Gradio would repeat the first one's.
QUIET = {"api_visibility": "private", "show_progress": "hidden", "queue": False, "trigger_mode": "multiple"}
LATEST = QUIET | {"trigger_mode": "always_last"}  # of what is asked again and again: during an answer, only the last waits
STATIC = Path(__file__).parent / "widgets" / "static"
VERSIONED = re.compile("v-[0-9a-f]{16}")
VERSION = "v-" + hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(STATIC.iterdir()))).hexdigest()[:16]
SCRIPTS = f"/studio/static/{VERSION}"  # an address that changes with our scripts and styles: what a browser has of it stays true

# Which choices there are follows from other answers, and of two that cross Gradio keeps the later: what was chosen is judged by us alone.
gr.Radio.preprocess = lambda self, payload: payload

# A script that the studio ended too soon to send; what is wrong in a script is thrown on.
LOST = """const lost = error => {
  if (!/dynamically imported|Importing a module/i.test(String(error))) throw error;
  root.dataset.state = 'error';
  root.textContent = 'The studio did not answer. Reload the page once it is back.';
}; """


def widget(name: str, value: Any = None, events: Sequence[str] = ()) -> gr.HTML:
    """Our own widget: `static/<name>.js` fills a static template; data reaches it as `props.value`, never as markup.

    The names in `events` can be listened to: JavaScript `trigger('restore', {...})` calls what `widget.restore(fn)` was given.
    """
    told = f"const events = [{', '.join(repr(e) for e in events)}];"  # quoted names are what Gradio looks for
    mount = f"const root = element.querySelector('.studio-widget'), given = {{root, props, trigger, watch}}; {LOST}"
    # The whole address: a page that comes from another studio would be asked of that one, whose equal script Chromium still has.
    mount += f"import(location.origin + '{SCRIPTS}/{name}.js').then(module => module.mount(given), lost);"
    return gr.HTML(
        value=value,
        html_template=f"<div class='studio-widget {name.replace('_', '-')}' data-state='loading'></div>",
        js_on_load=f"{told} {mount}",
        apply_default_css=False,
        elem_id=name.replace("_", "-"),
        container=False,
        padding=False,
    )


def safe(error: BaseException | str) -> str:
    """One line for a Gradio toast, which would run markup."""
    return html.escape(error if isinstance(error, str) else one_line(error))


# A reply {asked, num_keys, updates}, on the page as it is by now: where one of the keys has changed it is about something else and touches
# nothing; what somebody has changed meanwhile keeps its value.
_MEET = """(reply, ...now) => {
  const { asked, num_keys: keys, updates } = JSON.parse(reply), text = value => String(value ?? '').trim();
  const isAsItWas = i => text(asked[i]) === text(now[i]), still = { __type__: 'update' };
  if (!asked.slice(0, keys).every((_, i) => isAsItWas(i))) return updates.map(() => still);
  return updates.map((update, i) => { const { value, ...rest } = update; return isAsItWas(keys + i) ? update : rest; });
}"""


def ask(event: Callable, act: Callable, inputs: Any, meet: tuple[str, Sequence, Sequence], **how: Any) -> Any:
    """Have `act` answer an event by a text, which then meets the page: `meet` is (JavaScript, its further inputs, its outputs)."""
    js, now, outputs = meet
    reply = gr.Textbox(visible=False)
    asked = event(fn=act, inputs=inputs, outputs=reply, **(QUIET | how))
    asked.success(None, [reply, *now], outputs, js=js, **QUIET)
    return asked


def refill(event: Callable, act: Callable, keys: Sequence, outputs: Sequence, kept: Sequence = (), **how: Any) -> Any:
    """Have `act(*keys, *kept)` say updates of `outputs`; of `kept`, the first of them, what is changed before the answer stays."""

    def answer(*values: Any) -> str:
        return json.dumps({"asked": values, "num_keys": len(keys), "updates": act(*values)})

    inputs = [*keys, *kept]
    return ask(event, answer, inputs, (_MEET, inputs, outputs), **how)


_on_show: list[Callable[[Callable], Any]] = []


def on_show(tie: Callable[[Callable], Any]) -> None:
    """Have `tie` called with the event that shows the tab being built: a person opens it, or a page does as it loads."""
    _on_show.append(tie)


def take_on_show() -> list[Callable[[Callable], Any]]:
    """All that was registered since the last call."""
    taken = list(_on_show)
    _on_show.clear()
    return taken
