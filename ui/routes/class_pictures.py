"""Class pictures of a dataset: what DreamBooth runs have had their base draw; shown, and put away."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import FileResponse

from studio.dataset.class_pictures import ClassPictures, find_class_pictures, list_class_pictures, picture_of
from studio.dataset.rows import open_dataset
from studio.trash import to_trash
from ui.desk import Desk

SHOWN = 200  # of one set


def router(desk: Desk) -> APIRouter:
    """`/datasets/{dataset}/class…`"""
    routes = APIRouter(prefix="/datasets/{dataset}/class")

    @routes.get("")
    def list_all(dataset: str) -> list[dict[str, Any]]:
        opened = open_dataset(desk.workspace, dataset)
        return [_told(opened.root.name, each) for each in list_class_pictures(opened)]

    @routes.get("/{key}/{name}")
    def picture(dataset: str, key: str, name: str) -> FileResponse:
        path = picture_of(find_class_pictures(open_dataset(desk.workspace, dataset), key), name)
        return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})

    @routes.delete("/{key}")
    def remove(dataset: str, key: str) -> dict[str, str]:
        found = find_class_pictures(open_dataset(desk.workspace, dataset), key)
        return {"token": to_trash(desk.workspace, found.folder, "class pictures", str(found.about.get("noun", "")))}

    return routes


def _told(dataset: str, pictures: ClassPictures) -> dict[str, Any]:
    key, files, about = pictures.folder.name, pictures.files(), pictures.about
    addresses = [f"/studio/datasets/{quote(dataset)}/class/{key}/{path.name}" for path in files[:SHOWN]]
    told = {name: str(about.get(name, "")) for name in ("noun", "prompt", "source")}
    return {"key": key, "count": len(files), **told, "pictures": addresses}
