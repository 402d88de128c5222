"""A run's events: one JSON line each, appended by the run, read by anyone from where they left off."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLUSH_SECONDS = 0.2  # steps may wait this long before they are written; everything else is written at once


class EventLog:
    """The writing end of events.jsonl; a torn last line of a killed writer is cut off when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._written = 0.0
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) != len(data):
                os.truncate(path, len(whole))

    def emit(self, kind: str, **values: Any) -> None:
        """Append an event; numbers that are not finite become null."""
        event = {"kind": kind, "time": round(time.time(), 3), **plain(values)}
        self._waiting.append(json.dumps(event, ensure_ascii=False) + "\n")
        if kind != "step" or time.monotonic() - self._written > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is held back to the disk."""
        if self._waiting:
            with open(self._path, "a", encoding="utf-8", errors="replace") as file:
                file.write("".join(self._waiting))
            self._waiting.clear()
        self._written = time.monotonic()


def plain(value: Any) -> Any:
    """`value` with null for every number that is not finite, which JSON has no word for."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def read_events(path: Path, cursor: int = 0) -> tuple[list[dict[str, Any]], int]:
    """(events after byte `cursor`, new cursor); half-written and damaged lines are left out."""
    try:
        with open(path, "rb") as file:
            file.seek(cursor)
            data = file.read()
    except FileNotFoundError:
        return [], cursor
    whole = data[: data.rfind(b"\n") + 1]
    return list(_parse(whole)), cursor + len(whole)


def _parse(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "kind" in event:
            yield event
