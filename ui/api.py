"""The main actions for programs: six typed endpoints for `gradio_client`, doing what the screens do."""

import functools
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError, validate_call

from studio.dataset.intake import create_dataset
from studio.dataset.rows import list_datasets as find_datasets
from studio.errors import StudioError
from studio.jobs.processes.asked import OVER, Asked
from studio.jobs.runs.create import Request
from studio.jobs.runs.folders import find_run
from studio.jobs.runs.overview import RunRows
from studio.settings import explain
from ui.compare import picture_url
from ui.desk import Desk
from ui.frame import safe
from ui.routes.drawings import draw
from ui.routes.exports import start_export
from ui.training import start_training

POLL_S = 0.1


def register(desk: Desk) -> None:
    """Add the endpoints to the page that is being built."""
    for make in (_reading, _making, _using):
        for function in make(desk):
            gr.api(_told(function), api_name=function.__name__)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its values checked against its types, and every expected trouble as one line."""
    checked, names = validate_call(function), list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def run(*values: Any) -> Any:
        try:
            return checked(**dict(zip(names, values, strict=True)))
        except ValidationError as error:
            raise gr.Error(safe(StudioError(explain(error))), print_exception=False) from None
        except (StudioError, OSError) as error:
            raise gr.Error(safe(error), print_exception=False) from None

    return run


def _reading(desk: Desk) -> list[Callable[..., Any]]:
    rows = RunRows(desk.workspace)

    def list_datasets() -> list[dict]:
        """The datasets of the workspace: their ids, names and how many pictures they hold."""
        return [
            {"dataset": d.root.name, "name": d.name, "images": len(d.rows), "train": len(d.train_rows), "held_out": len(d.held_out_rows)}
            for d in find_datasets(desk.workspace)
        ]

    def run_state(run: str) -> dict:
        """How a run is now: state, step, steps, held-out loss against the base, seconds, whether it has an adapter, its error.

        Parameters:
            run: its id, its number, or how its id begins
        """
        wanted = find_run(desk.workspace, run).id
        found = next((row for row in rows.read() if row["run"] == wanted), None)
        if found is None:
            raise StudioError(f"run {wanted} has just been deleted")
        return found

    return [list_datasets, run_state]


def _making(desk: Desk) -> list[Callable[..., Any]]:
    def import_pictures(name: str, paths: list[str]) -> dict:
        """Make a dataset from pictures and folders on the studio's own machine, with captions from .txt files or metadata.jsonl.

        Parameters:
            name: what to call it
            paths: files and folders
        """
        if not desk.is_local:
            raise StudioError("paths are read only for programs on the studio's own machine: send the files to /studio/imports instead")
        if not paths or not all(paths):
            raise StudioError("paths: name at least one picture or folder; none may be empty")
        made = create_dataset(desk.workspace, name, [Path(p).expanduser() for p in paths])
        skipped = [s.model_dump() for s in made.skipped]
        return {
            "dataset": made.root.name,
            "name": made.name,
            "images": len(made.rows),
            "held_out": len(made.held_out_rows),
            "skipped": skipped,
        }

    def train(
        dataset: str, base: str = "", recipe: str = "lora", preset: str = "balanced", name: str = "", settings: list[str] | None = None
    ) -> dict:
        """Start training an adapter; the answer comes at once, ask `run_state` how it goes.

        Parameters:
            dataset: the dataset's id
            base: the base model, empty for the embedded one of the recipe
            recipe: lora, or another recipe
            preset: quick, balanced or thorough
            name: what to call the run
            settings: further settings, as in "train.steps=200"
        """
        run = start_training(desk, Request(dataset, base, recipe, preset, name, settings=settings or []))
        return {"run": run.id, "state": run.status()["state"], "steps": run.spec().train.steps}

    return [import_pictures, train]


def _using(desk: Desk) -> list[Callable[..., Any]]:
    def sample(
        run: str,
        prompt: str = "",
        negative: str = "",
        seed: int = 0,
        steps: int = 20,
        guidance: float | None = None,
        strength: float = 1.0,
        count: int = 1,
    ) -> dict:
        """Draw base and adapted from the same noise, and wait for the pictures.

        Parameters:
            run: whose adapter
            prompt: what to draw
            negative: what not to draw
            seed: same seed, same noise; with a count, seeds go up from here
            steps: denoising steps
            guidance: how strongly to follow the prompt; 5 unless given
            strength: of the adapter; 1 = as trained
            count: pairs of pictures
        """
        asked = {"prompt": prompt, "negative": negative, "seed": seed, "steps": steps, "count": count}
        asked |= {} if guidance is None else {"guidance": guidance}
        drawing = draw(desk, asked | {"adapters": [{"run": run, "strength": strength}]})
        _wait(drawing, "drawing")
        about = ("kind", "seed", "strength", "snapshot", "label", "width", "height")
        pictures = [
            {"url": picture_url(drawing, p.file), "file": _place(desk, drawing.pictures / p.file)} | {key: getattr(p, key) for key in about}
            for p in drawing.result()["pictures"]
        ]
        return {"drawing": drawing.id, "pictures": pictures}

    def export(run: str, layout: str = "", snapshot: int | None = None) -> dict:
        """Write the adapter for other programs, read it back, compare, and wait for that.

        Parameters:
            run: whose adapter
            layout: kohya, diffusers or peft, lycoris for LoHa and LoKr, embedding for a learned word; empty for what most programs read
            snapshot: the step, empty for the run's chosen adapter
        """
        made = start_export(desk, {"run": run, "layout": layout, "snapshot": snapshot})
        _wait(made, "export")
        return made.result() | {"export": made.id, "url": f"/studio/exports/{made.id}/file", "file": _place(desk, made.file())}

    return [sample, export]


def _wait(job: Asked, what: str) -> None:
    """Return when a drawing or an export is finished; StudioError with its reason where it came to another end."""
    while (status := job.status())["state"] not in OVER:
        time.sleep(POLL_S)
    if status["state"] != "finished":
        raise StudioError(status.get("error") or f"{what} {job.id} was {status['state']}")


def _place(desk: Desk, file: Path) -> str:
    """Where a file lies, for programs on this machine; its name alone for others. (Under a key "path" the client would fetch it.)"""
    return str(file) if desk.is_local else file.name
