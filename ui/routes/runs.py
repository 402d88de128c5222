"""Runs: their list, one of them live, its pictures and settings; stopping and resuming."""

import re
from typing import Any

from fastapi import APIRouter, Response

from studio.errors import StudioError
from studio.jobs.processes import supervisor
from studio.jobs.runs.metrics import open_run
from studio.jobs.runs.overview import RunRows
from studio.store import inside
from ui.desk import Desk
from ui.training import resume_run

PICTURE = re.compile(r"previews/(base|[0-9]{6,7})/([0-9]{2}\.png)")
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def router(desk: Desk) -> APIRouter:
    """`/runs` and what is below it."""
    routes, rows = APIRouter(prefix="/runs"), RunRows(desk.workspace)

    @routes.get("")
    def list_all() -> list[dict[str, Any]]:
        return rows.read()

    @routes.get("/{run}/live")
    def live(run: str, after: str = "0") -> dict[str, Any]:
        return desk.live.live(run, after)

    @routes.get("/{run}/spec")
    def spec(run: str) -> dict[str, Any]:
        return open_run(desk.workspace, run).spec().model_dump(mode="json")

    @routes.get("/{run}/pictures/{path:path}")
    def picture(run: str, path: str) -> Response:
        return Response(_read_picture(desk, run, path), media_type="image/png", headers=FOR_EVER)

    @routes.post("/{run}/stop")
    def stop(run: str) -> dict[str, Any]:
        found = open_run(desk.workspace, run)
        if not found.lives():
            raise StudioError(f"run {found.id} is not running (it is {found.status()['state']}): nothing to stop")
        supervisor.request_stop(found)
        return {"run": found.id, "stopping": True}

    @routes.post("/{run}/resume")
    def resume(run: str) -> dict[str, Any]:
        return {"run": resume_run(desk, run).id}

    return routes


def _read_picture(desk: Desk, run: str, path: str) -> bytes:
    found = PICTURE.fullmatch(path)
    if not found:
        raise StudioError("this is no picture of a run")
    folder = open_run(desk.workspace, run).folder
    file = inside(inside(inside(folder, "previews"), found[1]), found[2])
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise StudioError(f"run {run}: this picture is gone") from None
