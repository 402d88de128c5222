"""The command line: every stage of the studio as a command; `python launch.py COMMAND --help` tells each one's options."""

import subprocess
import sys
from pathlib import Path

import typer

from studio import quiet
from studio.commands import board, caption, captioners, dataset, doctoring, framing, install, models, results, starter, training, ui
from studio.console import DEFAULT, Commands, JsonOption, WorkspaceOption, answer, command

ROOT = Path(__file__).resolve().parent.parent

app = typer.Typer(cls=Commands, no_args_is_help=False, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.callback(invoke_without_command=True)(ui.main)
app.add_typer(ui.app)
framing.add_to(dataset.app)
doctoring.add_to(dataset.app)
app.add_typer(dataset.app, name="dataset")
app.add_typer(caption.app)
app.add_typer(captioners.app, name="captioners")
app.add_typer(training.app)
app.add_typer(results.app)
app.add_typer(board.app)
app.add_typer(models.app, name="models")
app.add_typer(starter.app, name="starter")
app.add_typer(install.app)


@app.command()
@command
def doctor(workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> int:
    """Say what this machine can do and what is amiss."""
    from studio.doctor import examine

    report = examine(workspace)
    lines = [
        f"{'ok ' if c['ok'] else '!! '} {c['what']}: {c['found']}" + ("" if c["ok"] else f"\n    {c['advice']}") for c in report["checks"]
    ]
    answer(report, as_json, "\n".join(lines))
    return 0 if report["ok"] else 1


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Run the test suite; further words go to pytest. Tests make workspaces of their own: yours is not touched."""
    code = subprocess.call([sys.executable, "-m", "pytest", *context.args], cwd=ROOT)
    answer({"exit_code": code}, as_json, "")
    raise typer.Exit(code)


quiet.silence()

if __name__ == "__main__":
    app(prog_name="python launch.py")
