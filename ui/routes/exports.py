"""Exports: what can be exported and how, asked for, followed, downloaded, put away."""

import contextlib
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from studio.errors import StudioError, one_line
from studio.jobs.export import exports
from studio.jobs.processes.asked import OVER
from studio.jobs.runs.snapshots import runs_with_adapter
from studio.trash import to_trash
from ui.desk import Desk


def start_export(desk: Desk, request: exports.ExportRequest | dict[str, Any]) -> exports.Export:
    """Make an export and hand it to the resident process."""
    export = exports.create_export(desk.workspace, request)
    export.hand_over(desk.resident.export)
    return export


def router(desk: Desk) -> APIRouter:
    """`/exports…`"""
    routes = APIRouter(prefix="/exports")

    @routes.get("")
    def list_all(limit: int = Query(30, ge=1, le=500)) -> list[dict[str, Any]]:
        rows = []
        for export in exports.list_exports(desk.workspace, limit):
            with contextlib.suppress(StudioError, OSError):  # damaged, or deleted just now
                rows.append(_brief(export))
        return rows

    @routes.get("/options")
    def options(run: str = Query("", max_length=300)) -> dict[str, Any]:
        return _options(desk, run)

    @routes.post("")
    def create(request: exports.ExportRequest) -> dict[str, Any]:
        return describe(start_export(desk, request))

    @routes.get("/{export_id}")
    def read(export_id: str) -> dict[str, Any]:
        return describe(exports.read_export(desk.workspace, export_id))

    @routes.post("/{export_id}/cancel")
    def cancel(export_id: str) -> dict[str, Any]:
        export = exports.read_export(desk.workspace, export_id)
        desk.resident.cancel(export.id)
        return describe(export)

    @routes.delete("/{export_id}")
    def remove(export_id: str) -> dict[str, Any]:
        export = exports.read_export(desk.workspace, export_id)
        if export.status()["state"] not in OVER:
            raise StudioError("this export is still being made: cancel it first")
        return {"id": export.id, "token": to_trash(desk.workspace, export.folder, "export", export.request().run)}

    @routes.get("/{export_id}/file")
    def file(export_id: str) -> FileResponse:
        path = exports.read_export(desk.workspace, export_id).file()
        return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers={"Cache-Control": "private, no-cache"})

    return routes


def _options(desk: Desk, name: str) -> dict[str, Any]:
    """What can be chosen for the run with this name, by default the newest; with the names of all that have an adapter."""
    runs = [r.id for r in runs_with_adapter(desk.workspace)]
    told: dict[str, Any] = {"runs": runs, "run": name or (runs[0] if runs else None), "error": None}
    if told["run"] is None:
        return told
    try:
        return told | exports.options(desk.workspace, told["run"])
    except (StudioError, OSError) as error:  # that run is gone or damaged: the others can still be chosen
        return told | {"error": one_line(error).removeprefix("--")}


def describe(export: exports.Export) -> dict[str, Any]:
    """All about an export: what was asked for, how far it is, what came of it."""
    result = export.result() | {"address": f"/studio/exports/{export.id}/file"} if export.status()["state"] == "finished" else None
    return {"id": export.id, "request": export.request().model_dump(), "status": _status(export), "result": result}


def _status(export: exports.Export) -> dict[str, Any]:
    status = export.status()
    return {key: status.get(key) for key in ("state", "progress", "note", "error", "created")}


def _brief(export: exports.Export) -> dict[str, Any]:
    row = {"id": export.id, **export.request().model_dump(include={"run", "layout", "snapshot"}), **_status(export)}
    if row["state"] == "finished":
        result = export.result()
        row |= {key: result.get(key) for key in ("file", "size_bytes", "step")} | {"address": f"/studio/exports/{export.id}/file"}
    return row
