"""Looks for copies of trained pictures: asked for, followed, left, and the pictures that they drew."""

import re
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from studio.errors import StudioError
from studio.jobs.draw import copy_checks
from studio.jobs.runs.folders import find_run
from studio.store import inside
from ui.desk import Desk


def router(desk: Desk) -> APIRouter:
    """`/copy-checks…`"""
    routes = APIRouter(prefix="/copy-checks")

    @routes.get("")
    def newest(run: str = Query(max_length=300)) -> dict[str, Any]:
        return _describe(copy_checks.find_copy_check(desk.workspace, find_run(desk.workspace, run).id))

    @routes.post("")
    def create(request: copy_checks.CopyCheckRequest) -> dict[str, Any]:
        check, is_new = copy_checks.create_copy_check(desk.workspace, request)
        if is_new:
            check.hand_over(desk.resident.copies)
        return _describe(check)

    @routes.post("/{check_id}/cancel")
    def cancel(check_id: str) -> dict[str, Any]:
        check = copy_checks.read_copy_check(desk.workspace, check_id)
        desk.resident.cancel(check.id)
        return _describe(check)

    @routes.get("/{check_id}/pictures/{file}")
    def picture(check_id: str, file: str) -> FileResponse:
        check = copy_checks.read_copy_check(desk.workspace, check_id)
        path = inside(check.pictures, file)
        if not re.fullmatch(r"[0-9]{3}\.png", file) or not path.is_file():
            raise StudioError(f"picture {file[:40]!r} of this look for copies is not there (any more): look again")
        return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=31536000, immutable"})

    return routes


def _describe(check: copy_checks.CopyCheck | None) -> dict[str, Any]:
    """{"id", "status", "result"} of a look; all None where there is none, the result where it is not finished."""
    if check is None:
        return {"id": None, "status": None, "result": None}
    status = check.progress()
    return {"id": check.id, "status": status, "result": check.result() if status["state"] == "finished" else None}
