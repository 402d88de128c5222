"""Captions by a captioner: who there is, asked for, followed, stopped."""

from typing import Any

from fastapi import APIRouter, Query

from studio.dataset.captioners.places import add_captioner_place, captioner_places, list_captioners, list_kinds, remove_captioner_place
from studio.dataset.captioners.prompts import PROMPTS
from studio.dataset.captioning import CaptionRequest, unknown_line
from studio.errors import StudioError
from studio.jobs.datasets import captionings
from studio.jobs.datasets.captionings import Captioning
from ui.desk import Desk
from ui.routes.models import Place


def start_captioning(desk: Desk, request: CaptionRequest) -> Captioning:
    """Make a captioning and hand it to the resident process."""
    captioning = captionings.create_captioning(desk.workspace, request)
    captioning.hand_over(desk.resident.caption)
    return captioning


def router(desk: Desk) -> APIRouter:
    """`/captioners` and `/captionings…`"""
    routes = APIRouter()

    @routes.get("/captioners")
    def captioners() -> dict[str, Any]:
        added = [str(path) for path in captioner_places(desk.workspace)]
        told = {"captioners": list_captioners(desk.workspace), "kinds": list_kinds(), "prompts": PROMPTS}
        return told | {"places": added, "can_add": desk.is_local}

    @routes.post("/captioners/places")
    def add(place: Place) -> list[dict[str, Any]]:
        if not desk.is_local:
            raise StudioError("folders are added on the machine that shows this page")
        return add_captioner_place(desk.workspace, place.path)

    @routes.delete("/captioners/places")
    def remove(place: Place) -> dict[str, str]:
        remove_captioner_place(desk.workspace, place.path)
        return {"path": place.path}

    @routes.get("/captionings")
    def newest(dataset: str = Query(max_length=300)) -> dict[str, Any] | None:
        found = captionings.find_captioning(desk.workspace, dataset)
        return describe(found) if found else None

    @routes.post("/captionings")
    def create(request: CaptionRequest) -> dict[str, Any]:
        if not desk.is_local and request.captioner not in [each["captioner"] for each in list_captioners(desk.workspace)]:
            raise StudioError("captioner: choose one of those that are listed")
        return describe(start_captioning(desk, request))

    @routes.get("/captionings/{captioning_id}")
    def read(captioning_id: str) -> dict[str, Any]:
        return describe(captionings.read_captioning(desk.workspace, captioning_id))

    @routes.post("/captionings/{captioning_id}/cancel")
    def cancel(captioning_id: str) -> dict[str, Any]:
        captioning = captionings.read_captioning(desk.workspace, captioning_id)
        desk.resident.cancel(captioning.id)
        return describe(captioning)

    return routes


def describe(captioning: Captioning) -> dict[str, Any]:
    """{"id", "dataset", "captioner", "status", "result"}; the result once it is finished."""
    status, request = captioning.progress(), captioning.request()
    result = captioning.result() if status["state"] == "finished" else None
    if result:
        result["unknown_text"] = unknown_line(result["captioner"], result["unknown"]) if result["unknown"] else ""
    return {"id": captioning.id, "dataset": request.dataset, "captioner": request.captioner, "status": status, "result": result}
