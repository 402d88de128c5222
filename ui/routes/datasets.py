"""Datasets: lists, pages of pictures, captions, removal and undo, demos, exports, and the views that pages show."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from studio.dataset import about, edit, removal, wording
from studio.dataset.export import Kind as CaptionKind
from studio.dataset.export import export_dataset, stream_zip
from studio.dataset.intake import DEMOS, create_demo, list_demos
from studio.dataset.listing import MAX_PAGE, page, summary
from studio.dataset.listing import Query as Part
from studio.dataset.wording import Wording
from studio.errors import StudioError
from studio.store import Workspace, read_json
from ui.desk import Desk

FOREVER = "public, max-age=31536000, immutable"  # the name of a view says what it shows


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DemoRequest(_Body):
    """Which demo is loaded."""

    demo: str
    name: str | None = None


class CaptionRequest(_Body):
    """A caption as it is to be, and as it was where it was read."""

    file: str
    caption: str
    before: str | None = None


class FilesRequest(_Body):
    """Pictures of a dataset."""

    files: list[str]


class NameRequest(_Body):
    """A new name."""

    name: str


class TriggerRequest(_Body):
    """A trigger word."""

    trigger: str


class UndoRequest(_Body):
    """A change to undo."""

    undo: str


class TrashRequest(_Body):
    """What is brought back from the trash."""

    trash: str


class ExportRequest(_Body):
    """How a dataset is copied out."""

    path: str
    captions: CaptionKind = "txt"
    facts: bool = False
    masks: bool = True


class BulkRequest(Wording):
    """A change of many captions; only told, not made, where `preview` is set."""

    preview: bool = True


def here(desk: Desk) -> Callable[[], None]:
    """A dependency that says so where the workspace is gone, before anything is made in its place."""

    def check() -> None:
        if not desk.workspace.root.is_dir():
            raise StudioError(f"The workspace {desk.workspace.root} is gone: bring it back, or start the studio with --workspace.")

    return check


def router(desk: Desk) -> APIRouter:
    """`/datasets`, `/demos` and `/views`."""
    routes = APIRouter(dependencies=[Depends(here(desk))])
    for add in (_add_reading, _add_wholes, _add_pictures, _add_captions, _add_exports):
        add(routes, desk)
    return routes


def _part(
    offset: int = Query(0, ge=0),
    limit: int = Query(60, ge=0, le=MAX_PAGE),
    filter: str = "all",
    sort: str = "order",
    text: str = Query("", max_length=200),
    word: str = Query("", max_length=200),
) -> Part:
    """Which part of a dataset an address asks for."""
    return Part(offset, limit, filter, sort, text, word)


def _add_reading(routes: APIRouter, desk: Desk) -> None:
    shelf = desk.views.shelf

    @routes.get("/datasets")
    def list_all() -> list[dict[str, Any]]:
        return [summary(kept) for kept in shelf.all()]

    @routes.get("/damaged-datasets")
    def list_damaged() -> list[str]:
        return shelf.damaged()

    @routes.get("/demos")
    def demos() -> list[dict[str, Any]]:
        return [_demo(name) for name in list_demos()]

    @routes.get("/datasets/{dataset}")
    def read(dataset: str, part: Annotated[Part, Depends(_part)], known: str = "") -> dict[str, Any]:
        kept = shelf.open(dataset)
        if known and kept.version == known:
            return {"dataset": kept.dataset.root.name, "version": kept.version, "same": True}
        return page(kept, part)

    @routes.get("/views/{name}")
    def view(name: str) -> Response:
        return Response(desk.views.path(name).read_bytes(), media_type="image/webp", headers={"Cache-Control": FOREVER})


def _demo(name: str) -> dict[str, Any]:
    about = read_json(DEMOS / name / "demo.json")
    return {"demo": name, **{key: about.get(key, "") for key in ("title", "about", "licence")}}


def _add_wholes(routes: APIRouter, desk: Desk) -> None:
    workspace: Workspace = desk.workspace

    @routes.post("/datasets/demo")
    def load_demo(request: DemoRequest) -> dict[str, Any]:
        made = create_demo(workspace, request.demo, request.name or _free_title(workspace, request.demo))
        desk.check_soon(made.root.name)
        return summary(desk.views.shelf.open(made.root.name))

    @routes.post("/datasets/restore")
    def bring_back(request: TrashRequest) -> dict[str, Any]:
        return {"dataset": removal.restore_dataset(workspace, request.trash)}

    @routes.post("/datasets/{dataset}/rename")
    def rename(dataset: str, request: NameRequest) -> dict[str, Any]:
        return {"name": edit.rename_dataset(workspace, dataset, request.name)}

    @routes.delete("/datasets/{dataset}")
    def delete(dataset: str) -> dict[str, Any]:
        return {"trash": removal.delete_dataset(workspace, dataset)}


def _free_title(workspace: Workspace, demo: str) -> str | None:
    """The demo's folder name, or with a number where it was loaded before; None leaves an unknown demo to be refused."""
    if demo not in list_demos():
        return None
    title, number = str(read_json(DEMOS / demo / "demo.json").get("title", demo)), 1
    name = title
    while (workspace.datasets / edit.slug(name)).exists():
        number += 1
        name = f"{title} {number}"
    return name


