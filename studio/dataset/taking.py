"""Taking the pictures of an import one by one: decoded and stored, with their masks and words; what cannot be taken is named."""

import base64
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.dataset.facts import fill
from studio.dataset.kinds import MAX_FILE_BYTES, PICTURE_SUFFIXES, READABLE, suffix_of
from studio.dataset.kohya import is_class_picture, repeats_of
from studio.dataset.mask_names import leave_masks_of_many, pair
from studio.dataset.readers.base import Choices, grey_choice
from studio.dataset.rows import MASK_SUFFIX, MAX_NAME, Row
from studio.dataset.sources import Found, Picture
from studio.dataset.subjects import Subjects
from studio.dataset.surveying import expand
from studio.dataset.table import Captions, Words, words_of
from studio.dataset.worker import Worker
from studio.errors import StudioError, printable
from studio.store import require_free, slug

Progress = Callable[[int, int, str], None]
GIVE_UP_AFTER = 3  # pictures out of one file of which none could be read
_SPARE_BYTES = 32 * 2**20
_ALPHA = "incoming.mask"  # a mask of what is transparent, or one that came in the same row of a table


@dataclass
class Intake:
    """An import at work: rows and thumbnails of the pictures taken so far, in order."""

    folder: Path
    background: str
    found: Found
    progress: Progress
    views: Path
    choices: Choices = field(default_factory=Choices)
    subjects: Subjects = field(default_factory=Subjects)  # of the dataset that is added to
    rows: list[Row] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    thumbs: list[bytes] = field(default_factory=list)
    empty: Counter = field(default_factory=Counter)  # pictures left out, by the set they are of
    num_taken: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)  # pictures of a scan or scene, by its file, while none could be read
    told: str = ""  # the caption that the last picture held within itself
    columns: dict[str, Any] = field(default_factory=dict)  # and what else the row of its table says
    masks: dict[Path, Picture] = field(default_factory=dict)  # by the path of their picture
    takes_alpha: bool = False  # transparent parts become masks
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)  # by pixel hash


def _size(picture: Picture) -> int:
    """Bytes a picture will take at least; 0 for archives and the like, and for what is too large to be taken: they are only named."""
    try:
        num_bytes = picture.path.stat().st_size if suffix_of(picture.path.name) in PICTURE_SUFFIXES else 0
        return num_bytes if num_bytes <= MAX_FILE_BYTES else 0
    except OSError:
        return 0


def take_all(intake: Intake) -> list[Words]:
    """Read every picture; the words of those that were taken. StudioError where none was, or where they do not fit on the disk."""
    require_free(intake.folder, sum(map(_size, intake.found.pictures)) + _SPARE_BYTES, "a copy of these pictures")
    intake.found.pictures, intake.masks = pair(intake.found)
    captions, taken, num_files = Captions(intake.found), [], len(intake.found.pictures)
    with Worker() as worker:
        expand(intake.found, worker, intake.choices, intake.subjects, intake.progress)
        pictures = intake.found.pictures
        captions.tell_strays(intake.found)
        leave_masks_of_many(intake.found, intake.masks)
        for done, picture in enumerate(pictures):

            def tick(done=done, label=picture.label):
                intake.progress(done, len(pictures), label)

            tick()
            if _take(picture, worker, intake, tick):
                taken.append(_words(captions.of(picture), picture, intake))
    intake.progress(len(pictures), len(pictures), "")
    for title, num in intake.empty.items():
        intake.found.skip(title, f"{num} of its pictures show next to nothing and were left out")
    for label, num in intake.failed.items():
        if num > GIVE_UP_AFTER:
            intake.found.skip(label, f"{num - GIVE_UP_AFTER} more of its pictures were not tried, since none before could be read")
    _check_any(intake, num_files)
    return taken


