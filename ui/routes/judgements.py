"""Judgements of adapters: asked for, followed, left, and the pictures that were drawn for them."""

import re
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from studio.errors import StudioError
from studio.jobs.draw import judgements
from studio.jobs.runs.folders import find_run
from studio.store import inside
from ui.desk import Desk


def router(desk: Desk) -> APIRouter:
    """`/judgements…`"""
    routes = APIRouter(prefix="/judgements")

    @routes.get("")
    def newest(run: str = Query(max_length=300)) -> dict[str, Any]:
        return _describe(judgements.find_judgement(desk.workspace, find_run(desk.workspace, run).id))

    @routes.post("")
    def create(request: judgements.JudgementRequest) -> dict[str, Any]:
        judgement, is_new = judgements.create_judgement(desk.workspace, request)
        if is_new:
            judgement.hand_over(desk.resident.judge)
        return _describe(judgement)

    @routes.post("/{judgement_id}/cancel")
    def cancel(judgement_id: str) -> dict[str, Any]:
        judgement = judgements.read_judgement(desk.workspace, judgement_id)
        desk.resident.cancel(judgement.id)
        return _describe(judgement)

    @routes.get("/{judgement_id}/pictures/{file}")
    def picture(judgement_id: str, file: str) -> FileResponse:
        judgement = judgements.read_judgement(desk.workspace, judgement_id)
        path = inside(judgement.pictures, file)
        if not re.fullmatch(r"[0-9]{3}(-base)?\.png", file) or not path.is_file():
            raise StudioError(f"picture {file[:40]!r} of this judgement is not there (any more): judge again")
        return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=31536000, immutable"})

    return routes


def _describe(judgement: judgements.Judgement | None) -> dict[str, Any]:
    """{"id", "status", "result"} of a judgement; all None where there is none, the result where it is not finished."""
    if judgement is None:
        return {"id": None, "status": None, "result": None}
    status = judgement.progress()
    return {"id": judgement.id, "status": status, "result": judgement.result() if status["state"] == "finished" else None}
