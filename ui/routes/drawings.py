"""Drawings: asked for, followed, shown, downloaded, put away and brought back; settings out of dropped files."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from studio.errors import StudioError
from studio.jobs.draw import drawings
from studio.jobs.draw.restore import MAX_ADAPTER_BYTES, MAX_PNG_BYTES, kind_of, restore_from_adapter, restore_from_png
from studio.jobs.processes.asked import OVER
from studio.store import inside, require_free, slug
from ui import compare
from ui.desk import Desk

EXACT_IN_A_PAGE = 2**53 - 1  # the largest whole number that a browser holds exactly


def draw(desk: Desk, request: drawings.DrawRequest | dict[str, Any]) -> drawings.Drawing:
    """Make a drawing and hand it to the resident process; shared by the route and the form."""
    drawing = drawings.create_drawing(desk.workspace, request)
    drawing.hand_over(desk.resident.draw)
    return drawing


def router(desk: Desk) -> APIRouter:
    """`/drawings…`"""
    routes = APIRouter()
    _add_reading(routes, desk)
    _add_changing(routes, desk)
    return routes


def _add_reading(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/drawings")
    def history(limit: int = Query(24, ge=1, le=500)) -> list[dict[str, Any]]:
        return list(_history(desk, limit))

    @routes.get("/drawings/options")
    def options(run: str = Query("", max_length=300)) -> dict[str, Any]:
        return compare.options(desk.workspace, run)

    @routes.get("/drawings/preview")
    def preview(run: str = Query(max_length=300)) -> dict[str, Any] | None:
        return compare.preview_pictures(desk.workspace, run)

    @routes.get("/drawings/{drawing_id}")
    def read(drawing_id: str) -> dict[str, Any]:
        drawing = drawings.read_drawing(desk.workspace, drawing_id)
        told = compare.describe(desk.workspace, drawing)
        if told["pictures"] and told["request"]["strip"] == "snapshots":
            told["changes"] = compare.changes_of(desk.workspace, drawing.request())
        return told

    @routes.get("/drawings/{drawing_id}/pictures/{file}")
    def picture(drawing_id: str, file: str, download: bool = False) -> FileResponse:
        drawing = drawings.read_drawing(desk.workspace, drawing_id)
        if not re.fullmatch(r"[0-9]{2,3}\.png", file):
            raise StudioError(f"{file[:40]!r} is no picture of a drawing")
        path = inside(drawing.pictures, file)
        if not path.is_file():
            raise StudioError(f"picture {file} of drawing {drawing.id} is not there (any more)")
        name = _download_name(drawing, file) if download else None
        return FileResponse(path, media_type="image/png", filename=name, headers={"Cache-Control": "private, max-age=31536000, immutable"})


def _add_changing(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/drawings")
    def create(request: drawings.DrawRequest) -> dict[str, Any]:
        return compare.describe(desk.workspace, draw(desk, request))

    @routes.delete("/drawings/{drawing_id}")
    def remove(drawing_id: str) -> dict[str, Any]:
        drawing = drawings.read_drawing(desk.workspace, drawing_id)
        if drawing.status()["state"] in OVER:
            return {"id": drawing_id, "trash": drawings.delete_drawing(desk.workspace, drawing_id)}
        desk.resident.cancel(drawing_id)
        return {"id": drawing_id, "trash": None}

    @routes.post("/drawings/restore")
    async def restore(request: Request, name: str = Query("", max_length=1000)) -> dict[str, Any]:
        path = await _receive(request, desk.workspace.root / "dropped")
        try:
            return await run_in_threadpool(_restore, desk, path, name)
        finally:
            path.unlink(missing_ok=True)


def _restore(desk: Desk, path: Path, name: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        kind = kind_of(file.read(9))
    if kind == "png":
        told = restore_from_png(desk.workspace, path)
    else:
        told = restore_from_adapter(desk.workspace, path, name)
    if told["request"].get("seed", 0) > EXACT_IN_A_PAGE:
        raise StudioError(f"this picture's seed {told['request']['seed']} is larger than a page can hold exactly: use the sample command")
    return told


async def _receive(request: Request, folder: Path) -> Path:
    """The body of a request as a file in `folder`; StudioError, and nothing left, when it is too large or of no use."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    path, received, limit, head = Path(name), 0, None, b""
    try:
        with os.fdopen(handle, "wb") as file:
            async for part in request.stream():
                head = head if len(head) > 8 else head + part
                if limit is None and len(head) > 8:
                    limit = _limit(head)
                    require_free(folder, int(request.headers.get("content-length") or 0), "this file")
                received += len(part)
                if limit and received > limit:
                    raise StudioError(f"this file is larger than the {limit / 2**20:.0f} MiB that are read here: is it the right one?")
                await run_in_threadpool(file.write, part)
        if not received:
            raise StudioError("the file was empty, or never arrived whole: drop it again")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _limit(first: bytes) -> int:
    return MAX_PNG_BYTES if kind_of(first[:9]) == "png" else MAX_ADAPTER_BYTES


def _history(desk: Desk, limit: int) -> Iterator[dict[str, Any]]:
    texts: dict[str, bool] = {}
    for drawing in drawings.list_drawings(desk.workspace, limit):
        try:
            yield _brief(compare.describe(desk.workspace, drawing, texts))
        except (StudioError, OSError):
            continue  # a damaged one is told when it is opened, not in place of all others


def _brief(told: dict[str, Any]) -> dict[str, Any]:
    """A drawing in the history: with its first base and first adapted picture."""
    pictures = told.pop("pictures")
    thumbs = [next((p["url"] for p in pictures if p["kind"] == kind), None) for kind in ("base", "adapted")]
    return told | {"thumbs": [t for t in thumbs if t], "num_pictures": len(pictures)}


def _download_name(drawing: drawings.Drawing, file: str) -> str:
    """A name that says which adapter, seed and strength, in plain letters."""
    found = next((p for p in drawing.result()["pictures"] if p.file == file), None)
    if not found:
        return f"drawing-{drawing.id}-{file}"
    request, parts = drawing.request(), []
    if found.kind == "base":
        parts = ["base"]
    elif found.adapter is not None and found.adapter < len(request.adapters):
        use = request.adapters[found.adapter]
        parts = [slug(Path(use.label).stem or use.run) or "adapter"]
        parts += [f"step{found.snapshot}"] if use.snapshot is not None or request.strip == "snapshots" else []
    else:
        parts = ["together"]
    parts.append(f"seed{found.seed}")
    parts += [f"strength{found.strength:g}"] if found.kind == "adapted" and found.strength is not None else []
    return "-".join(parts).encode("ascii", "ignore").decode() + ".png"