def _take(picture: Picture, worker: Worker, intake: Intake, tick: Callable[[], None]) -> bool:
    """Have one picture read and stored; False where it was skipped."""
    part = intake.folder / "incoming.part"
    shot = picture.shot
    whole = picture.label.removesuffix(f" ({shot.name})") if shot else picture.label
    if is_class_picture(picture):
        intake.found.skip(picture.label, "is a class picture (kohya's reg folder): a run draws those by itself, from its class noun")
        return False
    if shot and shot.limit and intake.num_taken[shot.set_title] >= shot.limit:
        return False
    if shot and intake.failed[whole] >= GIVE_UP_AFTER:
        intake.failed[whole] += 1
        return False
    request = {"source": str(picture.path), "target": str(part), "background": intake.background, "views": str(intake.views)}
    alpha = {"alpha": str(intake.folder / _ALPHA)} if intake.takes_alpha or shot else {}
    more = {"reader": shot.reader, "ask": shot.ask} if shot else {"grey": grey_choice(intake.choices)}
    answer = worker.ask(request | more | alpha, tick)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"] or 0), str(intake.folder.parent))
    if "reason" in answer:
        for left in (part, intake.folder / _ALPHA):
            left.unlink(missing_ok=True)
        intake.failed[whole] += 1
        intake.found.skip(picture.label, answer["reason"])
        return False
    if "empty" in answer:
        intake.empty[shot.set_title] += 1
        return False
    source = f"{shot.name}{answer['suffix']}" if shot else picture.path.name  # names of scans may name a person
    intake.num_taken[shot.set_title if shot else ""] += 1
    intake.failed[whole] = -len(intake.found.pictures)  # at least one can be read: the others are all tried
    if shot:
        intake.subjects.note(shot.subject, answer["pixels"])
    file = file_name(len(intake.rows) + 1, source, answer["suffix"])
    part.rename(intake.folder / file)
    intake.thumbs.append(base64.b64decode(answer["thumb"]))
    intake.measured[answer["pixels"]] = answer["measures"]
    facts = {key: answer[key] for key in ("sha256", "pixels", "width", "height", "note")}
    folder = picture.label.rpartition("/")[0]
    columns = {"folder": folder[-MAX_NAME:]} if folder and not (picture.was_given or shot) else {}  # folders of scans may name a person
    about = shot.facts | answer["facts"] if shot else {}
    row = Row(file=file, source=printable(source), facts=about, columns=columns, repeats=repeats_of(picture)[0], **facts)
    _place_mask(row, picture, worker, intake, tick)
    intake.told, intake.columns = answer.get("caption", ""), answer.get("columns", {})
    intake.rows.append(row)
    return True


def _place_mask(row: Row, picture: Picture, worker: Worker, intake: Intake, tick: Callable[[], None]) -> None:
    """Store the mask that came with a picture beside it, else its transparent parts where they are to be one; skipped if it cannot be."""
    target, alpha = (intake.folder / row.file).with_suffix(MASK_SUFFIX), intake.folder / _ALPHA
    mask = intake.masks.pop(picture.path, None)
    if alpha.exists() and picture.shot:
        mask = Picture(alpha, f"{picture.label}, its mask")
    elif alpha.exists():
        alpha.rename(target)
    if mask is None:
        return
    answer = worker.read_mask(mask.path, target, (row.width, row.height), tick)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"] or 0), str(intake.folder.parent))
    if "reason" in answer:
        intake.found.skip(mask.label, answer["reason"])
    row.note = "; ".join(filter(None, (row.note, answer.get("note"))))
    alpha.unlink(missing_ok=True)


def _words(said: Words, picture: Picture, intake: Intake) -> Words:
    """What is said of a picture; where nothing is, what its reader says, else what kohya's name of its folder says."""
    shot, text, row = picture.shot, said.text, intake.rows[-1]
    if intake.columns:
        said = words_of(intake.columns)[0]
    if said.repeats:
        row = intake.rows[-1] = row.model_copy(update={"repeats": said.repeats})
    if text is None:
        text = (intake.told or fill(shot.template, row.facts)) if shot else repeats_of(picture)[1] or None
    where = "its table" if said.repeats else "the name of its folder"
    often = (f"it counts {row.repeats} times in training, as {where} says",) if row.repeats > 1 else ()
    group, split = (said.group or shot.group, said.split or shot.split) if shot else (said.group, said.split)
    return replace(said, text=text, group=group, split=split, notes=(*said.notes, *often))


def file_name(number: int, source: str, suffix: str) -> str:
    """What picture `number` of a dataset, read from the file `source`, is called there."""
    return "-".join(filter(None, (f"{number:04d}", slug(Path(source).stem)))) + suffix


def _check_any(intake: Intake, num: int) -> None:
    """StudioError where no picture was taken, with the first problem."""
    if intake.rows:
        return
    skipped = intake.found.skipped
    first = f"; the first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
    seen = f"of {num} file{'s' if num != 1 else ''} none could be read" if num else "there are no pictures here"
    raise StudioError(f"{seen}{first} ({READABLE} are readable)")
