"""Commands that make and look at datasets."""

from pathlib import Path
from typing import Annotated

import typer

from studio import console
from studio.commands.choosing import choosing
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.dataset.readers.base import Choices
from studio.errors import StudioError
from studio.store import Workspace

app = typer.Typer(help="Make and look at datasets.", no_args_is_help=True)
WHITE = "#ffffff"


@app.command("new")
@command
@choosing
def dataset_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Pictures, scans, scenes, and folders of them.")] = None,
    demo: Annotated[str, typer.Option(metavar="NAME", help="A demo instead: brain-mri, satellite or icons.")] = "",
    background: Annotated[str, typer.Option(metavar="COLOUR", help="What transparent pictures are laid on.")] = WHITE,
    alpha_masks: Annotated[
        bool, typer.Option("--alpha-masks", help="Keep transparent parts as masks: they are left out of training.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
    *,
    choices: Choices,
) -> None:
    """Make a dataset from pictures, with captions from .txt files or metadata.jsonl beside them; scans and scenes as chosen."""
    from studio.dataset.intake import create_dataset, create_demo

    if bool(demo) == bool(paths):
        raise StudioError("dataset new: give either pictures (files, folders) or --demo NAME")
    if "" in (paths or []):
        raise StudioError("dataset new: one path is empty (. is the folder you are in): name the pictures, or folders of them")
    options = {"background": background, "choices": choices, "alpha_masks": alpha_masks}
    if demo and options != {"background": WHITE, "choices": Choices(), "alpha_masks": False}:
        raise StudioError("dataset new: a demo comes as it is: leave --background, --alpha-masks and the choices for scans away")
    place, sources = Workspace.at(workspace), [Path(p) for p in paths or []]
    with console.progress("reading pictures") as update:
        made = create_demo(place, demo, name, update) if demo else create_dataset(place, name, sources, progress=update, **options)
    skipped = [s.model_dump() for s in made.skipped]
    lines = [f"skipped {s['file']}: {s['reason']}" for s in skipped]
    if not made.held_out_rows and len({row.group for row in made.rows} - {""}) == 1:
        lines.append("nothing is held out: all pictures are of one patient or scene; import more of them, or hold out a part: --blocks")
    lines.append(f"dataset {made.name}: {len(made.train_rows)} pictures to train on, {len(made.held_out_rows)} held out, in {made.root}")
    lines.append(_what_the_doctor_says(place, made.root.name))
    answer({"dataset": made.root.name, "images": len(made.rows), "skipped": skipped}, as_json, "\n".join(lines))


def _what_the_doctor_says(place: Workspace, name: str) -> str:
    """One line on how ready a dataset is; what its pictures show is not compared for it."""
    from studio.dataset.doctor.fix import examined

    found = examined(place, name)
    titles = [each["title"].lower() for each in found["findings"] if each["cost"]]
    what = f"{', '.join(titles[:4])}{f' and {len(titles) - 4} more' if len(titles) > 4 else ''}: " if titles else ""
    return f"readiness {found['score']} of 100; {what}look with dataset check {name}"


@app.command("add")
@command
@choosing
def dataset_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which dataset.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, scans, scenes, and folders of them.")],
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
    *,
    choices: Choices,
) -> None:
    """Add pictures to a dataset; those in it already are left out, and what is held out stays held out."""
    from studio.dataset.edit import add_pictures
    from studio.dataset.removal import count

    if "" in paths:
        raise StudioError("dataset add: one path is empty (. is the folder you are in): name the pictures, or folders of them")
    with console.progress("reading pictures") as update:
        added = add_pictures(Workspace.at(workspace), name, [Path(p) for p in paths], choices=choices, progress=update)
    skipped = [s.model_dump() for s in added.skipped]
    lines = [f"skipped {s['file']}: {s['reason']}" for s in skipped]
    lines.append(f"added {count(len(added.files))} to {added.dataset.name}, which has {len(added.dataset.rows)} now")
    lines.append(_what_the_doctor_says(Workspace.at(workspace), added.dataset.root.name))
    answer({"dataset": added.dataset.root.name, "added": added.files, "skipped": skipped}, as_json, "\n".join(lines))


@app.command("survey")
@command
def dataset_survey(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Scans, scenes, and folders of them.")],
    as_json: JsonOption = False,
) -> None:
    """Say what scans and scenes hold, and what can be chosen, without importing anything."""
    from studio.dataset.surveying import survey_files

    with console.progress("looking into files") as update:
        sets, found = survey_files([Path(p) for p in paths], update)
    lines = [
        f"{s['number']:>3} {s['title']}: {s['about']}, {s['files']} files" + "".join(f"; {n}" for n in [*s["notes"], s["aside"]] if n)
        for s in sets
    ]
    lines += [f"    choices: {', '.join('--' + c.replace('_', '-') for c in s['choices'])}" for s in sets[:1]]
    skipped = [each.model_dump() for each in found.skipped]
    lines += [f"skipped {s['file']}: {s['reason']}" for s in skipped]
    answer({"sets": sets, "plain": len(found.pictures), "skipped": skipped}, as_json, "\n".join(lines) or "no scans or scenes here")


@app.command("list")
@command
def dataset_list(workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """List the datasets."""
    from studio.dataset.rows import list_datasets

    rows = [
        {"dataset": d.root.name, "name": d.name, "images": len(d.rows), "held_out": len(d.held_out_rows)}
        for d in list_datasets(Workspace.at(workspace))
    ]
    text = "\n".join(f"{r['dataset']:32} {r['images']:>6} pictures, {r['held_out']} held out" for r in rows)
    answer(rows, as_json, text or "no datasets yet: make one with dataset new")


@app.command("report")
@command
def dataset_report(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    look: Annotated[bool, typer.Option("--look", help="Also compare what the pictures show, by the embedded image tower.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Say what a dataset holds and what to look at before training."""
    from studio.dataset.report import report
    from studio.dataset.rows import open_dataset

    place = Workspace.at(workspace)
    found = {}
    if look:
        from studio.dataset.doctor.examine import examine, tower_looker
        from studio.dataset.likeness import dataset_features, split_distance

        looker = tower_looker()
        with console.progress("looking at pictures") as update:
            examine(place, name, update, looker)
        dataset = open_dataset(place, name)
        found = {"held_out_distance": split_distance(dataset, dataset_features(place, dataset, looker.features, looker.kind))}
    found = report(open_dataset(place, name)) | found
    lines = [f"{k}: {v}" for k, v in found.items() if k not in {"notes", "skipped"}] + [f"- {n}" for n in found["notes"]]
    lines.append(f"which pictures, why, and what mends it: dataset check {name}")
    answer(found, as_json, "\n".join(lines))


@app.command("export")
@command
def dataset_export(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    captions: Annotated[
        str, typer.Option(metavar="txt|jsonl|kohya|parquet", help="As .txt, as metadata.jsonl, in kohya's folders, in Parquet tables.")
    ] = "txt",
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Masks in a folder mask, under their pictures' names.")] = True,
    facts: Annotated[bool, typer.Option("--facts", help="Tables also hold what is known of scans: modality, plane, bands, place.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Copy a dataset out, readable by other trainers (txt, kohya) or by Hugging Face's datasets (jsonl, parquet)."""
    from studio.dataset.export import export_dataset
    from studio.dataset.rows import open_dataset

    export_dataset(open_dataset(Workspace.at(workspace), name), out, captions, masks, facts)
    answer({"out": str(out)}, as_json, f"written to {out}")
