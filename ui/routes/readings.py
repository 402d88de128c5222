"""Captions as a base reads them: of a whole dataset, of what the Train form would train on, and of a text that is being typed."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio.models.bases import find_base
from ui.desk import Desk

Text = Annotated[str, Field(max_length=100_000)]


class Texts(BaseModel):
    """A few captions, and the base that is to read them."""

    model_config = ConfigDict(extra="forbid")
    base: str = Field(max_length=10_000)
    texts: list[Text] = Field(max_length=200)


def router(desk: Desk) -> APIRouter:
    """`/readings`, and a dataset's `/reading`."""
    routes = APIRouter()

    @routes.get("/datasets/{dataset}/reading")
    def ask(dataset: str, base: str = "starter") -> dict[str, Any]:
        kept = desk.views.shelf.open(dataset)
        captions = {row.file: kept.caption(row) for row in kept.dataset.rows}
        key = desk.readings.ask(find_base(base, desk.workspace), captions)
        return {"key": key, **desk.readings.told(key)}

    @routes.get("/readings/{key}")
    def told(key: str) -> dict[str, Any]:
        return {"key": key, **desk.readings.told(key)}

    @routes.post("/readings")
    def read(asked: Texts) -> dict[str, Any]:
        return desk.readings.ends(find_base(asked.base, desk.workspace), asked.texts)

    return routes
