"""The models on this machine and the places a person has added; looking through them, fetching and merging, each followed and stopped."""

import contextlib
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio.errors import StudioError
from studio.jobs.models.listing import read_card
from studio.jobs.models.scan import shelf
from studio.jobs.runs.folders import Run, list_runs
from studio.models.places import add_model_place, remove_model_place
from ui.desk import Desk

Errand = Literal["scan", "fetch", "captioner", "merge"]
FETCHES = {"model": "fetch", "captioner": "captioner"}  # kind of hub repository -> errand


class Place(BaseModel):
    """A folder with models, or one file."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(max_length=10_000)


class Look(BaseModel):
    """A look through all places; `again`: from the beginning, also where one is at work."""

    model_config = ConfigDict(extra="forbid")
    again: bool = False


class Fetch(BaseModel):
    """A model or captioner by its hub id; the token is handed on and kept nowhere."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=200)
    token: str = Field("", max_length=500, repr=False)
    kind: Literal["model", "captioner"] = "model"
    fetch: bool = False  # False = only tell licence, gating and size


class Adapter(BaseModel):
    """An adapter to merge: a run's id, or a listed file's path."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(min_length=1, max_length=10_000)
    strength: float = Field(1.0, ge=-10, le=10)


class Merge(BaseModel):
    """What to merge."""

    model_config = ConfigDict(extra="forbid")
    what: Literal["into", "together", "resize"]
    adapters: list[Adapter] = Field(min_length=1, max_length=8)
    base: str = Field("", max_length=10_000)
    rank: int = Field(8, ge=1, le=1024)
    name: str = Field(min_length=1, max_length=120)


def router(desk: Desk) -> APIRouter:
    """`/models` and what is below it."""
    routes, workspace = APIRouter(prefix="/models"), desk.workspace

    @routes.get("")
    def list_all() -> dict[str, Any]:
        return shelf(workspace) | {"scan": desk.errands.state("scan")}

    @routes.get("/adapters")
    def adapters() -> list[dict[str, str]]:
        runs = [
            {"source": r.id, "label": r.id, "what": f"a run on {_base_of(r)}"} for r in list_runs(workspace)[::-1] if r.adapter.is_file()
        ]
        files = [m for m in shelf(workspace)["models"] if m["kind"] == "adapter"]
        return runs + [{"source": m["path"], "label": m["title"], "what": m["what"]} for m in files]

    @routes.get("/{model}/card")
    def card(model: str) -> dict[str, str]:
        return {"text": read_card(workspace, model)}

    @routes.post("/places")
    def add(place: Place) -> dict[str, str]:
        path = add_model_place(workspace, place.path)
        desk.errands.stop("scan")  # it looks through the places that there were when it began
        return {"path": str(path)}

    @routes.delete("/places")
    def remove(place: Place) -> dict[str, str]:
        remove_model_place(workspace, place.path)
        desk.errands.stop("scan")
        return {"path": place.path}

    _add_errands(routes, desk)
    return routes


def _base_of(run: Run) -> str:
    """What a run's base is called; nothing is known of that of a damaged one."""
    with contextlib.suppress(StudioError, OSError, TypeError):
        return Path(run.read("spec.json", "base", "source")).name
    return "a base that is not known"


def _add_errands(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/scan")
    def scan(look: Look) -> dict[str, Any]:
        return desk.errands.start("scan", look.model_dump())

    @routes.post("/fetch")
    def fetch(asked: Fetch) -> dict[str, Any]:
        return desk.errands.start(FETCHES[asked.kind], asked.model_dump())

    @routes.post("/merge")
    def merge(asked: Merge) -> dict[str, Any]:
        return desk.errands.start("merge", asked.model_dump())

    @routes.get("/errands/{kind}")
    def errand(kind: Errand) -> dict[str, Any]:
        return desk.errands.state(kind)

    @routes.post("/errands/{kind}/stop")
    def stop(kind: Errand) -> dict[str, Any]:
        desk.errands.stop(kind)
        return desk.errands.state(kind)
