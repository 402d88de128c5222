"""A judgement carried out: the verdict is written beside the pictures that were drawn for it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from studio.dataset.framing import parse_frame, render
from studio.dataset.rows import open_dataset
from studio.dataset.stored import open_image
from studio.errors import StudioError
from studio.jobs.draw.judgements import Judgement, create_judgement, parse_request
from studio.jobs.draw.judging import judge_run, num_pictures
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import find_run
from studio.sample.pictures import make_grid, write_png
from studio.store import Workspace, write_json

PER_ROW = 8  # pairs
Tick = Callable[[str, float], None]  # (state, how far); raises to end the work between two steps


def describe(workspace: Workspace, judgement: Judgement) -> tuple[Wanted, int]:
    """What the judgement needs room for, and how many pictures it looks at."""
    request = judgement.request()
    run = find_run(workspace, request.run)
    wanted = Wanted(run.spec().base.source, None, None, request.count, f"judging {run.id}")
    return wanted, num_pictures(workspace, run, request)


def carry_out(workspace: Workspace, judgement: Judgement, warm: Warm, tick: Tick) -> None:
    """Draw, compare and judge; `result.json` comes last."""
    request = judgement.request()
    found = judge_run(workspace, find_run(workspace, request.run), request, judgement.pictures, warm, tick)
    write_json(judgement.folder / "result.json", found)


def judge_now(workspace: Workspace, values: dict[str, Any], out: Path | None, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Judge in this process; the pictures as one sheet at `out`. StudioError, before anything is drawn, when asked wrongly."""
    out = Path(os.path.expanduser(out)).resolve() if out else None
    if out and (out.exists() or out.suffix.lower() != ".png"):
        raise StudioError(f"--out {out}: {'is there already' if out.exists() else 'is no .png'}: name a new .png file")
    judgement, is_new = create_judgement(workspace, parse_request(values, "--"))
    if not is_new:
        raise StudioError(f"run {judgement.request().run}: it is being judged just now: wait for that, or cancel it in the studio")
    total = describe(workspace, judgement)[1]

    def tick(state: str, done: float) -> None:
        if judgement.cancelled:
            raise StudioError("cancelled in the studio: judge again")
        progress(int(done), total, state)
        judgement.write_status(state, done=int(done), total=total)

    try:
        carry_out(workspace, judgement, Warm(), tick)
    except BaseException as error:
        judgement.write_status("cancelled" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
        raise
    judgement.write_status("finished", done=total, total=total)
    found = judgement.result()
    if out:
        write_png(out, _sheet(workspace, judgement, found), {"run": judgement.request().run, "step": found["step"], "grid": True})
        found["sheet"] = str(out)
    return found


def _sheet(workspace: Workspace, judgement: Judgement, found: dict[str, Any]) -> "Image.Image":
    """Base, adapted, and the trained pictures that are nearest, below each other, the most alike first."""
    dataset = open_dataset(workspace, find_run(workspace, judgement.request().run).spec().dataset)
    paths = {row.file: dataset.path(row) for row in dataset.rows}
    base, drawn = ([open_image(judgement.pictures / each[name]) for each in found["pictures"]] for name in ("base", "file"))
    trained = [render(open_image(paths[each["trained"]]), _frame(each["sample"])) for each in found["pictures"]]
    sides = [[ImageOps.pad(picture, drawn[0].size) for picture in side] for side in (base, drawn, trained)]
    starts = range(0, len(drawn), PER_ROW)
    return make_grid(
        [side[n : n + PER_ROW] for n in starts for side in sides], ["base", "adapted", "nearest trained picture"] * len(starts)
    )


def _frame(sample: str) -> Any:
    return parse_frame(sample.rpartition(".")[0].partition("-")[2])
