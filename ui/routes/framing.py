"""Framing: how pictures are cropped, turned and shaped for training, and the very samples that training reads."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from studio.dataset import about
from studio.dataset.edit import find_row
from studio.dataset.framing import Edit, describe_edit, describe_frame
from studio.dataset.listing import item
from studio.dataset.masks import mask_bytes, set_mask
from studio.dataset.reframe import set_edits
from studio.dataset.rows import Dataset, Row
from studio.dataset.views import sample_name
from studio.domains import DOMAINS, contradicted, defaults
from studio.encode.plan import Planned, num_samples, plan, summary
from studio.errors import StudioError
from studio.jobs.models.listing import list_models
from studio.models.bases import find_base
from studio.spec import DataSpec
from studio.store import sha256
from ui.desk import Desk
from ui.routes.datasets import FOREVER, here

EXAMPLES = 6  # pictures shown of each shape
SHOWN = 3  # pictures shown in all their versions
Size = Query(None, ge=16, le=4096)


class EditRequest(BaseModel):
    """How one picture is to be framed."""

    model_config = ConfigDict(extra="forbid")

    file: str
    edit: Edit
    before: Edit | None = None  # as it was when the page last saw it


class TurnRequest(BaseModel):
    """Several pictures to be turned or mirrored as they are seen now, or taken as they are."""

    model_config = ConfigDict(extra="forbid")

    files: list[str]
    action: Literal["left", "right", "mirror", "reset"]


class DomainRequest(BaseModel):
    """What kind of pictures these are; "" for none."""

    model_config = ConfigDict(extra="forbid")

    domain: str


class VariantsQuery(DataSpec):
    """Which versions of the pictures are to be shown: settings of a run's data, those that are not given as suit the dataset."""

    base: str = "starter"
    size_px: int | None = Size


def router(desk: Desk) -> APIRouter:
    """`/shapes`, `/samples`, and a dataset's `/picture`, `/framing`, `/buckets` and `/turn`."""
    routes = APIRouter(dependencies=[Depends(here(desk))])
    _add_reading(routes, desk)
    _add_writing(routes, desk)
    _add_masks(routes, desk)
    return routes


