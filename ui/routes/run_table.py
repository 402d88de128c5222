"""What is done with runs as things: rename, delete, bring back; the trash."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio.jobs.runs import manage
from studio.trash import empty_trash, from_trash, list_trash, trash_size
from ui.desk import Desk


class Rename(BaseModel):
    """A new label for a run."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=10_000)  # the sentence about the true limit comes from studio


class Empty(BaseModel):
    """The trash is emptied only by who says so."""

    model_config = ConfigDict(extra="forbid")
    confirm: Literal[True]


def router(desk: Desk) -> APIRouter:
    """`/runs/{run}/rename`, `/runs/{run}/delete` and `/trash`."""
    routes, workspace = APIRouter(), desk.workspace

    @routes.post("/runs/{run}/rename")
    def rename(run: str, wanted: Rename) -> dict[str, Any]:
        return {"run": run, "name": manage.rename_run(workspace, run, wanted.name)}

    @routes.post("/runs/{run}/delete")
    def delete(run: str) -> dict[str, Any]:
        return {"token": manage.delete_run(workspace, run)}

    @routes.get("/trash")
    def trash() -> dict[str, Any]:
        return {"items": list_trash(workspace), "size": trash_size(workspace)}

    @routes.post("/trash/{token}/restore")
    def restore(token: str) -> dict[str, Any]:
        return {"home": from_trash(workspace, token).relative_to(workspace.root).as_posix()}

    @routes.post("/trash/empty")
    def empty(wanted: Empty) -> dict[str, Any]:
        return {"freed": empty_trash(workspace)}

    return routes
