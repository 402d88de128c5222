"""Captions written by a captioner: batch by batch, as one change that can be undone; what is there already stays unless asked."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from studio import registry
from studio.dataset.captioners.base import Suggestion
from studio.dataset.edit import editing
from studio.dataset.removal import count
from studio.dataset.rows import Dataset, Row, open_dataset
from studio.dataset.suggestions import keep_suggestions
from studio.dataset.wording import Change, replace_captions
from studio.errors import StudioError, printable
from studio.spec import Settings, explain, setting
from studio.store import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 16
MAX_FILES = 100_000
Progress = Callable[[int, int], None]  # (pictures looked at, of how many); may raise, and then nothing is changed


class CaptionRequest(Settings):
    """Which pictures are captioned, and by whom."""

    dataset: str = setting(..., "Dataset", "Whose pictures", max_length=300)
    captioner: str = setting("embedded", "Captioner", "Who writes the captions", max_length=60)
    threshold: float | None = setting(
        None, "Threshold", "Below this confidence no caption is written; empty = the captioner's own", ge=0, le=1, allow_inf_nan=False
    )
    overwrite: bool = setting(False, "Overwrite", "Also replace captions that exist")
    files: list[str] | None = Field(None, max_length=MAX_FILES, description="only these pictures; None for all")


def parse_request(values: dict[str, Any]) -> CaptionRequest:
    """The request in `values`; StudioError naming the first thing that is wrong with it."""
    try:
        return CaptionRequest.model_validate(values)
    except ValidationError as error:
        raise StudioError(explain(error)) from None


def select(workspace: Workspace, request: CaptionRequest) -> tuple[Dataset, list[Change], int]:
    """(dataset, the pictures to caption with their captions now, how many others have one); StudioError where it cannot be done."""
    registry.captioner(request.captioner)
    dataset = open_dataset(workspace, request.dataset)
    if not dataset.rows:
        raise StudioError(f"{dataset.name} has no pictures: add some first")
    rows = dataset.rows
    if request.files is not None:
        chosen = set(request.files)
        rows = [row for row in rows if row.file in chosen]
        if not rows:
            raise StudioError("these pictures are not in the dataset any more: they were removed in another window")
    now = [Change(row, dataset.caption(row), "", False) for row in rows]
    wanted = [each for each in now if request.overwrite or not each.before]
    return dataset, wanted, len(now) - len(wanted)


def caption_dataset(workspace: Workspace, request: CaptionRequest, progress: Progress) -> dict[str, Any]:
    """Caption the pictures of a dataset, all in one change at the end.

    {"dataset", "captioner", "count", "unknown", "kept", "skipped": [{"file", "reason"}], "undo", "text", "notes": what else to say}
    """
    dataset, wanted, num_kept = select(workspace, request)
    said: dict[str, Suggestion] = {}
    skipped: list[dict[str, str]] = []
    if wanted:
        suggest = registry.captioner(request.captioner).load(request.threshold)
        progress(0, len(wanted))
        for done, files, pictures in _read(dataset, [each.row for each in wanted], skipped):
            said |= zip(files, suggest(pictures) if pictures else [], strict=True)
            progress(done, len(wanted))
    told = {"dataset": dataset.root.name, "captioner": request.captioner, "kept": num_kept, "skipped": skipped}
    told |= {"count": 0, "undo": None, "text": "No caption was written", "unknown": sum(not each.caption for each in said.values())}
    num_edited = 0
    if wanted:
        with editing(workspace, dataset.root.name) as now:
            num_edited, written = _write(now, request.captioner, wanted, said)
        told |= written
    return told | {"notes": _notes(num_kept, num_edited)}


def _read(dataset: Dataset, rows: Sequence[Row], skipped: list[dict[str, str]]) -> "Iterator[tuple[int, list[str], list[Image]]]":
    """(how many are done with it, files, their pictures) batch by batch; what cannot be read goes to `skipped`."""
    from studio.dataset.decode import open_image

    for start in range(0, len(rows), BATCH):
        files, pictures = [], []
        batch = rows[start : start + BATCH]
        for row in batch:
            try:
                pictures.append(open_image(dataset.path(row)))
                files.append(row.file)
            except StudioError as error:
                skipped.append({"file": row.file, "reason": str(error)})
        yield start + len(batch), files, pictures


def _write(dataset: Dataset, captioner: str, wanted: list[Change], said: dict[str, Suggestion]) -> tuple[int, dict[str, Any]]:
    """Write what was said, but not over what someone else wrote meanwhile: how often that was, and {"count", "undo", "text"}."""
    rows = {row.file: row for row in dataset.rows}
    here = [each for each in wanted if each.row.file in said and rows.get(each.row.file) == each.row]
    same = [each for each in here if dataset.caption(each.row) == each.before]
    after = [Change(each.row, each.before, said[each.row.file].caption, False) for each in same]
    changes = [each for each in after if each.after and each.after != each.before]
    told: dict[str, Any] = {}
    if changes:
        text = f"Wrote {count(len(changes), 'caption')} ({captioner})"
        told = {"count": len(changes), "undo": replace_captions(dataset, changes, text), "text": text}
    if said:
        keep_suggestions(dataset, captioner, {each.row.file: said[each.row.file] for each in after if each.after or not each.before})
    return len(here) - len(same), told


def _notes(num_kept: int, num_edited: int) -> list[str]:
    notes = []
    if num_kept:
        notes.append(f"{count(num_kept)} {'has a caption' if num_kept == 1 else 'have captions'} already: left as they are")
    if num_edited:
        notes.append(f"{count(num_edited, 'caption')} edited meanwhile: left as they are")
    return notes


def unknown_line(captioner: str, num: int) -> str:
    """What is told of pictures that a captioner does not know."""
    return f"{count(num)} {'is' if num == 1 else 'are'} outside what the {printable(captioner)} captioner knows"
