"""Captions by a captioner: who there is, asked for, followed, stopped."""

from typing import Any

from fastapi import APIRouter, Query

from studio import registry
from studio.dataset.captioning import CaptionRequest, unknown_line
from studio.errors import StudioError
from studio.jobs import captionings
from studio.jobs.captionings import Captioning
from ui.desk import Desk


def start_captioning(desk: Desk, request: CaptionRequest) -> Captioning:
    """Make a captioning and hand it to the resident process."""
    captioning = captionings.create_captioning(desk.workspace, request)
    try:
        desk.resident.caption(captioning.id)
    except StudioError as error:  # too many wait already: told here, and not left as waiting
        captioning.write_status("failed", error=str(error))
        raise
    return captioning


def router(desk: Desk) -> APIRouter:
    """`/captioners` and `/captionings…`"""
    routes = APIRouter()

    @routes.get("/captioners")
    def captioners() -> list[dict[str, str]]:
        return [{"captioner": key, "title": registry.captioner(key).TITLE} for key in registry.CAPTIONERS]

    @routes.get("/captionings")
    def newest(dataset: str = Query(max_length=300)) -> dict[str, Any] | None:
        found = captionings.find_captioning(desk.workspace, dataset)
        return describe(found) if found else None

    @routes.post("/captionings")
    def create(request: CaptionRequest) -> dict[str, Any]:
        return describe(start_captioning(desk, request))

    @routes.get("/captionings/{captioning_id}")
    def read(captioning_id: str) -> dict[str, Any]:
        return describe(captionings.read_captioning(desk.workspace, captioning_id))

    @routes.post("/captionings/{captioning_id}/cancel")
    def cancel(captioning_id: str) -> dict[str, Any]:
        captioning = captionings.read_captioning(desk.workspace, captioning_id)
        captioning.cancel()
        return describe(captioning)

    return routes


def describe(captioning: Captioning) -> dict[str, Any]:
    """{"id", "dataset", "captioner", "status", "result"}; the result once it is finished."""
    status, request = captioning.status(), captioning.request()
    result = captioning.result() if status["state"] == "finished" else None
    if result:
        result["unknown_text"] = unknown_line(result["captioner"], result["unknown"]) if result["unknown"] else ""
    told = {key: status.get(key) for key in ("state", "done", "total", "progress", "note", "error", "created")}
    return {"id": captioning.id, "dataset": request.dataset, "captioner": request.captioner, "status": told, "result": result}
