"""Several runs side by side: facts, pictures from the same seeds, files to keep; duels; the methods' cards, and advice."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from studio.errors import StudioError
from studio.jobs.board import export, matrix, table
from studio.jobs.plan import advisor, duel
from studio.method_cards import for_page, list_cards
from ui.desk import Desk
from ui.routes.drawings import draw
from ui.train_form import PRESETS, base_choices, dataset_choices, in_plain_words
from ui.training import start_all

KINDS = {"html": (export.to_html, "text/html"), "csv": (export.to_csv, "text/csv")}
RunsQuery = Query("", max_length=5000)


class Ask(BaseModel):
    """Pictures to be drawn of these runs."""

    model_config = ConfigDict(extra="forbid")
    runs: list[str] = Field(max_length=100)
    matrix: matrix.MatrixRequest


class Fight(BaseModel):
    """A duel to be held."""

    model_config = ConfigDict(extra="forbid")
    dataset: str = Field(max_length=300)
    base: str = Field("starter", max_length=4096)
    preset: Literal["quick", "balanced", "thorough"] = "quick"
    recipes: list[str] = Field(max_length=20)
    class_noun: str = Field("", max_length=80)  # for recipes about a subject

    def wanted(self) -> duel.Wanted:
        noun = [f"prior.class_noun={json.dumps(self.class_noun)}"] if self.class_noun.strip() else []
        return duel.Wanted(self.dataset, self.recipes, self.base, self.preset, noun)


def router(desk: Desk) -> APIRouter:
    """`/board…`, `/duel`, `/methods` and `/advice`."""
    routes = APIRouter()
    _add_board(routes, desk)
    _add_choosing(routes, desk)
    return routes


def _add_board(routes: APIRouter, desk: Desk) -> None:
    workspace = desk.workspace

    @routes.get("/board")
    def compare(runs: str = RunsQuery) -> dict[str, Any]:
        return table.compare(workspace, _ids(runs))

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


def _add_choosing(routes: APIRouter, desk: Desk) -> None:
    workspace = desk.workspace

    @routes.get("/methods")
    def methods() -> list[dict[str, Any]]:
        return [for_page(card) for card in list_cards()]

    @routes.get("/advice")
    def advice(dataset: str, goal: str, memory: float | None = None, base: str = "") -> dict[str, Any]:
        with _plainly():
            return advisor.advise_for(workspace, dataset, goal, memory, base)

    @routes.get("/duel/choices")
    def choices(dataset: str = "", base: str = "starter", preset: str = "quick") -> dict[str, Any]:
        told = {"datasets": dataset_choices(workspace), "bases": base_choices(workspace), "presets": PRESETS}
        return told | {"recipes": duel.recipes_for(workspace, dataset, base, preset)}

    @routes.post("/duel/plan")
    def plan(wanted: Fight) -> dict[str, Any]:
        with _plainly():
            return duel.describe(workspace, duel.plan_duel(workspace, wanted.wanted()))

    @routes.post("/duel")
    def hold(wanted: Fight) -> dict[str, Any]:
        with _plainly():
            return {"runs": [run.id for run in start_all(desk, duel.create_duel(workspace, wanted.wanted())[1])]}


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Within: errors without the names of command line options."""
    try:
        yield
    except StudioError as error:
        raise StudioError(in_plain_words(error)) from None


def _ids(runs: str) -> list[str]:
    return list(dict.fromkeys(r for r in runs.split(",") if r))
