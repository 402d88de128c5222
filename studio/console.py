"""How the command line speaks: plain lines, one progress bar, one JSON object at the end, one line for an error."""

import contextlib
import errno
import functools
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperGroup

from studio.errors import StudioError, one_line, printable
from studio.jobs.processes.supervisor import follow, request_stop
from studio.jobs.runs.folders import Run
from studio.jobs.runs.words import describe, number
from studio.store import DEFAULT_WORKSPACE

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", metavar="DIR", help="Where everything is kept.", envvar="DOMAIN_STUDIO_WORKSPACE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its number, or how its id begins.")]
SnapshotOption = Annotated[int | None, typer.Option(metavar="STEP", help="Use the adapter of this step; else the run's chosen one.")]
DEFAULT = DEFAULT_WORKSPACE
DISK_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
USAGE_ERROR = typer.BadParameter.__base__  # typer keeps its own copy of click, and hides this class

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
        _print_anything()
        as_json = kwargs.get("as_json", False)
        try:
            code = function(*args, **kwargs) or 0
        except BrokenPipeError:
            code = _hush()
        except (StudioError, OSError) as error:
            code = tell_error(one_line(error), as_json, 1 if getattr(error, "errno", None) in DISK_FAILURES else 2)
        except KeyboardInterrupt:
            code = tell_error("interrupted: nothing more is done", as_json)
        except Exception as error:
            if os.environ.get("DOMAIN_STUDIO_DEBUG"):
                traceback.print_exc()
            code = tell_error(one_line(error), as_json)
        raise typer.Exit(code)

    run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return run


def tell_error(line: str, as_json: bool, code: int = 1) -> int:
    """One line on stderr, with --json also as the last line of stdout; returns `code`."""
    with contextlib.suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)
        if as_json:
            print(json.dumps({"error": line}), flush=True)
    return code


def _print_anything() -> None:
    """Let a terminal or file of a narrow encoding show other letters as escapes instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _hush() -> int:
    """Nobody reads any more (as in `| head`): say nothing, also not when Python closes its streams."""
    sys.stdout = open(os.devnull, "w")
    return 1


class Commands(TyperGroup):
    """The tree of commands; a wrong command line is answered in one line."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line `args`, by default the process's own, and leave with its exit code."""
        words = extra.get("args") or (args[0] if args else None) or sys.argv[1:]
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except USAGE_ERROR as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(2)
            command_name = error.ctx.command_path.partition(" ")[2] if error.ctx else ""
            line = one_line(StudioError(f"{error.format_message().rstrip('.')}: see {command_name} --help"))
            code = tell_error(line, "--json" in words, 2)
        sys.exit(code)


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
    with stopping_on_interrupt(run), progress("training") as update:
        speed = Speed(run.spec().train.steps)
        try:
            for event in follow(run, process, cursor):
                speed.show(event, update)
        except KeyboardInterrupt:
            say(f"leaving run {run.id} to itself; look again with: runs {run.id}")
    return result(run)


@contextlib.contextmanager
def stopping_on_interrupt(run: Run) -> Iterator[None]:
    """Within: the first Ctrl-C asks the run to stop, the next one raises KeyboardInterrupt."""
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        request_stop(run)
        os.write(2, b"\nstopping after this step; press Ctrl-C again to leave it running\n")

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Speed:
    """Shows a run's events: speed and loss in the bar, the rest as lines."""

    def __init__(self, steps: int) -> None:
        self._steps, self._seconds = steps, 0.0

    def show(self, event: dict[str, Any], update: Callable[..., None]) -> None:
        """A step moves the bar; other events that have words are a line."""
        if event["kind"] == "step":
            self._seconds = event["seconds"] if not self._seconds else 0.9 * self._seconds + 0.1 * event["seconds"]
            update(event["step"], self._steps, f"{1 / max(self._seconds, 1e-6):.1f} steps/s, loss {number(event['loss'])}")
        elif event["kind"] == "caching":
            update(event["done"], event["total"], "caching pictures and captions")
        elif sentence := describe(event):
            say(sentence)


def result(run: Run) -> dict[str, Any]:
    """What train and resume answer."""
    summary = run.summary()
    adapter = str(run.adapter) if run.adapter.is_file() else None
    value = {"run": run.id, "state": summary["state"], "steps": summary["step"], "adapter": adapter}
    return value | ({"error": summary["error"]} if "error" in summary else {})
