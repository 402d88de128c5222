"""The base models on this machine, and the places a person has added."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio import models
from studio.model_places import add_model_place, remove_model_place
from ui.desk import Desk


class Place(BaseModel):
    """A folder with models, or one file."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(max_length=10_000)


def router(desk: Desk) -> APIRouter:
    """`/models` and what is below it."""
    routes, workspace = APIRouter(prefix="/models"), desk.workspace

    @routes.get("")
    def list_all() -> dict[str, Any]:
        return models.detail_models(workspace)

    @routes.get("/{model}/card")
    def card(model: str) -> dict[str, str]:
        return {"text": models.read_card(workspace, model)}

    @routes.post("/places")
    def add(place: Place) -> dict[str, str]:
        return {"path": str(add_model_place(workspace, place.path))}

    @routes.delete("/places")
    def remove(place: Place) -> dict[str, str]:
        remove_model_place(workspace, place.path)
        return {"path": place.path}

    return routes
