"""Commands that build and judge the embedded base model."""

from pathlib import Path
from typing import Annotated

import typer

from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command, say
from studio.store import Workspace

app = typer.Typer(help="Build and judge the embedded base model.", no_args_is_help=True)


@app.command("build")
@command
def starter_build(
    samples: Annotated[int, typer.Option(min=1, help="Training samples of the generator.")] = 320_000,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the model goes; else into the workspace.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Build the embedded base model from openly licensed packages; goes on where it was interrupted."""
    from studio.starter.build import build

    work = Workspace.at(workspace).cache / "starter"
    result = build(work, out or work / "model", samples, progress=say)
    answer(result, as_json, f"built in {out or work / 'model'}")


@app.command("report")
@command
def starter_report(
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Another model than the embedded one.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the pictures go; else into the workspace.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Draw every concept with the embedded base model and judge it."""
    from studio.models import STARTER
    from studio.starter.report import report

    result = report(model or STARTER, out or Workspace.at(workspace).cache / "starter-report", progress=say)
    answer(result, as_json, f"{result['concepts']} concepts: top-1 {result['top1']:.2f}, top-5 {result['top5']:.2f}")
