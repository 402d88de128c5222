"""Commands that use what a run has learned: sample and export."""

from pathlib import Path
from typing import Annotated

import typer

from studio import console
from studio.console import DEFAULT, JsonOption, RunArgument, SnapshotOption, WorkspaceOption, answer, command
from studio.store import Workspace

app = typer.Typer()
FORMATS = "Who reads it, of those the method has: kohya, diffusers, lycoris, peft, embedding, model, checkpoint, extracted; empty = most."


@app.command()
@command
def sample(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")],
    prompt: Annotated[str, typer.Option(help="What to draw.")] = "",
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    seed: Annotated[int, typer.Option(help="Same seed, same noise.")] = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 20,
    guidance: Annotated[float | None, typer.Option(help="How strongly to follow the prompt; as usual for the base unless given.")] = None,
    sampler: Annotated[
        str, typer.Option(help="dpm++2m, euler or unipc; heun for flow models, ddim for others; ddpm without text.")
    ] = "dpm++2m",
    strength: Annotated[float, typer.Option(help="Strength of the adapter; 1 = as trained.")] = 1.0,
    snapshot: SnapshotOption = None,
    count: Annotated[int, typer.Option(min=1, max=64, help="How many pairs, with seeds from --seed on.")] = 1,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Draw base and adapted side by side, from the same noise."""
    from studio.jobs.draw import sampling

    wanted = sampling.Wanted(prompt, negative, seed, steps, guidance, sampler, strength, snapshot, count)
    with console.progress("drawing") as update:
        files = sampling.sample(Workspace.at(workspace), run, wanted, out, update)
    answer(files, as_json, f"grid: {files['grid']}")


@app.command()
@command
def judge(
    run: RunArgument,
    count: Annotated[int, typer.Option(min=8, max=256, help="How many pairs are drawn; more find rarer copies.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the first pair.")] = 0,
    snapshot: SnapshotOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new PNG: base, adapted and the nearest trained picture of each.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """The verdict: nearer to the domain, copies of trained pictures, variety, captions followed."""
    from studio.jobs.draw import judging_tasks

    wanted = {"run": run, "snapshot": snapshot, "count": count, "seed": seed}
    with console.progress("judging") as update:
        found = judging_tasks.judge_now(Workspace.at(workspace), wanted, out, update)
    marks = {"good": "+", "doubt": "?", "bad": "!"}
    lines = [f"  {marks.get(each['state'], '-')} {each['title']}: {each['text']}" for each in found["findings"]]
    answer(found, as_json, "\n".join([found["text"], *lines]))


@app.command()
@command
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new .safetensors file (a folder for peft and model).")],
    layout: Annotated[str, typer.Option("--format", metavar="NAME", help=FORMATS)] = "",
    rank: Annotated[int, typer.Option(min=1, max=1024, help="Of a LoRA taken out of a tuned model (--format extracted).")] = 32,
    snapshot: SnapshotOption = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write the adapter for other programs; it is read back and compared first."""
    from studio.jobs.export.exporting import Aid, export_run
    from studio.jobs.runs.folders import find_run

    place = Workspace.at(workspace)
    file, verified = export_run(place, find_run(place, run), layout or None, snapshot, out, Aid(rank=rank))
    value = {"file": str(file), "layers": verified.layers, "max_difference": verified.max_difference}
    value |= {} if verified.lacks is None else {"lacks": verified.lacks}
    answer(value, as_json, f"{file}\nverified: {verified}")
