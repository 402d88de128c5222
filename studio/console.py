"""How the command line speaks: plain lines, one progress bar, one JSON object at the end, one line for an error."""

import contextlib
import functools
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from studio.errors import StudioError, one_line, printable
from studio.jobs.runs import Run
from studio.jobs.supervisor import follow, request_stop
from studio.store import DEFAULT_WORKSPACE

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", metavar="DIR", help="Where everything is kept.", envvar="DOMAIN_STUDIO_WORKSPACE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its number, or how its id begins.")]
SnapshotOption = Annotated[int | None, typer.Option(metavar="STEP", help="Use the adapter of this step; else the run's chosen one.")]
DEFAULT = DEFAULT_WORKSPACE

out = Console(soft_wrap=True, highlight=False, markup=False)


def say(text: str) -> None:
    """A line for a person."""
    out.print(printable(text))


def answer(value: Any, as_json: bool, text: str) -> None:
    """The result of a command: `text` for a person; with --json also `value` on the last line."""
    if text:
        for line in text.splitlines():
            say(line)
    if as_json:
        sys.stdout.flush()
        print(json.dumps(value, ensure_ascii=True), flush=True)


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn a function into a command: errors become one line and exit code 2 (asked wrongly) or 1 (went wrong)."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        code = 1
        try:
            code = function(*args, **kwargs) or 0
        except (StudioError, OSError, MemoryError) as error:
            code = _tell(error, 2, kwargs.get("as_json", False))
        except KeyboardInterrupt:
            code = 1
        except Exception as error:
            if os.environ.get("DOMAIN_STUDIO_DEBUG"):
                traceback.print_exc()
            code = _tell(error, 1, kwargs.get("as_json", False))
        raise typer.Exit(code)

    run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return run


def _tell(error: BaseException, code: int, as_json: bool) -> int:
    line = one_line(error)
    with contextlib.suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)
        if as_json:
            print(json.dumps({"error": line}), flush=True)
    return code


@contextlib.contextmanager
def progress(label: str, unit: str = "") -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, silence elsewhere; call with (done, total[, text])."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(label, total=None, note=unit)

        def update(done: int, total: int, text: str = "") -> None:
            bar.update(task, completed=done, total=total, note=printable(text)[:60])

        yield update


def watch(run: Run, process: Any = None, cursor: int = 0) -> dict[str, Any]:
    """Follow a run to its end; Ctrl-C asks it to stop, a second one leaves it running."""
    asked = False
    with progress("training") as update:
        events = follow(run, process, cursor)
        speed = Speed(run.spec().train.steps)
        while True:
            try:
                event = next(events, None)
                if event is None:
                    break
                speed.show(event, update)
            except KeyboardInterrupt:
                if asked:
                    say(f"leaving run {run.id} to itself; look again with: runs {run.id}")
                    break
                asked = True
                say("stopping after this step; press Ctrl-C again to leave it running")
                request_stop(run)
                events = follow(run, process, run.events.stat().st_size if run.events.exists() else 0)
    return result(run)


class Speed:
    """Shows a run's events: speed and loss in the bar, the rest as lines."""

    def __init__(self, steps: int) -> None:
        self._steps, self._seconds = steps, 0.0

    def show(self, event: dict[str, Any], update: Callable[..., None]) -> None:
        if event["kind"] == "step":
            self._seconds = event["seconds"] if not self._seconds else 0.9 * self._seconds + 0.1 * event["seconds"]
            loss = event["loss"]
            shown = "no number" if loss is None else f"{loss:.4f}"
            update(event["step"], self._steps, f"{1 / max(self._seconds, 1e-6):.1f} steps/s, loss {shown}")
        elif event["kind"] == "caching":
            update(event["done"], event["total"], "caching pictures")
        elif sentence := describe(event):
            say(sentence)


def describe(event: dict[str, Any]) -> str:
    """An event in words; empty for those that need none."""
    kind = event["kind"]
    if kind == "loaded":
        return f"base {event['base']} ({event['family']}) on {event['device']}, {event['precision']}"
    if kind == "cached":
        return f"cached: {event['made']} new, {event['reused']} reused, {event['seconds']} s"
    if kind == "score" and event.get("held_out"):
        score = event["held_out"]
        losses = f"held-out loss {score['loss']:.4f}, base {score['base']:.4f}"
        return f"step {event['step']}: {losses}, better on {score['num_better']} of {score['num_images']} unseen pictures"
    if kind in {"warning", "early_stop", "error"}:
        return f"{kind.replace('_', ' ')}: {event['message']}"
    if kind in {"finished", "stopped"} and event.get("chosen"):
        chosen = event["chosen"]
        kept = f"kept step {chosen['step']} ({chosen['average']}), {event['reason']}"
        return f"{kind} at step {event['step']}: {kept}; peak memory {event['peak_memory_gib']} GiB"
    return ""


def result(run: Run) -> dict[str, Any]:
    """What train and resume answer."""
    summary = run.summary()
    adapter = str(run.adapter) if run.adapter.is_file() else None
    value = {"run": run.id, "state": summary["state"], "steps": summary["step"], "adapter": adapter}
    return value | ({"error": summary["error"]} if "error" in summary else {})
