"""What a captioner said of each picture, kept beside the dataset: who wrote a caption, how sure it was, what else it may be."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from studio.dataset.captioners.base import Suggestion
from studio.dataset.rows import Dataset
from studio.errors import StudioError
from studio.store import read_json, write_json

SUGGESTIONS = ".suggestions.json"
_DIGITS = 3


class Said(BaseModel):
    """What is kept of a suggestion."""

    by: str
    caption: str
    confidence: float
    alternatives: list[tuple[str, float]] = []
    reason: str = ""


def read_suggestions(root: Path) -> dict[str, Said]:
    """By file; what is damaged is left out."""
    found = {}
    with suppress(StudioError, OSError):
        kept = read_json(root / SUGGESTIONS)
        for file, value in kept.items() if isinstance(kept, dict) else ():
            with suppress(ValidationError):
                found[file] = Said.model_validate(value)
    return found


def keep_suggestions(dataset: Dataset, captioner: str, suggestions: Mapping[str, Suggestion]) -> None:
    """Add suggestions to those kept, and forget those of pictures that are gone. Call it while editing."""
    here = {row.file for row in dataset.rows}
    kept = {file: said for file, said in read_suggestions(dataset.root).items() if file in here}
    for file, said in suggestions.items():
        alternatives = [(caption, round(chance, _DIGITS)) for caption, chance in said.alternatives]
        confidence = round(said.confidence, _DIGITS)
        kept[file] = Said(by=captioner, caption=said.caption, confidence=confidence, alternatives=alternatives, reason=said.reason)
    write_json(dataset.root / SUGGESTIONS, {file: said.model_dump(exclude_defaults=True) for file, said in kept.items()})


def shown(said: Said | None, caption: str) -> dict[str, Any] | None:
    """What is told beside `caption`: {"by", "chance", "reason", "choices"}; None where the caption is someone else's words."""
    if said is None:
        return None
    chances = {text: chance for text, chance in reversed(said.alternatives)} | {said.caption: said.confidence if said.caption else None}
    if caption not in chances:
        return None
    return {"by": said.by, "chance": chances[caption], "reason": said.reason, "choices": said.alternatives}
