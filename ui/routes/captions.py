"""Captions looked at: the versions of a picture, one of them picked, the words of all, trigger word and class noun checked."""

from collections import Counter
from typing import Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from studio.dataset.about import set_class_noun
from studio.dataset.captioning import MAX_FILES
from studio.dataset.edit import find_row
from studio.dataset.picking import pick
from studio.dataset.versions import told_versions
from studio.dataset.words import check_words
from ui.desk import Desk
from ui.routes.datasets import here


class PickRequest(BaseModel):
    """Whose captions are to be used, for which pictures; None for all."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(max_length=4500)
    files: list[str] | None = Field(None, max_length=MAX_FILES)


class NounRequest(BaseModel):
    """The plain noun for what the pictures show."""

    model_config = ConfigDict(extra="forbid")
    class_noun: str


def router(desk: Desk) -> APIRouter:
    """A dataset's `/versions`, `/sources`, `/pick`, `/words` and `/class-noun`."""
    routes, shelf = APIRouter(prefix="/datasets/{dataset}", dependencies=[Depends(here(desk))]), desk.views.shelf

    @routes.get("/versions")
    def versions(dataset: str, file: str = Query(max_length=300)) -> list[dict[str, Any]]:
        kept = shelf.open(dataset)
        row = find_row(kept.dataset, file)
        return told_versions(row, kept.versions(row), kept.caption(row))

    @routes.get("/sources")
    def sources(dataset: str) -> list[dict[str, Any]]:
        kept = shelf.open(dataset)
        told = [told_versions(row, kept.versions(row), kept.caption(row)) for row in kept.dataset.rows]
        num = Counter(source for each in told for source in {version["source"] for version in each})
        used = Counter(version["source"] for each in told for version in each if version["is_used"])
        return [{"source": source, "count": count, "used": used[source]} for source, count in num.most_common()]

    @routes.post("/pick")
    def choose(dataset: str, request: PickRequest) -> dict[str, Any]:
        return pick(desk.workspace, dataset, request.source, request.files)

    @routes.get("/words")
    def words(dataset: str, kind: Literal["", "tags", "words"] = "") -> dict[str, Any]:
        kept = shelf.open(dataset)
        return kept.cloud(kind or None) | {"checks": check_words(kept.captions, kept.dataset.about), "version": kept.version}

    @routes.put("/class-noun")
    def set_noun(dataset: str, request: NounRequest) -> dict[str, Any]:
        return {"class_noun": set_class_noun(desk.workspace, dataset, request.class_noun)}

    return routes
