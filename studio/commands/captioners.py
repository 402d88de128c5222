"""Commands about captioners: which are on this machine, where they are looked for, and getting one from the hub."""

from typing import Annotated

import typer

from studio.commands.models import get_from_hub
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.store import Workspace

app = typer.Typer(help="Captioners on this machine.", invoke_without_command=True)


@app.callback()
def captioners(
    context: typer.Context,
    add: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Also look here from now on: a captioner's folder, or one of such.")
    ] = None,
    remove: Annotated[str | None, typer.Option(metavar="FOLDER", help="No longer look here.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """List the captioners on this machine: in the workspace's captioners folder, in added places, in the hub's cache."""
    if context.invoked_subcommand is None:
        _list(add, remove, workspace=workspace, as_json=as_json)


@command
def _list(add: str | None, remove: str | None, workspace: WorkspaceOption, as_json: bool) -> None:
    from studio.dataset.captioners.places import add_captioner_place, list_captioners, list_kinds, remove_captioner_place

    place = Workspace.at(workspace)
    if add is not None:
        add_captioner_place(place, add)
    if remove is not None:
        remove_captioner_place(place, remove)
    found = list_captioners(place)
    lines = [f"{each['title']:40} {each['bytes'] / 2**20:8.0f} MiB  {each['licence']}" for each in found]
    missing = [each for each in list_kinds() if each["hub_id"] and each["kind"] not in {one["kind"] for one in found}]
    lines += [f"{each['title']}: not here; one is fetched by: captioners get {each['hub_id']}" for each in missing]
    answer(found, as_json, "\n".join(lines))


@app.command()
@command
def get(
    captioner: Annotated[str, typer.Argument(metavar="AUTHOR/NAME", help="A captioner's id on the hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Fetch it; without, only licence, gating and size are told.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Tell a hub captioner's licence, gating and size; with --yes, fetch it into the workspace. A token is read from HF_TOKEN alone."""
    get_from_hub("captioner", captioner, yes, Workspace.at(workspace), as_json)
