"""Health, and the status strip: what runs, waits and is drawn now, and what the machine has left."""

import contextlib
import os
import time
from typing import Any

import psutil
from fastapi import APIRouter

from studio import __version__
from studio.errors import StudioError
from studio.jobs.runs.folders import ALIVE, Run, list_runs
from studio.store import read_json
from ui.desk import Desk

FRESH_S = 0.5  # pages that ask at the same time share an answer


def router(desk: Desk) -> APIRouter:
    """`/health` and `/status`."""
    routes, status = APIRouter(), Status(desk)

    @routes.get("/health")
    def health() -> dict[str, Any]:
        return {"ok": True}

    @routes.get("/status")
    def read_status() -> dict[str, Any]:
        return status.read()

    return routes


class Status:
    """The answer to every page's poll, made at most twice a second."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._made, self._answer = desk, 0.0, {}

    def read(self) -> dict[str, Any]:
        """{"version", "login", "workspace", "machine", "memory", "runs", "queue", "resident", "imports"}"""
        if time.monotonic() - self._made > FRESH_S:
            self._answer, self._made = self._make(), time.monotonic()
        return self._answer

    def _make(self) -> dict[str, Any]:
        desk = self._desk
        living = [r for r in list_runs(desk.workspace) if r.status()["state"] in ALIVE]
        rows = [self._row(run) for run in living]
        memory = psutil.virtual_memory()
        here = os.access(desk.workspace.root, os.W_OK)
        return {
            "version": __version__,
            "login": desk.has_login,
            "workspace": {"path": str(desk.workspace.root), "ok": here, "error": None if here else _gone(desk)},
            "machine": self._machine(),
            "memory": {"used": memory.total - memory.available, "total": memory.total},
            "runs": [r for r in rows if r["state"] != "queued"],
            "queue": sum(r["state"] == "queued" for r in rows),
            "resident": desk.resident.state(),
            "imports": desk.imports.active(),
        }

    def _row(self, run: Run) -> dict[str, Any]:
        summary = run.summary()
        row = {key: summary.get(key) for key in ("run", "state", "step", "steps")}
        with contextlib.suppress(StudioError, OSError):
            row |= self._desk.live.brief(run.id)
        return row

    def _machine(self) -> dict[str, Any] | None:
        try:
            return read_json(self._desk.workspace.cache / "machine.json")
        except (StudioError, OSError):
            return None


def _gone(desk: Desk) -> str:
    root = desk.workspace.root
    return f"The workspace {root} {'is read-only' if root.exists() else 'is gone'}: bring it back, or start the studio with --workspace."
