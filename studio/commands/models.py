"""Commands about base models and others' adapters: what lies where, what it is, and what can be made of it."""

from pathlib import Path
from typing import Annotated

import typer

from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.store import Workspace

app = typer.Typer(help="Base models and adapters on this machine.", invoke_without_command=True)
PlaceArgument = Annotated[str, typer.Argument(metavar="DIR|FILE", help="A folder with models, or one .safetensors file.")]


@app.callback()
def models(
    context: typer.Context,
    places: Annotated[list[Path] | None, typer.Option("--in", metavar="DIR", help="Look only here; may be given again.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """List the base models on this machine: what each is, whether it fits, what to do with it."""
    if context.invoked_subcommand is None:
        _list(places, workspace=workspace, as_json=as_json)


@command
def _list(places: list[Path] | None, workspace: Path, as_json: bool) -> None:
    from studio.errors import StudioError
    from studio.models import list_models

    place = Workspace.at(workspace)
    for folder in places or []:
        if not folder.expanduser().exists():
            raise StudioError(f"--in {folder}: nothing is there; check the spelling")
    rows = list_models(place, [p.expanduser().resolve() for p in places] if places else None)
    lines = [f"{r['model']:36} {r['size_mib']:>9.1f} MiB  {r['family'] or r['what'] or r['kind']}\n    {_remark(r)}" for r in rows]
    answer(rows, as_json, "\n".join(lines or ["no models here"]) + ("" if places else "\nlook in a folder of yours: models add DIR"))


def _remark(row: dict) -> str:
    return f"{row['fit']}; {row['licence']}" if row["usable"] else row["reason"]


@app.command()
@command
def add(place: PlaceArgument, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Remember a folder with models, to be looked through from now on; nothing is copied or moved."""
    from studio.model_places import add_model_place

    path = add_model_place(Workspace.at(workspace), str(Path(place).expanduser().absolute()))
    answer({"place": str(path)}, as_json, f"looking for models in {path} from now on")


@app.command()
@command
def remove(place: PlaceArgument, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Forget a folder; what lies there stays as it is."""
    from studio.model_places import remove_model_place

    path = str(Path(place).expanduser().absolute())
    remove_model_place(Workspace.at(workspace), path)
    answer({"place": path}, as_json, f"not looking for models in {path} any more")
