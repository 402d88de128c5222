"""Commands about base models and others' adapters: what lies where, what it is, and what can be made of it."""

import os
from pathlib import Path
from typing import Annotated, Any

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
    from studio.jobs.models.listing import list_models

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
    from studio.models.places import add_model_place

    path = add_model_place(Workspace.at(workspace), str(Path(place).expanduser().absolute()))
    answer({"place": str(path)}, as_json, f"looking for models in {path} from now on")


@app.command()
@command
def remove(place: PlaceArgument, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Forget a folder; what lies there stays as it is."""
    from studio.models.places import remove_model_place

    path = str(Path(place).expanduser().absolute())
    remove_model_place(Workspace.at(workspace), path)
    answer({"place": path}, as_json, f"not looking for models in {path} any more")


@app.command()
@command
def get(
    model: Annotated[str, typer.Argument(metavar="AUTHOR/NAME", help="A model's id on the hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Fetch it; without, only licence, gating and size are told.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Tell a hub model's licence, gating and size; with --yes, fetch it into the workspace. A token is read from HF_TOKEN alone."""
    get_from_hub("model", model, yes, Workspace.at(workspace), as_json)


def get_from_hub(kind: str, hub_id: str, yes: bool, workspace: Workspace, as_json: bool) -> None:
    """Tell what a repository of this kind (a key of `hub_kinds.KINDS`) is; fetch it where `yes`."""
    from studio import console
    from studio.jobs.models import hub

    hub.online()
    hub_id = hub.plain_id(hub_id)
    token = os.environ.get("HF_TOKEN", "")
    if not yes:
        listing = hub.look(hub_id, token, kind)
        answer(listing.told(), as_json, f"{listing.words()}\nfetch it with: {kind}s get {hub_id} --yes")
        return
    with console.progress("fetching") as update:
        path, words = hub.fetch(workspace, hub_id, token, update, kind)
    answer({"path": str(path), "text": words}, as_json, f"{words}\n{path}")


Base = Annotated[str, typer.Option(metavar="NAME|FOLDER|FILE", help="The base they were made for; empty = that of a run among them.")]


@app.command()
@command
def merge(
    adapter: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A run, an adapter file of any layout, or a PEFT folder.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new model folder.")],
    base: Base = "",
    strength: Annotated[float, typer.Option(help="Of the adapter; 1 = as trained.")] = 1.0,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Put an adapter into its base, as a new model folder that is loaded back and compared."""
    from studio.jobs.merge.members import Member
    from studio.jobs.merge.merging import merge as carry_out

    _tell(carry_out(Workspace.at(workspace), Member(adapter, strength), base, out, _say), as_json)


@app.command()
@command
def combine(
    adapters: Annotated[list[str], typer.Argument(metavar="RUN|FILE…", help="Two adapters or more, each as PATH or PATH=STRENGTH.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new .safetensors file.")],
    base: Base = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Several LoRAs as one that does what they do together, exactly; read back and compared."""
    from studio.jobs.merge.members import Member
    from studio.jobs.merge.merging import combine as carry_out

    members = [Member(*_weighted(text)) for text in adapters]
    _tell(carry_out(Workspace.at(workspace), members, base, out, _say), as_json)


@app.command()
@command
def resize(
    adapter: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A LoRA.")],
    rank: Annotated[int, typer.Option(min=1, max=1024, help="The new rank.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new .safetensors file.")],
    base: Base = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """A LoRA at a smaller rank, by its singular values; says what share of its change is lost."""
    from studio.jobs.merge.members import Member
    from studio.jobs.merge.merging import shrink

    _tell(shrink(Workspace.at(workspace), Member(adapter), base, rank, out, _say), as_json)


def _weighted(text: str) -> tuple[str, float]:
    """("adapter", strength) of `adapter=0.5`."""
    from studio.errors import StudioError

    name, equals, number = text.rpartition("=")
    if not equals or Path(text).expanduser().exists():  # a file may have such a name
        return text, 1.0
    try:
        return name, float(number)
    except ValueError:
        raise StudioError(f"{text}: write a strength as {name}=0.5") from None


def _say(stage: str, share: float) -> None:
    """A line for each stage as it begins."""
    from studio import console

    if not share:
        console.say(f"{stage} …")


def _tell(merged: Any, as_json: bool) -> None:
    answer({"file": str(merged.file), "text": merged.text, **merged.about}, as_json, f"{merged.file}\n{merged.text}")
