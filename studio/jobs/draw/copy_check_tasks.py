"""A look for copies carried out: what came of it is written beside the pictures that it drew."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from studio.dataset.framing import parse_frame, render
from studio.dataset.rows import open_dataset
from studio.dataset.stored import open_image
from studio.errors import StudioError
from studio.jobs.draw.copies import look_for_copies, num_pictures
from studio.jobs.draw.copy_checks import CopyCheck, create_copy_check, parse_request
from studio.jobs.processes.room import Wanted
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.folders import find_run
from studio.sample.pictures import make_grid, write_png
from studio.store import Workspace, write_json

PER_ROW = 8  # pairs
Tick = Callable[[str, float], None]  # (state, how far); raises to end the work between two steps


def describe(workspace: Workspace, check: CopyCheck) -> tuple[Wanted, int]:
    """What the look needs room for, and how many pictures it looks at."""
    request = check.request()
    run = find_run(workspace, request.run)
    wanted = Wanted(run.spec().base.source, None, None, request.count, f"looking for copies in what {run.id} draws")
    return wanted, num_pictures(workspace, run, request)


def carry_out(workspace: Workspace, check: CopyCheck, warm: Warm, tick: Tick) -> None:
    """Draw, compare and judge; `result.json` comes last."""
    request = check.request()
    found = look_for_copies(workspace, find_run(workspace, request.run), request, check.pictures, warm, tick)
    write_json(check.folder / "result.json", found)


def look_now(workspace: Workspace, values: dict[str, Any], out: Path | None, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Look for copies in this process; the pairs as one picture at `out`. StudioError, before anything is drawn, when asked wrongly."""
    out = Path(os.path.expanduser(out)).resolve() if out else None
    if out and (out.exists() or out.suffix.lower() != ".png"):
        raise StudioError(f"--out {out}: {'is there already' if out.exists() else 'is no .png'}: name a new .png file")
    check, is_new = create_copy_check(workspace, parse_request(values, "--"))
    if not is_new:
        raise StudioError(f"run {check.request().run}: the studio is looking for copies in it just now: wait for it, or cancel it there")
    total = describe(workspace, check)[1]

    def tick(state: str, done: float) -> None:
        if check.cancelled:
            raise StudioError("cancelled in the studio: look again")
        progress(int(done), total, state)
        check.write_status(state, done=int(done), total=total)

    try:
        carry_out(workspace, check, Warm(), tick)
    except BaseException as error:
        check.write_status("cancelled" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
        raise
    check.write_status("finished", done=total, total=total)
    found = check.result()
    if out:
        write_png(out, _sheet(workspace, check, found), {"run": check.request().run, "step": found["step"], "grid": True})
        found["sheet"] = str(out)
    return found


def _sheet(workspace: Workspace, check: CopyCheck, found: dict[str, Any]) -> "Image.Image":
    """What was drawn, above the trained pictures that are nearest, the most alike first."""
    dataset = open_dataset(workspace, find_run(workspace, check.request().run).spec().dataset)
    paths = {row.file: dataset.path(row) for row in dataset.rows}
    drawn = [open_image(check.pictures / each["file"]) for each in found["pictures"]]
    trained = [render(open_image(paths[each["trained"]]), _frame(each["sample"])) for each in found["pictures"]]
    sides = [[ImageOps.pad(picture, drawn[0].size) for picture in side] for side in (drawn, trained)]
    starts = range(0, len(drawn), PER_ROW)
    return make_grid([side[n : n + PER_ROW] for n in starts for side in sides], ["drawn", "nearest trained picture"] * len(starts))


def _frame(sample: str) -> Any:
    return parse_frame(sample.rpartition(".")[0].partition("-")[2])
