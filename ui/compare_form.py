"""The controls of the Compare screen as a request for pictures, and a request as values of the controls."""

from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.jobs.draw.drawings import AdapterUse, DrawRequest, parse_request
from studio.jobs.runs.folders import find_run
from studio.models.bases import reads_text
from studio.spec import NO_GUIDANCE
from ui import compare
from ui.desk import Desk

ROWS = 4
ALONE, TOGETHER = "each alone", "all together"
UNSAID = {"prompt": "", "negative": "", "guidance": NO_GUIDANCE}  # what a base without text is asked
PLAIN = ("prompt", "negative", "seed", "steps", "guidance", "sampler", "size", "count", "together", "base")


class Form:
    """The controls of the screen, and what they mean."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.workspace = desk, desk.workspace
        self.plain: dict[str, Any] = {}
        self.rows: list[tuple[Any, Any, Any]] = []
        self.groups: list[Any] = []
        self.removes: list[Any] = []
        self.last_asked: tuple[str, Any] = ("", None)  # the last request, as JSON, and its drawing

    @property
    def controls(self) -> list[Any]:
        return [*(self.plain[name] for name in PLAIN), *(control for row in self.rows for control in row)]

    @property
    def outputs(self) -> list[Any]:
        return [*self.controls, *self.groups, self.plain["add"], self.plain["several"]]

    def read(self, values: tuple) -> dict[str, Any]:
        """A DrawRequest, as plain values, from the values of `controls`. StudioError naming what is empty."""
        told = dict(zip(PLAIN, values, strict=False))
        adapters = [use_of(*row) for row in rows_of(values) if row[0]]
        width, _, height = str(told.pop("size") or "").partition("x")
        told |= {"width": int(width), "height": int(height)} if width.isdigit() and height.isdigit() else {}
        strip = "together" if told.pop("together") == TOGETHER and len(adapters) > 1 else "none"
        if not self._reads_text(told["base"], adapters[0].get("run", "") if adapters else ""):
            told |= UNSAID
        empty = next((name for name, value in told.items() if value is None), None)
        if empty:
            raise StudioError(f"{empty} is empty: type a number")
        return told | {"adapters": adapters, "strip": strip}

    def fill(self, request: DrawRequest) -> list[Any]:
        """Updates of `outputs` that set every control to a request; all of them plain values, as JSON has."""
        source = request.base or (self._base_of(request.adapters[0]) if request.adapters else "starter")
        size = f"{request.width}x{request.height}" if request.width and request.height else ""
        named = [value for _, value in compare.base_choices(self.workspace)]
        follows = request.adapters and self._base_of(request.adapters[0]) == request.base
        told = request.model_dump() | {
            "sampler": gr.update(choices=_pairs(compare.sampler_choices(self.workspace, source)), value=request.sampler),
            "size": self._sizes(source, request.adapters[0].run if request.adapters else "", size),
            "together": TOGETHER if request.strip == "together" else ALONE,
            "base": gr.update(choices=compare.base_choices(self.workspace), value="" if follows else request.base),
        }
        if not follows and request.base and request.base not in named:
            told["base"] = gr.update(choices=[*compare.base_choices(self.workspace), (request.base, request.base)], value=request.base)
        is_told = reads_text(source, self.workspace)
        told |= {name: gr.update(value=told[name], visible=is_told) for name in UNSAID}
        return [*(told[name] for name in PLAIN), *self.fill_rows(request.adapters)]

    def fill_rows(self, uses: list[AdapterUse]) -> list[Any]:
        """Updates of the adapter rows, their groups and the button that adds one."""
        values = [_value(use) for use in uses]
        choices = compare.run_choices(self.workspace, [(_file_label(v), v) for v in dict.fromkeys(values) if v.startswith("file:")])
        told: list[Any] = []
        for i in range(ROWS):
            use = uses[i] if i < len(uses) else AdapterUse()
            snapshot = "" if use.snapshot is None else str(use.snapshot)
            told.append(gr.update(choices=choices, value=values[i] if i < len(uses) else ""))
            told.append(gr.update(choices=compare.snapshot_choices(self.workspace, use.run), value=snapshot))
            told.append(gr.update(value=use.strength, minimum=min(-1, use.strength), maximum=max(2, use.strength)))
        shown = [gr.update(visible=i < max(1, len(uses))) for i in range(ROWS)]
        return [*told, *shown, gr.update(visible=len(uses) < ROWS and len(choices) > 1), gr.update(visible=len(uses) > 1)]

    def defaults(self, names: list[str], values: dict[str, Any]) -> DrawRequest:
        """A request for runs with the settings of the first one's previews; a prompt already typed stays."""
        run = find_run(self.workspace, names[0])
        told = compare.defaults_of(run) | {"count": values.get("count") or 1, "adapters": [{"run": name} for name in names]}
        return parse_request(told | ({"prompt": values["prompt"]} if values.get("prompt") else {}))

    def _reads_text(self, base: str, name: str) -> bool:
        """Whether the base that is chosen, else that of the first adapter's run, draws by prompts."""
        return reads_text(base or self._base_of(AdapterUse(run=name)) or "starter", self.workspace)

    def _base_of(self, use: AdapterUse) -> str:
        try:
            return find_run(self.workspace, use.run).spec().base.source if use.run else ""
        except StudioError:
            return ""

    def _sizes(self, source: str, name: str, value: str) -> Any:
        try:
            run = find_run(self.workspace, name) if name else None
        except StudioError:
            run = None
        choices = compare.size_choices(compare.native_size(self.workspace, source, run))
        if value not in [v for _, v in choices]:
            choices.append((value.replace("x", " × "), value))
        return gr.update(choices=choices, value=value)

    def for_run(self, name: str, base: str, sampler: str, size: str, prompt: str, *_: Any) -> list[Any]:
        """Updates of sampler, size and what is said after another run, or base, was chosen; what was typed stays."""
        try:
            run = find_run(self.workspace, name) if name and not name.startswith("file:") else None
            source = base or (run.spec().base.source if run else "")
            first = compare.defaults_of(run)["prompt"] if run else ""
        except StudioError:
            run, source, first = None, base, ""
        samplers = gr.update(choices=_pairs(compare.sampler_choices(self.workspace, source)))
        said = [gr.update(visible=reads_text(source or "starter", self.workspace)) for _ in UNSAID]
        if first and not prompt:
            said[0]["value"] = first
        return [samplers, self._sizes(source, run.id if run else "", size or ""), *said]


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


def rows_of(values: tuple) -> list[tuple]:
    rest = values[len(PLAIN) :]
    return [tuple(rest[i : i + 3]) for i in range(0, 3 * ROWS, 3)]


def use_of(value: str, snapshot: Any, strength: Any) -> dict[str, Any]:
    """One adapter as plain values, from the values of its row."""
    told = {"strength": 1.0 if strength is None else strength}
    if str(value).startswith("file:"):
        file, _, label = str(value).removeprefix("file:").partition("|")
        return told | {"file": file, "label": label}
    return told | {"run": str(value)} | ({"snapshot": int(snapshot)} if str(snapshot or "").isdigit() else {})


def _value(use: AdapterUse) -> str:
    return f"file:{use.file}|{use.label}" if use.file else use.run


def _file_label(value: str) -> str:
    return (value.partition("|")[2] or "dropped adapter") + " (file)"
