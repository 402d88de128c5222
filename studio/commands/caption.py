"""The command that captions a dataset: by a captioner, or by a template where no captioner knows."""

import shlex
from typing import Annotated

import typer
from pydantic import ValidationError

from studio import console
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.errors import StudioError
from studio.store import Workspace

app = typer.Typer()


@app.command()
@command
def caption(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose pictures.")],
    captioner: Annotated[str, typer.Option("--with", metavar="CAPTIONER", help="Who writes the captions: embedded.")] = "embedded",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace captions that exist.")] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="0..1", help="Below this confidence no caption is written; empty = the captioner's own.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Fill empty captions by a template instead; {trigger} and {name} are filled in.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write captions of pictures that have none; what was there can be brought back in the studio."""
    from studio.dataset.captioning import caption_dataset, parse_request, select

    place = Workspace.at(workspace)
    if template is not None:
        if overwrite or threshold is not None:
            raise StudioError("caption: --template fills empty captions only: leave --overwrite and --threshold away")
        return fill(place, name, template, as_json)
    request = parse_request({"dataset": name, "captioner": captioner, "overwrite": overwrite, "threshold": threshold})
    select(place, request)
    with console.progress("captioning") as update:
        told = caption_dataset(place, request, update)
    answer(told, as_json, "\n".join(_lines(place, name, told)))


def fill(workspace: Workspace, name: str, template: str, as_json: bool) -> None:
    """Fill empty captions by a template."""
    from studio.dataset.wording import Wording, apply
    from studio.spec import explain

    try:
        wording = Wording(operation="template", text=template)
    except ValidationError as error:
        raise StudioError(f"--template {explain(error)}") from None
    told = apply(workspace, name, wording)
    answer(told, as_json, told["text"])


def _lines(workspace: Workspace, name: str, told: dict) -> list[str]:
    """What was done, what was not and why, and the next step."""
    from studio.dataset.captioning import unknown_line
    from studio.dataset.rows import open_dataset

    lines = [f"skipped {each['reason']}" for each in told["skipped"]]
    if told["unknown"]:
        text = "{trigger}, {name}" if open_dataset(workspace, name).about.get("trigger") else "{name}"
        way_out = f'python launch.py caption {shlex.quote(name)} --template "{text}"'
        lines.append(f"{unknown_line(told['captioner'], told['unknown'])}: write captions by a template, e.g. {way_out}")
    return [*lines, *told["notes"], told["text"]]
