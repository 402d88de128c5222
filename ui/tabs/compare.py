"""The Compare screen: what to draw, with which adapters; the pictures themselves are in the widget `compare_view`."""

import json
import random
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.errors import StudioError, one_line
from studio.jobs.draw.drawings import MAX_PICTURES, AdapterUse, Drawing, DrawRequest, list_drawings, parse_request, plan_shots, read_drawing
from studio.jobs.processes.asked import OVER
from ui import compare
from ui.compare_form import ALONE, PLAIN, ROWS, TOGETHER, UNSAID, Form, rows_of, use_of
from ui.desk import Desk
from ui.frame import QUIET, widget
from ui.routes.drawings import draw

# Updates of all controls meet them as they are by now: where somebody has changed one since the page `asked`, it stays.
MEET = """(reply, ...now) => {
  const { asked, updates, told } = JSON.parse(reply), text = value => String(value ?? '').trim();
  const isBusy = i => asked && i < now.length && text(asked[i]) !== text(now[i]);
  return [told, ...updates.map((update, i) => (isBusy(i) ? undefined : update))];
}"""
STRIPS = ("strength", "snapshots")
VIEW_JS = "(...values) => { values[values.length - 1] = document.querySelector('.compare-view')?.dataset.view || ''; return values; }"


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
    dice.click(lambda: random.randrange(2**31), None, form.plain["seed"], queue=False, **QUIET)


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
                remove = gr.Button("✕", size="sm", elem_id=f"compare-remove-{i + 1}", elem_classes="compare-remove", scale=0, min_width=32)
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
    for event in (sample.click, form.plain["prompt"].submit, form.plain["negative"].submit):
        event(_sampling(form), [*form.controls, told], view, js=VIEW_JS, **QUIET)
    for event, act in ((view.arrive, _arrive), (view.restore, _restore), (view.restore_file, _restore_file)):
        reply = gr.Textbox(visible=False)
        moved = event(_moving(form, act, is_wish=act is not _arrive), form.controls, reply, **QUIET)
        moved.success(None, [reply, *form.controls], [view, *form.outputs], js=MEET, **QUIET)
    view.draw_strip(_drawing_strip(form), form.controls, view, **QUIET)
    rows = form.outputs[len(PLAIN) :]
    for i, (run, snapshot, _) in enumerate(form.rows):
        run.input(_snapshots(form), run, snapshot, queue=False, **QUIET)
        form.removes[i].click(_removing(form, i), form.controls, rows, queue=False, **QUIET)
    first = [form.plain[name] for name in ("sampler", "size", *UNSAID)]
    asked = [form.rows[0][0], form.plain["base"], form.plain["size"], form.plain["prompt"]]
    for control in (form.rows[0][0], form.plain["base"]):
        control.input(form.for_run, asked, first, queue=False, **QUIET)
    form.plain["add"].click(_adding(form), form.controls, rows, queue=False, **QUIET)


def news(**values: Any) -> dict[str, Any]:
    """A value for the widget that it has not seen yet."""
    return values | {"nonce": time.monotonic_ns()}


def _sampling(form: Form) -> Callable:
    """What Sample does; a problem is told in the widget's line, and the pictures stay."""

    def sample(*values: Any) -> dict[str, Any]:
        try:
            wanted = form.read(values)
            if values[-1] in STRIPS and wanted["adapters"]:
                return news(drawing=_draw_strip(form, parse_request(wanted), values[-1]).id)
            return news(drawing=draw(form.desk, parse_request(wanted)).id)
        except (StudioError, OSError) as error:
            return news(error=one_line(error))

    return sample


def _drawing_strip(form: Form) -> Callable:
    """The row of strengths or snapshots for the pictures that are shown, or for the controls where those are a run's previews."""

    def draw_strip(event: gr.EventData, *values: Any) -> dict[str, Any]:
        try:
            shown = str(getattr(event, "id", "") or "")
            is_ours = shown and not shown.startswith("preview-")
            request = read_drawing(form.workspace, shown).request() if is_ours else parse_request(form.read(values))
            return news(drawing=_draw_strip(form, request, str(event.strip)).id)
        except (StudioError, OSError) as error:
            return news(error=one_line(error))

    return draw_strip


