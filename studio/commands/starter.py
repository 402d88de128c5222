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
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="A finished model whose networks are trained further.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the model goes; else into the workspace.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Build the embedded base model from openly licensed packages; goes on where it was interrupted."""
    from studio.starter.bench import Bench
    from studio.starter.build import best_device, build
    from studio.starter.recipe import Recipe

    work = Workspace.at(workspace).cache / "starter"
    result = build(Bench(work, Recipe(), samples, best_device(), say, start), out or work / "model")
    answer(result, as_json, f"built in {out or work / 'model'}")


@app.command("report")
@command
def starter_report(
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Another model than the embedded one.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the pictures go; else into the workspace.")] = None,
    without_adaptation: Annotated[bool, typer.Option("--without-adaptation", help="Leave out adapting to the demos.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Grade the embedded base model: what it draws, in which styles, how it follows guidance, how it adapts to the demos."""
    from studio.models.bases import STARTER
    from studio.starter.figures import table
    from studio.starter.report import Scope, report

    model, out = model or STARTER, out or Workspace.at(workspace).cache / "starter-report"
    result = report(model, out, say, Scope(adaptation=None) if without_adaptation else Scope())
    answer(result, as_json, f"{table(model, result)}\npictures and report.json: {out}")
