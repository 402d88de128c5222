"""Captions written by a captioner: batch by batch, as one change that can be undone; what is there already stays unless asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, ValidationError

from studio.dataset.caption_batches import Batches
from studio.dataset.captioners.base import Ask, Suggestion
from studio.dataset.captioners.places import Chosen, find_captioner
from studio.dataset.captioners.prompts import PROMPTS
from studio.dataset.edit import editing
from studio.dataset.looked_at import LookedAt
from studio.dataset.removal import count
from studio.dataset.rows import Dataset, open_dataset
from studio.dataset.templates import known_fields
from studio.dataset.versions import FILE, HAND, Version, add_versions, read_versions, suggested, writer
from studio.dataset.wording import Change, replace_captions
from studio.errors import StudioError, printable
from studio.settings import Settings, explain, setting
from studio.store import Workspace

MAX_FILES = 100_000
MAX_PROMPT = 4000
SWITCHES = ("rating", "escape")
Progress = Callable[[int, int], None]  # (pictures looked at, of how many); may raise, and then nothing is changed


class CaptionRequest(Settings):
    """Which pictures are captioned, by whom, and how."""

    dataset: str = setting(..., "Dataset", "Whose pictures", max_length=300)
    captioner: str = setting("embedded", "Captioner", "Who writes the captions: a name, or a captioner's folder", max_length=4096)
    detail: str = setting("", "Detail", "How much is said, for captioners that have levels; empty = the captioner's own", max_length=60)
    prompt: str = setting(
        "",
        "Prompt",
        "What is asked, how captions begin, or the template; also a domain, as medical; empty = the captioner's own",
        max_length=MAX_PROMPT,
    )
    max_tokens: int = setting(128, "Length", "No caption is longer; what runs on is cut at a sentence", unit="tokens", ge=1, le=10_000)
    threshold: float | None = setting(
        None,
        "Threshold",
        "Below this confidence no caption, or no tag, is written; empty = the captioner's own",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    character_threshold: float | None = setting(
        None, "Character threshold", "The same for names of characters, of taggers; empty = 0.85", ge=0, le=1, allow_inf_nan=False
    )
    rating: bool = setting(False, "Rating", "Of taggers: the likeliest rating is a tag, too")
    escape: bool = setting(False, "Escape brackets", "Of taggers: brackets as prompts of A1111 and ComfyUI have them, as \\(series\\)")
    recaption: bool = setting(False, "Recaption", "Also replace what captioners wrote; captions by hand and from files stay")
    overwrite: bool = setting(False, "Overwrite", "Also replace captions that exist, whoever wrote them; they stay among the versions")
    files: list[str] | None = Field(None, max_length=MAX_FILES, description="only these pictures; None for all")


@dataclass(frozen=True)
class Selected:
    """What a captioning would do."""

    dataset: Dataset
    wanted: list[Change]  # with their captions now
    num_kept: int  # others have a caption
    chosen: Chosen
    ask: Ask


def parse_request(values: dict[str, Any]) -> CaptionRequest:
    """The request in `values`; StudioError naming the first thing that is wrong with it."""
    try:
        return CaptionRequest.model_validate(values)
    except ValidationError as error:
        raise StudioError(explain(error)) from None


def select(workspace: Workspace, request: CaptionRequest) -> Selected:
    """What is to be captioned, by whom and how; StudioError where it cannot be done."""
    chosen = find_captioner(workspace, request.captioner)
    ask = _ask(chosen, request)
    dataset = open_dataset(workspace, request.dataset)
    if not dataset.rows:
        raise StudioError(f"{dataset.name} has no pictures: add some first")
    if chosen.facts.sees == "facts":
        ask = replace(ask, fields=tuple(known_fields(dataset.rows)), trigger=str(dataset.about.get("trigger", "")))
        chosen.module.check_ask(ask)
    rows = dataset.rows
    if request.files is not None:
        chosen_files = set(request.files)
        rows = [row for row in rows if row.file in chosen_files]
        if not rows:
            raise StudioError("these pictures are not in the dataset any more: they were removed in another window")
    now = [Change(row, dataset.caption(row), "", False) for row in rows]
    versions = read_versions(dataset) if request.recaption else {}
    wanted = [each for each in now if _is_wanted(each, request, versions)]
    return Selected(dataset, wanted, len(now) - len(wanted), chosen, ask)


def _is_wanted(each: Change, request: CaptionRequest, versions: dict[str, list[Version]]) -> bool:
    if request.overwrite or not each.before:
        return True
    return request.recaption and writer(each.row, versions.get(each.row.file, []), each.before) not in (HAND, FILE)


def _ask(chosen: Chosen, request: CaptionRequest) -> Ask:
    """How this captioner is asked; StudioError for what it cannot be asked."""
    facts, prompt = chosen.facts, printable(request.prompt).strip()
    title = facts.title
    if prompt and facts.prompt == "none":
        raise StudioError(f"prompt: {title} takes no words: leave the prompt empty")
    if facts.prompt == "instruction":
        prompt = PROMPTS.get(prompt.casefold(), prompt)
    if request.detail and request.detail not in facts.details:
        has = f"one of {', '.join(facts.details)}" if facts.details else "nothing: it has no levels of detail"
        raise StudioError(f"detail: {printable(request.detail)!r} is not known to {title}: give {has}")
    for num, name in enumerate(("threshold", "character_threshold")):
        if getattr(request, name) is not None and len(facts.thresholds) <= num:
            raise StudioError(f"{name}: {title} gives no such confidence: leave the {name.replace('_', ' ')} empty")
    for name in SWITCHES:
        if getattr(request, name) and name not in facts.switches:
            raise StudioError(f"{name}: {title} has no such switch, only taggers have: leave it off")
    thresholds = request.threshold, request.character_threshold
    return Ask(prompt, request.detail, request.max_tokens, *thresholds, request.rating, request.escape)


def caption_dataset(workspace: Workspace, request: CaptionRequest, progress: Progress) -> dict[str, Any]:
    """Caption the pictures of a dataset, all in one change at the end; what was looked at before an interruption is not looked at again.

    {"dataset", "captioner", "count", "unknown", "kept", "skipped": [{"file", "reason"}], "undo", "text", "notes": what else to say}
    """
    found = select(workspace, request)
    title, num = found.chosen.facts.title, len(found.wanted)
    said: dict[str, Suggestion] = {}
    skipped: list[dict[str, str]] = []
    num_before = num_edited = 0
    looked_at = LookedAt(workspace, found.dataset, found.chosen, found.ask)
    if found.wanted:
        said |= looked_at.known([each.row for each in found.wanted])
        rest = [each.row for each in found.wanted if each.row.file not in said]
        num_before = len(said)
        if not rest:
            progress(num, num)
        else:
            ask = replace(found.ask, alive=lambda: progress(min(num, len(said) + len(skipped)), num))
            loaded = found.chosen.module.load(found.chosen.folder)
            try:
                progress(num_before, num)
                for done, part in Batches(found.dataset, loaded, ask, found.chosen.facts.sees == "facts", skipped).over(rest):
                    looked_at.keep(part)
                    said |= {row.file: one for row, one in part}
                    progress(num_before + done, num)
            finally:
                loaded.unload()
    if not found.chosen.facts.thresholds:  # it is never unsure: what it has no words for is told by name
        skipped += [{"file": file, "reason": f"{printable(file)}: {one.reason}"} for file, one in said.items() if not one.caption]
    told = {"dataset": found.dataset.root.name, "captioner": title, "kept": found.num_kept, "skipped": skipped}
    num_unknown = sum(not each.caption for each in said.values()) if found.chosen.facts.thresholds else 0
    told |= {"count": 0, "undo": None, "text": "No caption was written", "unknown": num_unknown}
    if found.wanted:
        with editing(workspace, found.dataset.root.name) as now:
            num_edited, written = _write(now, found, said)
        told |= written
        looked_at.forget()
    return told | {"notes": _notes(found.num_kept, num_edited, num_before)}


def _write(dataset: Dataset, found: Selected, said: dict[str, Suggestion]) -> tuple[int, dict[str, Any]]:
    """Write what was said, but not over what someone else wrote meanwhile: how often that was, and {"count", "undo", "text"}."""
    rows, chosen = {row.file: row for row in dataset.rows}, found.chosen
    here = [each for each in found.wanted if each.row.file in said and rows.get(each.row.file) == each.row]
    same = [each for each in here if dataset.caption(each.row) == each.before]
    note = ", ".join(filter(None, (chosen.name, found.ask.detail)))
    versions = {each.row.file: suggested(chosen.key, note, said[each.row.file]) for each in same}
    after = [Change(each.row, each.before, said[each.row.file].caption, False) for each in same]
    changes = [each for each in after if each.after and each.after != each.before]
    told: dict[str, Any] = {}
    if changes:
        text = f"Wrote {count(len(changes), 'caption')} ({chosen.facts.title})"
        undo = replace_captions(dataset, changes, text, [versions[each.row.file] for each in changes])
        told = {"count": len(changes), "undo": undo, "text": text}
    changed = {each.row.file for each in changes}
    others = [each for each in after if each.row.file not in changed and (each.after or not each.before)]
    add_versions(dataset.root, [(each.row.file, versions[each.row.file]) for each in others])
    return len(here) - len(same), told


def _notes(num_kept: int, num_edited: int, num_before: int) -> list[str]:
    notes = []
    if num_before:
        was = "was" if num_before == 1 else "were"
        notes.append(f"{count(num_before)} {was} looked at before the interruption: gone on with the others")
    if num_kept:
        notes.append(f"{count(num_kept)} {'has a caption' if num_kept == 1 else 'have captions'} already: left as they are")
    if num_edited:
        notes.append(f"{count(num_edited, 'caption')} edited meanwhile: left as they are")
    return notes


def unknown_line(captioner: str, num: int) -> str:
    """What is told of pictures that a captioner does not know."""
    return f"{count(num)} {'is' if num == 1 else 'are'} outside what the {printable(captioner)} captioner knows"
