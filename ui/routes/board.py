"""Several runs side by side: facts, pictures from the same seeds, files to keep; and the methods' cards."""

from typing import Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from studio.errors import StudioError
from studio.jobs import board, board_export, matrix
from studio.method_cards import for_page, list_cards
from ui.desk import Desk
from ui.routes.drawings import draw

KINDS = {"html": (board_export.to_html, "text/html"), "csv": (board_export.to_csv, "text/csv")}
RunsQuery = Query("", max_length=5000)


class Ask(BaseModel):
    """Pictures to be drawn of these runs."""

    model_config = ConfigDict(extra="forbid")
    runs: list[str] = Field(max_length=100)
    matrix: matrix.MatrixRequest


def router(desk: Desk) -> APIRouter:
    """`/board…` and `/methods`."""
    routes, workspace = APIRouter(), desk.workspace

    @routes.get("/board")
    def compare(runs: str = RunsQuery) -> dict[str, Any]:
        return board.compare(workspace, _ids(runs))

    @routes.get("/board/pictures")
    def pictures(runs: str = RunsQuery, wanted: str = Query("", alias="matrix", max_length=20_000)) -> dict[str, Any]:
        if not wanted:
            return matrix.previews(workspace, _ids(runs))
        return matrix.look(workspace, _ids(runs), matrix.parse_matrix(wanted))

    @routes.post("/board/pictures")
    def draw_pictures(ask: Ask) -> dict[str, Any]:
        return matrix.order(workspace, list(dict.fromkeys(ask.runs)), ask.matrix, lambda request: draw(desk, request))

    @routes.get("/board/file")
    def file(kind: str, runs: str = RunsQuery, prompts: bool = False) -> Response:
        if kind not in KINDS:
            raise StudioError("a board is written as html or csv")
        write, media_type = KINDS[kind]
        headers = {"Content-Disposition": f'attachment; filename="board.{kind}"'}
        return Response(write(workspace, _ids(runs), prompts).encode("utf-8", "replace"), media_type=media_type, headers=headers)

    @routes.get("/methods")
    def methods() -> list[dict[str, Any]]:
        return [for_page(card) for card in list_cards()]

    return routes


def _ids(runs: str) -> list[str]:
    return list(dict.fromkeys(r for r in runs.split(",") if r))
