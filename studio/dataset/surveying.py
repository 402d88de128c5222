"""Scans, scenes and tables among the files of an import: what is there, and which pictures are taken out of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio import registry
from studio.dataset.captions import read_regular
from studio.dataset.facts import check_template
from studio.dataset.kinds import HEAD_BYTES
from studio.dataset.readers.base import Choices, Set, Shot, Take
from studio.dataset.sources import Found, Picture, find
from studio.dataset.subjects import Subjects
from studio.dataset.worker import Worker
from studio.errors import StudioError

Progress = Callable[[int, int, str], None]


@dataclass
class Surveyed:
    """What an import holds: sets found by readers, and all other files, as pictures."""

    sets: list[Set]
    plain: list[Picture]


def survey(found: Found, worker: Worker, progress: Progress, salt: str) -> Surveyed:
    """Look into the files that a reader knows; those that it cannot use are named in `found`, the others stay pictures.

    Identities leave the decoding process only as hashes keyed by `salt`.
    """
    known: dict[str, list[tuple[Picture, dict[str, Any]]]] = {}
    plain = []
    for done, picture in enumerate(found.pictures):
        for name in _readers_of(picture):

            def tick(done=done, label=picture.label):
                progress(done, len(found.pictures), label)

            tick()
            answer = worker.ask({"reader": name, "survey": str(picture.path), "salt": salt}, tick)
            if "reason" in answer:
                found.skip(picture.label, answer["reason"])
                break
            if answer["head"] is not None:
                known.setdefault(name, []).append((picture, answer["head"]))
                break
        else:
            plain.append(picture)
    sets = [each for name, files in known.items() for each in registry.reader(name).gather(files)]
    sets.sort(key=lambda each: bool(each.aside))
    for number, each in enumerate(sets, 1):
        each.number = number
        for file, reason in each.left:
            found.skip(file.label, reason)
    return Surveyed(sets, plain)


def survey_files(sources: Sequence[Path], progress: Progress) -> tuple[list[dict[str, Any]], Found]:
    """(the sets in `sources`, for JSON; the other files, and what could not be used)."""
    found = find(sources)
    with Worker() as worker:
        surveyed = survey(found, worker, progress, Subjects().salt)
    found.pictures = surveyed.plain
    return describe(surveyed.sets), found


def _readers_of(picture: Picture) -> list[str]:
    """The readers that may know a file, in the order in which they are asked."""
    try:
        head = read_regular(picture.path, HEAD_BYTES)
    except OSError:
        return []
    return [name for name in registry.READERS if head and registry.reader(name).recognise(picture.path.name, head)]


def expand(found: Found, worker: Worker, choices: Choices, subjects: Subjects, progress: Progress) -> None:
    """Replace the scans and scenes in `found` by the pictures that `choices` take out of them; StudioError where they take none."""
    surveyed = survey(found, worker, progress, subjects.salt)
    sets = chosen_sets(surveyed.sets, choices)
    for each in surveyed.sets:
        if each.aside and not choices.series:
            found.skip(f"{each.title} ({each.number})", f"{each.aside}: take it by its number, --series {each.number}")
    names = subjects.name({each.subject: registry.reader(each.reader).SUBJECT for each in sets})
    divided = subjects.divided(names.values(), choices.blocks)
    shots, refused = [], []
    for each in sets:
        reader, name = registry.reader(each.reader), names[each.subject]
        check_template(choices.caption, set(reader.FIELDS))
        try:
            takes = plan(each, worker, choices, found, lambda: progress(0, 0, ""))
        except StudioError as error:  # what is wrong for one may be right for the others
            refused.append(error)
            if len(refused) == len(sets):
                raise refused[0] from None
            found.skip(f"{each.title} ({each.number})", f"was left out: {str(error).removeprefix(f'{each.title}: ')}")
            continue
        for take in takes:
            shot = Shot(
                each.reader, take.name, take.ask, take.facts, choices.caption or reader.CAPTION,
                group=f"{divided[name]}-part-{take.block + 1}" if name in divided else name,
                set_title=f"{each.title} ({each.number})",
                limit=getattr(choices, reader.LIMIT) if reader.LIMIT else 0,
                split=take.split,
                subject=each.subject if name else "",
            )  # fmt: skip
            shots.append(replace(take.file, label=f"{take.file.label} ({take.name})", shot=shot))
    found.pictures = [*surveyed.plain, *shots]


def plan(found_set: Set, worker: Worker, choices: Choices, found: Found, tick: Callable[[], None]) -> list[Take]:
    """The pictures that `choices` take out of a set, its values measured first where that is needed; none where that fails.

    StudioError where they fit none of its pictures.
    """
    reader, ranges = registry.reader(found_set.reader), []
    asked = reader.measured(found_set, choices)
    for file, ask in asked:
        answer = worker.ask({"reader": found_set.reader, "source": str(file.path), "ask": ask}, tick)
        if "ranges" in answer:
            ranges.append(answer["ranges"])
        elif len(asked) == 1:
            found.skip(file.label, answer["reason"])
    if asked and not ranges:
        if len(asked) > 1:
            found.skip(asked[0][0].label, f"{answer['reason']} (so do the others of its set)")
        return []
    try:
        return reader.plan(found_set, choices, ranges)
    except StudioError as error:
        raise StudioError(f"{found_set.title}: {error}") from None


def chosen_sets(sets: list[Set], choices: Choices) -> list[Set]:
    """Those of `sets` that `choices.series` names by number; all but those aside where it is empty, none for "none".

    StudioError for a number that is not there.
    """
    words = choices.series.replace(",", " ").split()
    if words == ["none"]:
        return []
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= len(sets):
            raise StudioError(f"series: there is no number {word}: {len(sets)} were found, counted from 1")
    numbers = {int(word) for word in words}
    return [each for each in sets if (each.number in numbers if numbers else not each.aside)]


def describe(sets: list[Set]) -> list[dict[str, Any]]:
    """The sets for JSON: what is there, and which choices matter."""
    shown = ("number", "reader", "title", "about", "num", "choices", "bands", "notes", "aside")
    return [{key: getattr(each, key) for key in shown} | {"files": len(each.files)} for each in sets]
