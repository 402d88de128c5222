"""What a captioner said before its work was interrupted: kept as it comes, by the pixels it was said of, until it has been written."""

import contextlib
import json
from collections.abc import Sequence

from studio.dataset.captioners.base import Ask, Suggestion
from studio.dataset.captioners.places import Chosen
from studio.dataset.rows import Dataset, Row
from studio.store import Workspace, append_lines, parse_lines, sha256

MAX_KEPT = 20  # interrupted captionings, the newest


class LookedAt:
    """The answers of one captioner, asked in one way, about one dataset."""

    def __init__(self, workspace: Workspace, dataset: Dataset, chosen: Chosen, ask: Ask) -> None:
        words = (ask.prompt, ask.detail, ask.max_tokens, ask.threshold, ask.character_threshold, ask.rating, ask.escape, ask.trigger)
        self._mark = _known if chosen.facts.sees == "facts" else _seen
        key = json.dumps([dataset.root.name, dataset.created, chosen.key, _fingerprint(chosen), *words])
        self._path = workspace.cache / "captioned" / f"{sha256(key.encode())[:24]}.jsonl"

    def known(self, rows: Sequence[Row]) -> dict[str, Suggestion]:
        """By file, what was said of these pictures before."""
        said = {}
        for value in parse_lines(self._path.read_bytes() if self._path.exists() else b""):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                alternatives = tuple((str(text), float(chance)) for text, chance in value["alternatives"])
                confidence = None if value["confidence"] is None else float(value["confidence"])
                said[value["pixels"]] = Suggestion(str(value["caption"]), confidence, alternatives, str(value["reason"]))
        return {row.file: said[self._mark(row)] for row in rows if self._mark(row) in said}

    def keep(self, said: Sequence[tuple[Row, Suggestion]]) -> None:
        """Add what was said now."""
        append_lines(self._path, ({"pixels": self._mark(row), **vars(one)} for row, one in said))

    def forget(self) -> None:
        """It has been written: nothing is to be gone on with. Of what was never gone on with, the newest stays."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            left = sorted(self._path.parent.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
            for path in left[:-MAX_KEPT]:
                path.unlink(missing_ok=True)


def _seen(row: Row) -> str:
    """What a captioner saw: the pixels, and how they are framed."""
    return f"{row.pixels}:{row.edit.model_dump_json()}" if row.edit else row.pixels


def _known(row: Row) -> str:
    """What is known of a picture, where captions are made of that."""
    return sha256(row.model_dump_json().encode())


def _fingerprint(chosen: Chosen) -> list[object]:
    """Which weights these are, told by names, sizes and times."""
    if chosen.folder is None:
        return []
    files = sorted(path for path in chosen.folder.iterdir() if path.is_file())
    return [str(chosen.folder), *[(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]]
