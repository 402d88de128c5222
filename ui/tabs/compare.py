"""The Compare screen: what to draw, with which adapters; the pictures themselves are in the widget `compare_view`."""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.errors import StudioError, one_line
from studio.jobs.draw.drawings import MAX_PICTURES, AdapterUse, Drawing, DrawRequest, parse_request, plan_shots, read_drawing
from studio.jobs.processes.asked import OVER
from studio.jobs.runs.snapshots import runs_with_adapter
from ui import compare
from ui.compare_form import ALONE, PLAIN, ROWS, TOGETHER, UNSAID, Form, use_of
from ui.compare_moves import MEET, arrive, moving, news, restore, restore_file
from ui.desk import Desk
from ui.frame import QUIET, ask, refill, widget
from ui.routes.drawings import draw

STRIPS = ("strength", "snapshots")
# With what is asked goes how the pictures are looked at, and its turn among all that is asked of this screen.
ASK_JS = """(...values) => {
  const view = document.querySelector('.compare-view')?.dataset.view || '', turn = window.studio?.compare?.turn() || 0;
  return [...values.slice(0, -1), JSON.stringify({ view, turn })];
}"""
# Rows go and come one after the other: until the answer they cannot be used, for it says what stands in all of them.
_HELD = "document.querySelectorAll('.compare-adapter, #compare-add').forEach(part => { part.inert = %s; });"
HOLD_JS, RELEASE_JS = "(...values) => { " + _HELD % "true" + " return values; }", "() => { " + _HELD % "false" + " }"
DICE_JS = "() => Math.floor(Math.random() * 2 ** 31)"


def build(desk: Desk) -> None:
    """The screen."""
    form = Form(desk)
    with gr.Row(elem_id="compare-ask"):
        form.plain["prompt"] = gr.Textbox(
            label="Prompt",
            show_label=False,
            placeholder="Prompt: what to draw",
            lines=1,
            max_lines=3,
            elem_id="compare-prompt",
            scale=8,
            interactive=True,
        )
        sample = gr.Button("Sample", variant="primary", elem_id="compare-sample", scale=1, min_width=120)
    with gr.Row(elem_id="compare-body"):
        with gr.Column(scale=8, min_width=320):
            view = widget("compare_view", value={}, events=("arrive", "restore", "restore_file", "draw_strip"))
        with gr.Column(scale=3, min_width=280, elem_id="compare-side"):
            _build_adapters(form)
            dice = _build_sampling(form)
    told = gr.Textbox(visible=False)
    _listen(form, view, sample, told)
    dice.click(None, None, form.plain["seed"], js=DICE_JS, **QUIET)


def _build_adapters(form: Form) -> None:
    for i in range(ROWS):
        with gr.Group(visible=i == 0, elem_id=f"compare-adapter-{i + 1}", elem_classes="compare-adapter") as group:
            with gr.Row(elem_classes="tight"):
                run = gr.Dropdown(
                    compare.run_choices(form.workspace), value="", label=f"Adapter {i + 1}", allow_custom_value=True, interactive=True,
                    elem_id=f"compare-run-{i + 1}", scale=5, min_width=120,
                )  # fmt: skip
                snapshot = gr.Dropdown(
                    [("best", "")], value="", label="Snapshot", allow_custom_value=True, interactive=True,
                    elem_id=f"compare-snapshot-{i + 1}", scale=4, min_width=100,
                )  # fmt: skip
            with gr.Row(elem_classes="tight"):
                strength = gr.Slider(
                    -1,
                    2,
                    value=1,
                    step=0.05,
                    label="Strength",
                    interactive=True,
                    elem_id=f"compare-strength-{i + 1}",
                    scale=8,
                    min_width=140,
                )
                remove = gr.Button(  # drawn as ✕
                    f"Remove adapter {i + 1}",
                    size="sm",
                    elem_id=f"compare-remove-{i + 1}",
                    elem_classes="compare-remove",
                    scale=0,
                    min_width=32,
                )
        form.groups.append(group)
        form.rows.append((run, snapshot, strength))
        form.removes.append(remove)
    form.plain["add"] = gr.Button("+ add an adapter", size="sm", elem_id="compare-add", visible=False)
    with gr.Group(visible=False) as form.plain["several"]:
        form.plain["together"] = gr.Radio(
            [ALONE, TOGETHER], value=ALONE, label="When several", elem_id="compare-together", interactive=True
        )


def _build_sampling(form: Form) -> Any:
    with gr.Group(elem_id="compare-sampling"):
        with gr.Row(elem_classes="tight"):
            form.plain["seed"] = gr.Number(7, label="Seed", elem_id="compare-seed", interactive=True, min_width=90, scale=4)
            dice = gr.Button("Random seed", elem_id="compare-dice", size="sm", scale=0, min_width=40)
            form.plain["count"] = gr.Number(1, label="Count", elem_id="compare-count", interactive=True, min_width=60, scale=3)
        with gr.Row(elem_classes="tight"):
            form.plain["steps"] = gr.Number(20, label="Steps", elem_id="compare-steps", interactive=True, min_width=80)
            form.plain["guidance"] = gr.Number(5, label="Guidance scale", elem_id="compare-guidance", interactive=True, min_width=80)
        with gr.Row(elem_classes="tight"):
            form.plain["sampler"] = gr.Dropdown(
                compare.sampler_choices(form.workspace, "starter"), value="dpm++2m", label="Sampler", allow_custom_value=True,
                elem_id="compare-sampler", interactive=True, min_width=110,
            )  # fmt: skip
            form.plain["size"] = gr.Dropdown(
                [("the model's own", "")], value="", label="Size", allow_custom_value=True, elem_id="compare-size", interactive=True,
                min_width=110,
            )  # fmt: skip
        form.plain["negative"] = gr.Textbox(
            label="Negative prompt", placeholder="What not to draw", lines=1, max_lines=3, elem_id="compare-negative", interactive=True
        )
        form.plain["base"] = gr.Dropdown(
            compare.base_choices(form.workspace),
            value="",
            label="Base model",
            allow_custom_value=True,
            elem_id="compare-base",
            interactive=True,
        )
    return dice


