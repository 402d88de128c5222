"""Commands of the dataset doctor: check, mend, undo, and split."""

from typing import Annotated, Any

import typer

from studio import console
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.errors import StudioError
from studio.store import Workspace

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dataset.")]
SHOWN = 6  # files named per finding
MENDS = "copies, exclude, trim, upright, fill, trigger, class_noun, split, within, keep or forget"


def add_to(app: typer.Typer) -> None:
    """The commands of this file, as `dataset` commands."""
    app.command("check")(dataset_check)
    app.command("fix")(dataset_fix)
    app.command("undo")(dataset_undo)
    app.command("split")(dataset_split)


@command
def dataset_check(
    name: NameArgument,
    look: Annotated[bool, typer.Option("--look/--no-look", help="Also compare what the pictures show.")] = True,
    base: Annotated[str, typer.Option(metavar="MODEL", help="Judge sizes and captions for this base model.")] = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Look at every picture and caption of a dataset: what is wrong, how ready it is, what mends it.

    With --json the last line holds score (0 to 100), images, measured, compared, checked (a time), and findings, the dearest first: each
    with key, title, text, why, cost (points), files, told (a reason by file), groups (files, best, why) and mends (mend, label, title).
    The exit code is 0 whatever is found, 2 where the dataset is not there, 1 where the disk fails.
    """
    from studio.dataset.doctor.examine import examine, tower_looker
    from studio.dataset.doctor.fix import examined

    place = Workspace.at(workspace)
    with console.progress("checking pictures") as update:
        examine(place, name, update, tower_looker() if look else None)
    found = examined(place, name, **_for_base(place, name, base))
    lines = [f"readiness {found['score']} of 100, {found['images']} pictures"]
    for each in found["findings"]:
        lines.append(f"- {each['title']}: {each['text']} (-{each['cost']:g})" if each["cost"] else f"- {each['title']}: {each['text']}")
        lines += [f"    {file}: {why}" for file, why in list(each["told"].items())[:SHOWN]]
        rest = len(each["told"]) - SHOWN
        lines += [f"    and {rest} more"] if rest > 0 else []
        mends = [mend for mend in each["mends"] if mend["mend"] != "review"]
        lines += [f"    mend: dataset fix {name} --check {each['key']} --mend {' or '.join(m['mend'] for m in mends)}"] if mends else []
    answer(found, as_json, "\n".join(lines))


def _for_base(place: Workspace, name: str, source: str) -> dict[str, Any]:
    """What a base model draws and how far it reads each caption; without one named, that of the newest run, as far as it reads."""
    from studio.dataset.rows import open_dataset
    from studio.jobs.datasets.reading import read_texts
    from studio.jobs.runs.folders import last_base
    from studio.models.bases import STARTER, find_base

    dataset = open_dataset(place, name)
    try:
        base = find_base(source or last_base(place, dataset.root.name), place)
        if base.path == STARTER:
            return {}
        captions = [dataset.caption(row) for row in dataset.rows]
        ends = read_texts(base.family, base.path, captions)["ends"]
    except (StudioError, OSError):
        if source:
            raise
        return {}
    return {"reads": (f"the base {base.name}", dict(zip(captions, ends, strict=True)))} | ({"size_px": base.shape_px[0]} if source else {})


@command
def dataset_fix(
    name: NameArgument,
    check: Annotated[str, typer.Option(metavar="KEY", help="What to mend, as dataset check names it; else all that is safe.")] = "",
    mend: Annotated[str, typer.Option(metavar="MEND", help=f"How: {MENDS}.")] = "",
    only: Annotated[list[str] | None, typer.Option("--file", metavar="FILE", help="Only this picture; can be given again.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Mend what a check found. Every mend can be undone; no picture file is changed or deleted.

    Pictures named by --file can be excluded whatever the check, as in a review.

    With --json the last line is a list of what was done: check, undo (an id for dataset undo) and text. Nothing to mend is an empty list
    without --check, and an error (exit code 2) with it.
    """
    from studio.dataset.doctor.fix import fix, fix_all
    from studio.dataset.doctor.table import CHECKS

    place = Workspace.at(workspace)
    if not check:
        if mend or only:
            raise StudioError("dataset fix: say with --check what is to be mended")
        done = fix_all(place, name)
    else:
        proposal = next((key for key in CHECKS[check].mends if key != "review"), "") if check in CHECKS else ""
        told = fix(place, name, check, mend or proposal, only or None)
        done = [{"check": check, "undo": told["undo"], "text": told["text"]}] if told.get("undo") else []
        if not done and told.get("text"):
            raise StudioError(f"{name}: {told['text']}")
    lines = [f"{each['text']}; to undo: dataset undo {name} {each['undo']}" for each in done]
    answer(done, as_json, "\n".join(lines) or "nothing to mend")


@command
def dataset_undo(
    name: NameArgument,
    change: Annotated[str, typer.Argument(metavar="[ID]", help="As dataset fix or split told it; without it, the last change.")] = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Undo a change of a dataset: pictures excluded, captions or crops changed, a split made anew."""
    from studio.dataset.removal import list_history
    from studio.dataset.rows import open_dataset
    from studio.dataset.wording import undo_change

    place = Workspace.at(workspace)
    dataset = open_dataset(place, name)
    history = list_history(dataset)
    if not change and not history:
        raise StudioError(f"{dataset.name}: there is nothing to undo")
    told = undo_change(place, name, change or history[0]["undo"])
    answer(told, as_json, told["text"])


@command
def dataset_split(
    name: NameArgument,
    groups_by: Annotated[str, typer.Option(metavar="REGEX", help=r"Pictures whose names match alike stay together: 'patient(\d+)'.")] = "",
    column: Annotated[str, typer.Option(metavar="NAME", help="Pictures alike in this column of metadata.jsonl do; or: folder.")] = "",
    within: Annotated[bool, typer.Option("--within", help="Pictures of one patient or scene may lie on both sides.")] = False,
    share: Annotated[float | None, typer.Option(metavar="0..1", help="Hold out this part; by default by the number of pictures.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Draw other pictures.")] = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what it would be.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Choose anew which pictures are held out; copies, look-alikes and named groups never lie on both sides.

    With --json the last line holds train, held_out, changed, groups, alike_groups, alone (numbers of pictures or groups), largest (name
    and number), columns, rule, notes, and, unless it is a preview, text and undo.
    """
    from studio.dataset.removal import count
    from studio.dataset.resplit import preview_split, split_dataset
    from studio.dataset.rows import open_dataset
    from studio.dataset.split_rule import parse_rule

    place = Workspace.at(workspace)
    rule = parse_rule({"groups_by": groups_by, "column": column, "share": share, "within": within, "seed": seed})
    told = preview_split(place, open_dataset(place, name), rule) if preview else split_dataset(place, name, rule)
    lines = [f"{count(told['train'])} to train on, {told['held_out']} held out; {told['changed']} change sides"]
    lines += [f"{told['groups']} named groups, {told['alike_groups']} of look-alikes, {told['alone']} pictures alone"] + [
        f"  {group}: {num}" for group, num in told["largest"]
    ]
    lines += [f"- {note}" for note in told["notes"]] + ([f"to undo: dataset undo {name} {told['undo']}"] if not preview else [])
    answer(told, as_json, "\n".join(lines))