def _draw_strip(form: Form, request: DrawRequest, strip: str) -> Drawing:
    """Ask for a row of pictures, with as many seeds as may be drawn at once."""
    if not request.adapters:
        raise StudioError("choose an adapter first: the base alone has no strengths and no snapshots")
    one = parse_request(request.model_dump() | {"strip": strip, "count": 1})
    count = max(1, min(request.count, MAX_PICTURES // len(plan_shots(form.workspace, one))))
    return draw(form.desk, one.model_copy(update={"count": count}))


def _moving(form: Form, act: Callable, is_wish: bool) -> Callable:
    """What sets the controls, as a reply for `MEET`, and tells the widget: `act(form, values, event)` gives (updates, the widget's value).

    A wish, such as a click in the history, sets every control; what just happens leaves alone what somebody is at.
    """

    def handle(event: gr.EventData, *values: Any) -> str:
        try:
            updates, told = act(form, values, event)
        except (StudioError, OSError) as error:
            updates, told = [], news(error=one_line(error))
        return json.dumps({"asked": None if is_wish else values, "updates": updates, "told": told})

    return handle


def _arrive(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """A page has opened, or its address names another run: the drawing or the run named there, else the newest."""
    name, drawing_id = str(getattr(event, "run", "") or ""), str(getattr(event, "drawing", "") or "")
    if drawing_id:
        try:
            return _show(form, read_drawing(form.workspace, drawing_id))
        except (StudioError, OSError):
            pass  # deleted since; the newest is as good
    runs, note = compare.adapter_runs(form.workspace), ""
    run = next((r for r in runs if r.id == name), None)
    if name and not run:
        note = f"{name} has no adapter to compare yet." if name in [r.id for r in compare.list_runs(form.workspace)] else ""
    drawings = [d for d in list_drawings(form.workspace, 100) if d.status()["state"] not in OVER - {"finished"}]
    others = _others(event, runs, run)
    if run:
        drawings = [d for d in drawings if (_runs_of(d) == [run.id, *others] if others else run.id in _runs_of(d))]
    if drawings and (run or not name):
        return _show(form, drawings[0])
    run = run or next(iter(runs), None)
    if not run:
        return [], news(empty=True, note=note)
    request = form.defaults([run.id, *others], dict(zip(PLAIN, values, strict=False)))
    if others:
        note = f"{1 + len(others)} adapters are chosen: press Sample to draw each from the same noise."
    return form.fill(request), news(preview=compare.preview_pictures(form.workspace, run.id), note=note, ready=True)


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
    return form.fill(drawing.request()), news(drawing=drawing.id)


def _restore(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """Every setting of a drawing in the history, and its pictures."""
    return _show(form, read_drawing(form.workspace, str(event.id)))


def _restore_file(form: Form, values: tuple, event: Any) -> tuple[list[Any], dict[str, Any]]:
    """Every setting of a dropped picture, or a dropped adapter in place of the first one."""
    wanted = dict(event.request)
    if event.file_kind == "adapter":
        wanted = form.read(values) | wanted
    request = parse_request(wanted | {"base": wanted.get("base") or ""})
    return form.fill(request), news(restored=event.file_kind)


def _snapshots(form: Form) -> Callable:
    def choose(name: str) -> Any:
        return gr.Dropdown(choices=compare.snapshot_choices(form.workspace, name or ""), value="")

    return choose


def _uses(values: tuple) -> list[AdapterUse]:
    """The rows as they stand, also those without an adapter."""
    return [AdapterUse.model_validate(use_of(*row)) for row in rows_of(values)]


def _removing(form: Form, place: int) -> Callable:
    def remove(*values: Any) -> list[Any]:
        uses = [use for i, use in enumerate(_uses(values)) if i != place and (use.run or use.file)]
        return form.fill_rows(uses)

    return remove


def _adding(form: Form) -> Callable:
    def add(*values: Any) -> list[Any]:
        uses = [use for use in _uses(values) if use.run or use.file]
        taken = {use.run for use in uses}
        runs = [run.id for run in compare.adapter_runs(form.workspace)]
        fresh = next((name for name in runs if name not in taken), runs[0] if runs else "")
        return form.fill_rows([*uses, AdapterUse(run=fresh)][:ROWS])

    return add