def _listen(form: Form, view: Any, sample: Any, told: Any) -> None:
    asking = [sample.click, form.plain["prompt"].submit, form.plain["negative"].submit]
    gr.on(asking, _sampling(form), [*form.controls, told], view, js=ASK_JS, **QUIET)
    for event, act in ((view.arrive, arrive), (view.restore, restore), (view.restore_file, restore_file)):
        ask(event, moving(form, act, is_wish=act is not arrive), form.controls, (MEET, form.controls, [view, *form.outputs]))
    view.draw_strip(_drawing_strip(form), form.controls, view, **QUIET)
    for run, snapshot, _ in form.rows:
        refill(run.input, _snapshots(form), [run], [snapshot], [snapshot])
    first = [form.plain[name] for name in ("sampler", "size", *UNSAID)]
    keys = [form.rows[0][0], form.plain["base"]]
    for control in keys:
        refill(control.input, form.for_run, keys, first, first)
    rows = [control for row in form.rows for control in row]
    acts = [(form.plain["add"], _adding(form)), *((button, _removing(form, i)) for i, button in enumerate(form.removes))]
    for button, act in acts:
        asked = refill(button.click, act, rows, form.outputs[len(PLAIN) :], js=HOLD_JS)
        for ended in (asked.then, asked.failure):
            ended(None, None, None, js=RELEASE_JS, **QUIET)


def _sampling(form: Form) -> Callable:
    """What Sample does; a problem is told in the widget's line, and the pictures stay."""

    def sample(*values: Any) -> dict[str, Any]:
        *values, told = values
        how = json.loads(told or "{}")
        try:
            wanted = form.read(tuple(values))
            if how.get("view") in STRIPS and wanted["adapters"]:
                drawing = _draw_strip(form, parse_request(wanted), how["view"])
            else:
                drawing = _draw(form, parse_request(wanted))
            return news(how.get("turn"), drawing=drawing.id)
        except (StudioError, OSError) as error:
            return news(how.get("turn"), error=one_line(error))

    return sample


_lock = threading.Lock()


def _draw(form: Form, request: DrawRequest) -> Drawing:
    """Ask for these pictures; where the same ones were asked for last and are on their way (a double click), those are meant."""
    text = request.model_dump_json()
    with _lock:
        last_text, last = form.last_asked
        if last and text == last_text:
            with contextlib.suppress(StudioError, OSError):  # put away meanwhile
                if last.status()["state"] not in OVER:
                    return last
        drawing = draw(form.desk, request)
        form.last_asked = (text, drawing)
        return drawing


def _drawing_strip(form: Form) -> Callable:
    """The row of strengths or snapshots for the pictures that are shown, or for the controls where those are a run's previews."""

    def draw_strip(event: gr.EventData, *values: Any) -> dict[str, Any]:
        turn = getattr(event, "turn", None)
        try:
            shown = str(getattr(event, "id", "") or "")
            is_ours = shown and not shown.startswith("preview-")
            request = read_drawing(form.workspace, shown).request() if is_ours else parse_request(form.read(values))
            return news(turn, drawing=_draw_strip(form, request, str(event.strip)).id)
        except (StudioError, OSError) as error:
            return news(turn, error=one_line(error))

    return draw_strip


def _draw_strip(form: Form, request: DrawRequest, strip: str) -> Drawing:
    """Ask for a row of pictures, with as many seeds as may be drawn at once."""
    if not request.adapters:
        raise StudioError("choose an adapter first: the base alone has no strengths and no snapshots")
    one = parse_request(request.model_dump() | {"strip": strip, "count": 1})
    count = max(1, min(request.count, MAX_PICTURES // len(plan_shots(form.workspace, one))))
    return _draw(form, one.model_copy(update={"count": count}))


def _snapshots(form: Form) -> Callable:
    def choose(name: str, _: Any) -> list[Any]:
        return [gr.update(choices=compare.snapshot_choices(form.workspace, name or ""), value="")]

    return choose


def _uses(values: tuple) -> list[AdapterUse]:
    """The rows as they stand, also those without an adapter."""
    return [AdapterUse.model_validate(use_of(*values[i : i + 3])) for i in range(0, 3 * ROWS, 3)]


def _removing(form: Form, place: int) -> Callable:
    def remove(*values: Any) -> list[Any]:
        uses = [use for i, use in enumerate(_uses(values)) if i != place and (use.run or use.file)]
        return form.fill_rows(uses)

    return remove


def _adding(form: Form) -> Callable:
    def add(*values: Any) -> list[Any]:
        uses = [use for use in _uses(values) if use.run or use.file]
        taken = {use.run for use in uses}
        runs = [run.id for run in runs_with_adapter(form.workspace)]
        fresh = next((name for name in runs if name not in taken), runs[0] if runs else "")
        return form.fill_rows([*uses, AdapterUse(run=fresh)][:ROWS])

    return add