def _add_pictures(routes: APIRouter, desk: Desk) -> None:
    workspace: Workspace = desk.workspace

    @routes.post("/datasets/{dataset}/remove")
    def remove(dataset: str, request: FilesRequest) -> dict[str, Any]:
        return removal.remove_pictures(workspace, dataset, request.files)

    @routes.post("/datasets/{dataset}/undo")
    def undo(dataset: str, request: UndoRequest) -> dict[str, Any]:
        return wording.undo_change(workspace, dataset, request.undo)

    @routes.get("/datasets/{dataset}/history")
    def history(dataset: str) -> list[dict[str, Any]]:
        return removal.list_history(desk.views.shelf.open(dataset).dataset)


def _add_captions(routes: APIRouter, desk: Desk) -> None:
    workspace, shelf = desk.workspace, desk.views.shelf

    @routes.put("/datasets/{dataset}/caption")
    def write(dataset: str, request: CaptionRequest) -> dict[str, Any]:
        kept = shelf.open(dataset)
        caption, note = edit.set_caption(workspace, kept.dataset, request.file, request.caption, request.before)
        return {"caption": caption, "note": note}

    @routes.put("/datasets/{dataset}/trigger")
    def set_trigger(dataset: str, request: TriggerRequest) -> dict[str, Any]:
        return {"trigger": about.set_trigger(workspace, dataset, request.trigger)}

    @routes.post("/datasets/{dataset}/bulk")
    def bulk(dataset: str, request: BulkRequest) -> dict[str, Any]:
        if request.preview:
            kept = shelf.open(dataset)
            return wording.preview(kept.dataset, request, kept.captions)
        return wording.apply(workspace, dataset, request)


def _add_exports(routes: APIRouter, desk: Desk) -> None:
    shelf = desk.views.shelf

    @routes.get("/datasets/{dataset}/export.zip")
    def download(dataset: str, captions: CaptionKind = "txt", masks: bool = True, facts: bool = False, dry: bool = False) -> Response:
        """The zip; with `dry`, only whether there can be one: a download that fails tells nobody why."""
        found = shelf.open(dataset).dataset
        if dry:
            stream_zip(found, captions, masks, facts)
            return Response(status_code=204)
        name = f"attachment; filename*=UTF-8''{quote(found.root.name)}.zip"
        return StreamingResponse(
            stream_zip(found, captions, masks, facts), media_type="application/zip", headers={"Content-Disposition": name}
        )

    @routes.post("/datasets/{dataset}/export")
    def copy_out(dataset: str, request: ExportRequest) -> dict[str, Any]:
        if not desk.is_local:
            raise StudioError("folders can only be written on the machine that shows this page: download the zip instead")
        path = Path(request.path.strip()).expanduser()
        if not request.path.strip() or not path.is_absolute():
            raise StudioError("export: give the whole path of a new or empty folder, such as ~/pictures/out")
        return {"path": str(export_dataset(shelf.open(dataset).dataset, path, request.captions, request.masks, request.facts))}
