"""Imports: files sent one by one by the page, then read; told apart by their id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from studio.dataset.archives import MAX_ARCHIVE_BYTES
from studio.dataset.kinds import MAX_FILE_BYTES
from studio.errors import StudioError
from ui.desk import Desk
from ui.imports import MAX_FILES, MAX_TOTAL_BYTES, Import, Imports, check_size
from ui.routes.datasets import here

WRITE_BYTES = 2**20  # gathered before the disk is asked


class NewImport(BaseModel):
    """Where the files are to go: into a dataset, or into a new one of this name."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = None
    name: str | None = None
    path: str | None = None  # of a file or folder of this machine, instead of files that are sent
    alpha_masks: bool = False


class Chosen(BaseModel):
    """What is taken out of scans and scenes, see `studio.dataset.readers.base.Choices`."""

    model_config = ConfigDict(extra="forbid")

    choices: dict[str, Any] = {}


class Asked(Chosen):
    """Which picture is to be shown: of which set, how far through it."""

    set: int = Field(ge=1)
    share: float = Field(0.5, ge=0, le=1, allow_inf_nan=False)


def router(desk: Desk) -> APIRouter:
    """`/imports`: create, send files, finish, ask, cancel."""
    routes = APIRouter(dependencies=[Depends(here(desk))])
    imports: Imports = desk.imports

    @routes.post("/imports")
    def create(new: NewImport) -> dict[str, Any]:
        limits = {"file_bytes": MAX_FILE_BYTES, "archive_bytes": MAX_ARCHIVE_BYTES, "files": MAX_FILES, "total_bytes": MAX_TOTAL_BYTES}
        return {**_begin(desk, new).public(), "limits": limits}

    @routes.put("/imports/{id}/files")
    async def receive(id: str, name: str, request: Request) -> dict[str, Any]:
        job = imports.find(id)
        size = request.headers.get("content-length", "")
        try:
            path = await asyncio.to_thread(imports.place, job, name, int(size) if size.isdigit() else None)
            await _write(imports, job, path, request)
            imports.took(job)
        except ClientDisconnect:
            pass  # nobody reads the answer
        except (StudioError, OSError):
            await _drain(request)  # a browser that is still sending would not see the answer
            raise
        finally:
            imports.left(job)
        return {"received": job.received}

    @routes.post("/imports/{id}/finish")
    def finish(id: str, chosen: Chosen | None = None) -> dict[str, Any]:
        return imports.finish(id, chosen.choices if chosen else None).public()

    @routes.get("/imports/{id}")
    def read(id: str) -> dict[str, Any]:
        return imports.find(id).public()

    @routes.delete("/imports/{id}")
    def cancel(id: str) -> dict[str, Any]:
        return imports.cancel(id).public()

    _add_choices(routes, imports)
    return routes


def _begin(desk: Desk, new: NewImport) -> Import:
    if new.path is not None and not desk.is_local:
        raise StudioError("folders can only be read on the machine that shows this page: drop the files instead")
    imports = desk.imports
    job = imports.create(new.dataset, new.name) if new.path is None else imports.create_from(new.dataset, new.path)
    job.alpha_masks = new.alpha_masks
    return job


def _add_choices(routes: APIRouter, imports: Imports) -> None:
    @routes.post("/imports/{id}/look")
    def look(id: str) -> dict[str, Any]:
        return imports.look(id).public()

    @routes.post("/imports/{id}/preview")
    def preview(id: str, asked: Asked) -> dict[str, Any]:
        return imports.preview(id, asked.choices, asked.set, asked.share)


async def _write(imports: Imports, job: Import, path: Path, request: Request) -> None:
    """Write what arrives to `path`; a file that does not arrive whole is removed at once."""
    num_bytes = held = 0
    try:
        with await asyncio.to_thread(open, path, "xb") as file:
            async for piece in _gather(request):
                num_bytes += len(piece)
                check_size(path.name, num_bytes)
                imports.grow(job, len(piece))
                held = num_bytes
                await asyncio.to_thread(file.write, piece)
    except BaseException:
        imports.release(job, path, held)
        raise


async def _drain(request: Request) -> None:
    """Read the rest of the body and forget it."""
    with suppress(ClientDisconnect, RuntimeError):
        async for _ in request.stream():
            pass


async def _gather(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces worth a write."""
    held: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        held.append(chunk)
        size += len(chunk)
        if size >= WRITE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