def _add_reading(routes: APIRouter, desk: Desk) -> None:
    shelf, workspace = desk.views.shelf, desk.workspace

    def shape(base: str, size_px: int | None) -> tuple[int, int]:
        own, multiple = find_base(base, workspace).shape_px
        return size_px or own, multiple

    @routes.get("/shapes")
    def bases() -> list[dict[str, Any]]:
        """The base models with the size of picture that each is trained at."""
        found = [(m["model"], find_base(m["model"], workspace).shape_px[0]) for m in list_models(workspace) if m["usable"]]
        return [{"base": name, "size_px": size} for name, size in found]

    @routes.get("/datasets/{dataset}/picture")
    def picture(dataset: str, file: str) -> dict[str, Any]:
        kept = shelf.open(dataset)
        return item(kept, find_row(kept.dataset, file))

    @routes.get("/datasets/{dataset}/framing")
    def read(dataset: str, file: str, base: str = "starter", size_px: int | None = Size) -> dict[str, Any]:
        kept = shelf.open(dataset)
        row, (size, multiple) = find_row(kept.dataset, file), shape(base, size_px)
        planned = plan(kept.dataset.rows, size, multiple, _data(kept.dataset), only={file})[0]
        mask = mask_bytes(kept.dataset, row)
        told = {"file": file, "edit": row.framing.model_dump(mode="json"), "size_px": size, "mask": mask and sha256(mask)}
        return told | _told(planned)

    @routes.get("/datasets/{dataset}/buckets")
    def buckets(dataset: str, base: str = "starter", size_px: int | None = Size) -> dict[str, Any]:
        found_set, (size, multiple) = shelf.open(dataset).dataset, shape(base, size_px)
        planned = plan(found_set.rows, size, multiple, _data(found_set).model_copy(update={"crops": 1}))
        found, about = summary(planned), found_set.about
        for bucket in found:
            members = [each for each in planned if each.bucket == (bucket["width"], bucket["height"]) and not each.is_lying]
            members.sort(key=lambda each: -each.cut_share)
            bucket["examples"] = [_example(each) for each in members[:EXAMPLES]]
        return {"size_px": size, "buckets": found, "domain": str(about.get("domain", "")), "domains": _domains()}

    @routes.get("/datasets/{dataset}/variants")
    def variants(dataset: str, wanted: Annotated[VariantsQuery, Query()]) -> dict[str, Any]:
        """A few training pictures, each in every version that is trained, and how many there are in all."""
        kept = shelf.open(dataset)
        found, captions = kept.dataset, [kept.caption(row) for row in kept.dataset.train_rows]
        given = wanted.model_dump(include=wanted.model_fields_set & set(DataSpec.model_fields))
        data = DataSpec.model_validate(defaults(found.about) | given)
        size, multiple = shape(wanted.base, wanted.size_px)
        shown = found.train_rows[:: max(1, len(found.train_rows) // SHOWN)][:SHOWN]
        planned = plan(found.rows, size, multiple, data, only={row.file for row in shown})
        rows = [{"file": row.file, "source": row.source, "samples": _variants(planned, row)} for row in shown]
        told = {"size_px": size, "pictures": len(found.train_rows), "samples": num_samples(found.rows, size, multiple, data), "rows": rows}
        shown_data = data.model_dump(include={"crops", "flip", "turns", "colour"})
        return told | {"data": shown_data, "warning": contradicted(captions, data.flip, data.turns)}

    @routes.get("/samples/{name}")
    def sample(name: str) -> Response:
        kind = "image/png" if name.endswith(".png") else "image/webp"
        return Response(desk.views.sample(name), media_type=kind, headers={"Cache-Control": FOREVER})


def _data(dataset: Dataset) -> DataSpec:
    """The data settings that a run of this dataset has unless they are changed: they decide on shapes and samples."""
    return DataSpec.model_validate(defaults(dataset.about))


def _domains() -> list[dict[str, str]]:
    return [{"domain": name, "title": domain.title, "why": domain.why} for name, domain in DOMAINS.items()]


def _variants(planned: list[Planned], row: Row) -> list[dict[str, Any]]:
    """Every version of a picture, small, each with what was done to it in words."""
    found = [(each.is_lying, frame) for each in planned if each.row is row for frame in each.frames]
    places = {is_lying: list(dict.fromkeys(frame.place for lies, frame in found if lies == is_lying)) for is_lying in (False, True)}
    told = []
    for is_lying, frame in found:
        number, said = places[is_lying].index(frame.place), describe_frame(frame)
        crop = f"crop {number + 1}" if number else ""
        told.append(
            {"src": f"/studio/samples/{sample_name(row.pixels, frame, is_small=True)}", "said": ", ".join(filter(None, (said, crop)))}
        )
    return told


def _told(planned: Planned) -> dict[str, Any]:
    """A picture as it is trained: its shape, its samples, and where each lies in the picture as it is seen."""
    row = planned.row
    return {
        "width": row.width,
        "height": row.height,
        "split": row.split,
        "bucket": planned.bucket,
        "cut_percent": round(100 * planned.cut_share, 1),
        "said": describe_edit(row.edit),
        "samples": [
            {
                "src": f"/studio/samples/{sample_name(row.pixels, frame)}",
                "frame": frame.token(),
                "place": [p / s for p, s in zip(frame.place, frame.resized * 2, strict=True)],
            }
            for frame in planned.frames
        ],
    }


def _example(planned: Planned) -> dict[str, Any]:
    name = sample_name(planned.row.pixels, planned.frames[0], is_small=True)
    return {"file": planned.row.file, "src": f"/studio/samples/{name}", "cut_percent": round(100 * planned.cut_share, 1)}


def _add_writing(routes: APIRouter, desk: Desk) -> None:
    workspace = desk.workspace

    @routes.put("/datasets/{dataset}/framing")
    def write(dataset: str, request: EditRequest) -> dict[str, Any]:
        before = {request.file: request.before} if request.before else None
        return set_edits(workspace, dataset, {request.file: request.edit}, before=before)

    @routes.put("/datasets/{dataset}/domain")
    def set_domain(dataset: str, request: DomainRequest) -> dict[str, Any]:
        return {"domain": about.set_domain(workspace, dataset, request.domain)}

    @routes.post("/datasets/{dataset}/turn")
    def turn(dataset: str, request: TurnRequest) -> dict[str, Any]:
        rows = {row.file: row for row in desk.views.shelf.open(dataset).dataset.rows}
        found = [rows[file] for file in request.files if file in rows]
        if not found:
            raise StudioError("these pictures are not in the dataset any more: they were removed in another window")
        return set_edits(workspace, dataset, {row.file: row.framing.then(request.action) for row in found})


def _add_masks(routes: APIRouter, desk: Desk) -> None:
    workspace, views = desk.workspace, desk.views

    @routes.get("/datasets/{dataset}/mask")
    def read(dataset: str, file: str, frame: str = "") -> Response:
        """The mask of a picture, or what a frame shows of it: PNG."""
        found = views.shelf.open(dataset).dataset
        row = find_row(found, file)
        data = mask_bytes(found, row)
        if data is None:
            raise StudioError(f"{row.file} has no mask (any more): it may have been removed in another window")
        shown = views.mask_sample(found.mask_path(row), frame) if frame else data
        return Response(shown, media_type="image/png", headers={"Cache-Control": "no-cache"})

    @routes.put("/datasets/{dataset}/mask")
    async def write(dataset: str, file: str, request: Request, before: str = "") -> dict[str, Any]:
        """Keep the PNG that is sent as the mask of a picture; `before` is the hash of the one that the page shows."""
        return await asyncio.to_thread(_keep_mask, dataset, file, before, await request.body())

    @routes.delete("/datasets/{dataset}/mask")
    def remove(dataset: str, file: str, before: str = "") -> dict[str, Any]:
        return set_mask(workspace, dataset, file, None, seen=before)

    def _keep_mask(dataset: str, file: str, before: str, data: bytes) -> dict[str, Any]:
        workspace.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-mask-", dir=workspace.cache) as folder:
            source = Path(folder) / "mask.png"
            source.write_bytes(data)
            return set_mask(workspace, dataset, file, source, views.read_mask, before)
