"""Commands that compare and choose: runs side by side, recipes in a duel, methods by their cards, and advice."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from studio import console
from studio.commands.training import Preset
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.store import Workspace

app = typer.Typer()
WIDTH = 28  # letters of a value in a terminal


@app.command()
@command
def board(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more: ids, numbers, or how their ids begin.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to a new file: .html or .csv.")] = None,
    differs: Annotated[bool, typer.Option("--differs", help="Show only what differs.")] = False,
    prompts: Annotated[bool, typer.Option("--prompts", help="Let prompts and other typed words go into the file, too.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Put runs side by side: facts and settings in rows, rows that differ marked with ≠."""
    from studio.jobs.board.export import check_target, write_board
    from studio.jobs.board.table import compare, named_runs

    place = Workspace.at(workspace)
    if out:
        check_target(out)  # before anything is read
    ids = named_runs(place, runs)
    value = compare(place, ids)
    if differs:
        value["rows"] = [row for row in value["rows"] if row["differs"]]
    file = write_board(place, ids, out, prompts) if out else None
    answer(value | ({"file": str(file)} if file else {}), as_json, str(file) if file else in_lines(value))


def in_lines(board: dict[str, Any]) -> str:
    """A board for a terminal."""
    heads = board["runs"]
    lines = [f"{h['run']}: {h['error'] or h['state']}" for h in heads] + [f"!! {note}" for note in board["notes"]]
    group = ""
    for row in board["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines += ["", group]
        name = row["title"] + (f" ({row['unit']})" if row["unit"] else "")
        cells = "  ".join(f"{_short(value):{WIDTH}}" for value in row["values"])
        lines.append(f"{'≠' if row['differs'] else ' '} {name:32} {cells}".rstrip())
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


@app.command()
@command
def methods(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="Only this one.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Tell what each adaptation method is, who published it, when to use it and when not."""
    from studio.method_cards import for_page, in_lines, list_cards, read_card

    cards = list_cards() if recipe is None else [read_card(recipe)]
    rows = [for_page(card) for card in cards]
    answer(rows if recipe is None else rows[0], as_json, "\n\n".join(in_lines(card) for card in cards))


@app.command()
@command
def duel(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="What to train on.")],
    recipes: Annotated[str, typer.Option(metavar="A,B[,C,D]", help="Two to four recipes; methods lists them.")],
    base: Annotated[str, typer.Option(metavar="starter|FOLDER|FILE", help="The model to adapt; starter is embedded.")] = "",
    preset: Annotated[Preset, typer.Option(help="How long to train.")] = Preset.quick,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting for all of them that have it."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> int:
    """Train the same pictures by several recipes with an equal budget, one after the other; Ctrl-C stops them all."""
    from studio.jobs.plan.duel import Wanted, create_duel
    from studio.jobs.processes import supervisor
    from studio.jobs.runs.folders import ALIVE

    place = Workspace.at(workspace)
    held, runs = create_duel(place, Wanted(dataset, recipes.split(","), base, preset.value, settings or []))
    processes = [supervisor.start(run, queued=True) for run in runs]
    for run in runs:
        print(f"run {run.id}", flush=True)
    results = _follow_all(runs, processes)
    well = all(r["state"] in ALIVE | {"finished", "stopped"} for r in results)
    text = [f"run {r['run']}: {r['state']} after {r['steps']} steps" + (f": {r['error']}" if "error" in r else "") for r in results]
    numbers = " ".join(run.id.partition("-")[0].lstrip("0") for run in runs)
    answer({"runs": results, **held.budget()}, as_json, "\n".join([*text, f"side by side: board {numbers}"]))
    return 0 if well else 1


def _follow_all(runs: list[Any], processes: list[Any]) -> list[dict[str, Any]]:
    """Follow each run to its end; once one is stopped, the others are, and once one is left to itself, all are."""
    from studio.jobs.processes.supervisor import request_stop
    from studio.jobs.runs.folders import ALIVE

    results, left = [], False
    for run, process in zip(runs, processes, strict=True):
        if left:
            results.append(console.result(run))
            continue
        results.append(console.watch(run, process))
        left = results[-1]["state"] in ALIVE
        if results[-1]["state"] == "stopped":
            for other in runs:
                if other.lives():
                    request_stop(other)
    return results


@app.command()
@command
def advise(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="What is to be learned.")],
    goal: Annotated[str, typer.Option(metavar="style|subject|modality", help="What the pictures have in common.")],
    memory: Annotated[float | None, typer.Option(metavar="GiB", help="Memory that training may use; else this machine's.")] = None,
    base: Annotated[str, typer.Option(metavar="starter|FOLDER|FILE", help="The model to adapt; starter is embedded.")] = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Recommend a recipe and settings for a dataset, each with its reason and who found it."""
    from studio.jobs.plan.advisor import advise_for
    from studio.recipes import stand_in

    told = advise_for(Workspace.at(workspace), dataset, goal, memory, base)
    lines = [f"{told['title']}, preset {told['preset']}: about {told['needs_gib']:.1f} of {told['memory_gib']:g} GiB"]
    lines += [f"  {r['text']} ({r['source']})" for r in told["reasons"]]
    lines += [f"!! {warning}" for warning in told["warnings"]]
    lines += [f"or {other['recipe']}: {other['text']} ({other['source']})" for other in told["instead"]]
    words = ["train", "--dataset", told["dataset"], *(["--base", base] if base else []), "--recipe", told["recipe"]]
    words += ["--set", "prior.class_noun=NOUN"] if stand_in(told["recipe"]) else []
    words += ["--preset", told["preset"], *(word for s in told["settings"] for word in ("--set", s))]
    answer(told, as_json, "\n".join([*lines, "start it: " + shlex.join(words)]))
