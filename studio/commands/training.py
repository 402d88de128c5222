"""Commands that start, follow, stop and list runs."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from studio import console
from studio.console import DEFAULT, JsonOption, RunArgument, WorkspaceOption, answer, command
from studio.errors import StudioError
from studio.store import Workspace

app = typer.Typer()
SHOWN_CUT = 10  # captions that are not read to their end


class Preset(StrEnum):
    """How long is trained: the presets that every recipe has."""

    quick = "quick"
    balanced = "balanced"
    thorough = "thorough"


@app.command()
@command
def train(
    dataset: Annotated[str, typer.Option(metavar="NAME", help="What to train on.")],
    base: Annotated[
        str, typer.Option(metavar="starter|starter-pixel|FOLDER|FILE", help="The model to adapt; empty = the embedded one of the recipe.")
    ] = "",
    recipe: Annotated[str, typer.Option(help="Which methods are combined.")] = "lora",
    preset: Annotated[Preset, typer.Option(help="How long to train.")] = Preset.balanced,
    start_from: Annotated[str, typer.Option("--from", metavar="RUN|FILE", help="Continue from this adapter.")] = "",
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in train.steps=200; see settings.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost, and the memory plan; nothing is made.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> int:
    """Train an adapter in a process of its own and follow it; Ctrl-C stops it cleanly, closing the terminal does not."""
    from studio.jobs.processes import supervisor
    from studio.jobs.runs.create import Request, create_run

    place = Workspace.at(workspace)
    request = Request(dataset, base, recipe, preset.value, name, start_from, settings or [])
    if dry_run:
        return _tell_cost(place, request, as_json)
    run = create_run(place, request)
    process = supervisor.start(run)
    print(f"run {run.id}", flush=True)
    return _end(console.watch(run, process), as_json)


def _tell_cost(place: Workspace, request: Any, as_json: bool) -> int:
    """What a run would cost, and the memory plan; 1 where it does not fit."""
    from studio.jobs.plan.estimate import estimate, in_words
    from studio.jobs.runs.create import settle

    spec, opened, base, _ = settle(place, request)
    cost = estimate(place, spec, opened, base)
    time = f"{in_words(cost['seconds'])}, {cost['memory_gib']:.1f} GiB of memory, {cost['disk_mib']} MiB on disk ({cost['source']})"
    plan = f"memory plan: about {cost['plan_gib']:.1f} GiB ({cost['plan_details']}); {cost['plan']}"
    drawing = f"pictures: {cost['drawing']}" if cost["drawing"] else ""
    drawing += "" if cost["drawing_fits"] else "; even so they do not fit this GPU"
    cost["captions"] = _read_captions(spec, opened, base)
    lines = [time, plan, drawing, _say_read(cost["captions"]), *([f"it {cost['reason']}"] if cost["reason"] else [])]
    answer(cost, as_json, "\n".join(line for line in lines if line))
    return 0 if cost["fits"] else 1


def _read_captions(spec: Any, opened: Any, base: Any) -> dict[str, Any]:
    """What the base reads of all captions as the run would train on them."""
    from studio.jobs.datasets.reading import tell_long
    from studio.recipes import worded

    try:
        return tell_long(base, {row.file: worded(spec, opened.caption(row)) for row in opened.rows})
    except StudioError as error:
        return {"error": str(error)}


def _say_read(told: dict[str, Any]) -> str:
    """The captions that are not read to their end, a line each, the first ones."""
    if "error" in told:
        return f"captions: what the base reads of them cannot be told: {told['error']}"
    if not told["limit"]:
        return ""
    num, empty, reads = len(told["long"]), told["num_empty"], f"this base reads {told['limit']} tokens"
    if empty and empty == told["num"]:
        return "captions: no picture has one yet, so what is learned is tied to no words; caption writes them"
    wordless = [f"captions: {empty} of {told['num']} pictures have none"] if empty else []
    if not num:
        return "\n".join([*wordless, f"captions: all {told['num'] - empty} are read to their end ({reads})"])
    first = [f"  {each['file']}: read to “…{each['read'][-40:]}”; not read: “{each['rest'][:80]}”" for each in told["long"][:SHOWN_CUT]]
    rest = [f"  and {num - SHOWN_CUT} more; --json has them all"] if num > SHOWN_CUT else []
    return "\n".join([*wordless, f"captions: {num} of {told['num']} are longer than is read of them ({reads})", *first, *rest])


def _end(result: dict, as_json: bool) -> int:
    """Tell how a run ended; 1, with the reason on stderr, when it failed or broke off."""
    from studio.jobs.runs.folders import ALIVE

    well = result["state"] in ALIVE | {"finished", "stopped"}
    if not well:
        broke_off = f"run {result['run']} broke off at step {result['steps']}, as when killed or out of memory: continue it with resume"
        console.tell_error(result.get("error") or broke_off, False)
    text = f"run {result['run']}: {result['state']} after {result['steps']} steps"
    answer(result, as_json, text + (f"; adapter: {result['adapter']}" if result["adapter"] else ""))
    return 0 if well else 1


@app.command()
@command
def settings(
    recipe: Annotated[str, typer.Option(help="Whose settings.")] = "lora", as_json: JsonOption = False, workspace: WorkspaceOption = DEFAULT
) -> None:
    """List every setting that --set takes."""
    from studio.overrides import known_settings
    from studio.recipes import load_recipe

    known = known_settings([m["kind"] for m in load_recipe(recipe)["methods"]])
    answer(known, as_json, "\n".join(f"{k:28} {v}" for k, v in known.items()))


@app.command()
@command
def stop(run: RunArgument, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Stop a run after its current step, keeping all it has learned."""
    from studio.jobs.processes import supervisor
    from studio.jobs.runs import folders

    summary = supervisor.stop(folders.find_run(Workspace.at(workspace), run))
    answer(summary, as_json, f"run {summary['run']}: {summary['state']} at step {summary['step']} of {summary['steps']}")


@app.command()
@command
def resume(run: RunArgument, workspace: WorkspaceOption = DEFAULT, as_json: JsonOption = False) -> int:
    """Continue a run from its newest resume point, or follow it while it runs."""
    from studio.jobs.processes import supervisor
    from studio.jobs.runs import folders

    found = folders.find_run(Workspace.at(workspace), run)
    cursor, process = found.events.stat().st_size if found.events.exists() else 0, None
    if found.status()["state"] not in folders.ALIVE | {"finished"}:
        try:
            process = supervisor.start(found)
        except StudioError:
            if not found.lives():  # else someone else has just started it
                raise
    print(f"run {found.id}", flush=True)
    return _end(console.watch(found, process, cursor), as_json)


@app.command("runs")
@command
def list_runs(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this run.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """List runs with their true state."""
    from studio.jobs.runs import folders

    place = Workspace.at(workspace)
    found = folders.list_runs(place) if run is None else [folders.find_run(place, run)]
    if run is not None:
        found[0].spec()  # damaged settings are an error of this run alone, in a list only a remark
    rows = [r.summary() for r in found]
    text = "\n".join(
        f"{r['run']:40} {r['state']:12} step {r['step']}/{r['steps']}" + (f"  {r['error']}" if "error" in r else "") for r in rows
    )
    answer(rows if run is None else rows[0], as_json, text or "no runs yet: start one with train")
