"""What moves the controls of the Compare screen: a page that opens, a click in the history, a dropped file. Each is a reply for `MEET`."""

import json
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.errors import StudioError, one_line
from studio.jobs.draw.drawings import Drawing, list_drawings, parse_request, read_drawing
from studio.jobs.processes.asked import OVER
from studio.jobs.runs.folders import list_runs
from studio.jobs.runs.snapshots import runs_with_adapter
from ui import compare
from ui.compare_form import PLAIN, ROWS, Form

# Updates of all controls meet them as they are by now: where somebody has changed one since the page asked, it stays. After a wish only
# what somebody is typing into stays. Where a later wish has been answered, nothing happens.
MEET = """(reply, ...now) => {
  const { asked, places, is_wish: isWish, updates, told } = JSON.parse(reply), text = value => String(value ?? '').trim();
  if (window.studio?.compare?.isLate(told.turn)) return [undefined, ...updates.map(() => undefined)];
  const isIn = i => document.getElementById(places[i])?.contains(document.activeElement);
  const isBusy = i => i < now.length && text(asked[i]) !== text(now[i]) && (!isWish || isIn(i));
  return [told, ...updates.map((update, i) => (isBusy(i) ? undefined : update))];
}"""


def news(turn: int | None, **values: Any) -> dict[str, Any]:
    """A value for the widget that it has not seen yet; the answer to what was asked in this turn."""
    return values | {"turn": turn or 0, "nonce": time.monotonic_ns()}


def moving(form: Form, act: Callable, is_wish: bool) -> Callable:
    """What sets the controls, as a reply for `MEET`, and tells the widget: `act(form, values, event)` gives (updates, the widget's value).

    A wish, such as a click in the history, sets every control; what just happens leaves alone what somebody has changed.
    """
    places = [control.elem_id for control in form.controls]

    def handle(event: gr.EventData, *values: Any) -> str:
        try:
            updates, told = act(form, values, event)
        except (StudioError, OSError) as error:
            updates, told = [], {"error": one_line(error)}
        told = news(getattr(event, "turn", None), **told)
        return json.dumps({"asked": values, "places": places, "is_wish": is_wish, "updates": updates, "told": told})

    return handle


def arrive(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """A page has opened, or its address names another run: the drawing or the run named there, else the newest."""
    name, drawing_id = str(getattr(event, "run", "") or ""), str(getattr(event, "drawing", "") or "")
    if drawing_id:
        try:
            return _show(form, read_drawing(form.workspace, drawing_id))
        except (StudioError, OSError):
            pass  # deleted since; the newest is as good
    runs, note = runs_with_adapter(form.workspace), ""
    run = next((r for r in runs if r.id == name), None)
    if name and not run:
        note = f"{name} has no adapter to compare yet." if name in [r.id for r in list_runs(form.workspace)] else ""
    drawings = [d for d in list_drawings(form.workspace, 100) if d.status()["state"] not in OVER - {"finished"}]
    others = _others(event, runs, run)
    if run:
        drawings = [d for d in drawings if (_runs_of(d) == [run.id, *others] if others else run.id in _runs_of(d))]
    if drawings and (run or not name):
        return _show(form, drawings[0])
    run = run or next(iter(runs), None)
    if not run:
        return [], {"empty": True, "note": note}
    request = form.defaults([run.id, *others], dict(zip(PLAIN, values, strict=False)))
    if others:
        note = f"{1 + len(others)} adapters are chosen: press Sample to draw each from the same noise."
    return form.fill(request), {"preview": compare.preview_pictures(form.workspace, run.id), "note": note, "ready": True}


def _others(event: Any, runs: list[Any], first: Any) -> list[str]:
    """The runs with an adapter that the Runs screen has sent beside the first one, as many as there are rows for."""
    asked, known = list(getattr(event, "runs", None) or []), [run.id for run in runs]
    return [name for name in asked if name in known and name != first.id][: ROWS - 1] if first else []


def _runs_of(drawing: Drawing) -> list[str]:
    try:
        return [use.run for use in drawing.request().adapters]
    except (StudioError, OSError):
        return []


def _show(form: Form, drawing: Drawing) -> tuple[list[Any], dict[str, Any]]:
    return form.fill(drawing.request()), {"drawing": drawing.id}


def restore(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """Every setting of a drawing in the history, and its pictures."""
    return _show(form, read_drawing(form.workspace, str(event.id)))


def restore_file(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """Every setting of a dropped picture, or a dropped adapter in place of the first one."""
    wanted = dict(event.request)
    if event.file_kind == "adapter":
        wanted = form.read(values) | wanted
    request = parse_request(wanted | {"base": wanted.get("base") or ""})
    return form.fill(request), {"restored": event.file_kind}
