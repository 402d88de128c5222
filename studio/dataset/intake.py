"""Import: pictures and captions from anywhere become a dataset; what cannot be read is named and the rest goes on."""

import base64
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.alike import THUMB_PX, group
from studio.dataset.archives import is_archive, read_archives
from studio.dataset.building import building, clean, staging
from studio.dataset.doctor.chart import Chart, write_chart
from studio.dataset.doctor.pairs import all_pairs, index_pairs
from studio.dataset.doctor.upright import lying
from studio.dataset.facts import fill
from studio.dataset.kinds import MAX_FILE_BYTES, PICTURE_SUFFIXES, READABLE, suffix_of
from studio.dataset.kohya import is_class_picture, proposal, repeats_of
from studio.dataset.mask_names import leave_masks_of_many, pair
from studio.dataset.prints import keep_prints
from studio.dataset.readers.base import Choices, grey_choice
from studio.dataset.rows import MASK_SUFFIX, Dataset, Row
from studio.dataset.sources import Found, Picture, find
from studio.dataset.split import hold_out
from studio.dataset.subjects import Subjects
from studio.dataset.surveying import expand
from studio.dataset.table import Captions, Words, words_of
from studio.dataset.worker import Worker
from studio.errors import StudioError, printable
from studio.store import ASSETS, Workspace, read_json, require_free, sha256, slug

Progress = Callable[[int, int, str], None]
DEMOS = ASSETS / "demos"
MAX_NAME = 120
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


def create_dataset(
    workspace: Workspace,
    name: str,
    sources: Sequence[Path],
    *,
    background: str = "#ffffff",
    choices: Choices | None = None,
    progress: Progress | None = None,
    alpha_masks: bool = False,
) -> Dataset:
    """Import `sources` (files and folders) as a new dataset; transparent parts are laid on `background` (#rrggbb).

    `choices` say what is taken out of scans and scenes. With `alpha_masks`, transparent parts are also kept as masks;
    files that are masks by their names are kept as such. `progress(done, total, name)` is called at least four times a
    second; what it raises cancels the import. StudioError where the name is taken or no picture can be read; OSError of
    the disk written to.
    """
    tell = progress or (lambda done, total, name: None)
    intake = Intake(Path(), colour(background), Found(), tell, Path(), choices or Choices(), takes_alpha=alpha_masks)
    return _create(workspace, name, sources, intake, {})


def create_demo(workspace: Workspace, demo: str, name: str | None = None, progress: Progress | None = None) -> Dataset:
    """Import a bundled demo under `name` (its title unless given), with its own split; StudioError where there is none."""
    known = list_demos()
    if demo not in known:
        raise StudioError(f"no demo is called {printable(demo)!r}: there are {', '.join(known) or 'none in this copy'}")
    about = read_json(DEMOS / demo / "demo.json")
    label = name or str(about.get("title", demo))
    intake = Intake(Path(), "#ffffff", Found(), progress or (lambda done, total, name: None), Path())
    return _create(workspace, label, [DEMOS / demo], intake, about)


def list_demos() -> list[str]:
    """The names of the bundled demos."""
    return sorted(path.parent.name for path in DEMOS.glob("*/demo.json"))


def _create(workspace: Workspace, name: str, sources: Sequence[Path], intake: Intake, about: dict[str, Any]) -> Dataset:
    label = " ".join(printable(name).split())
    target = _target(workspace, label)
    clean(target.parent)
    with gathered(sources, target.parent, intake.progress) as found, building(target) as folder:
        intake = replace(intake, folder=folder, found=found, views=workspace.cache / "views")
        words = take_all(intake)
        dataset = Dataset(
            root=folder,
            name=label,
            rows=_finish_rows(intake, words),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            background=intake.background,
            skipped=found.skipped,
            about=proposal(found.pictures) | about,
        )
        for row, caption in zip(dataset.rows, intake.captions, strict=True):
            dataset.path(row).with_suffix(".txt").write_bytes(caption.encode("utf-8"))
        dataset.save()
    keep_prints(workspace, target.name, {row.pixels: thumb for row, thumb in zip(dataset.rows, intake.thumbs, strict=True)})
    intake.subjects.keep(workspace, target.name)
    return dataset.model_copy(update={"root": target})


@contextmanager
def gathered(sources: Sequence[Path], parent: Path, progress: Progress) -> Iterator[Found]:
    """The files of an import, those in zip archives among them, which are read into a temporary folder in `parent`."""
    found = find(sources)
    if not any(is_archive(picture.path) for picture in found.pictures):
        yield found
        return
    with staging(parent) as folder:
        read_archives(found, folder, lambda name: progress(0, len(found.pictures), name))
        yield found


def colour(text: str) -> str:
    """`text` as a colour #rrggbb; StudioError where it is none."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise StudioError(f"{printable(text)!r} is not a colour: write it as #rrggbb, such as #ffffff")
    return text.lower()


def _target(workspace: Workspace, label: str) -> Path:
    folder = slug(label)
    if not folder:
        raise StudioError("a dataset needs a name with at least one letter or digit")
    if len(label) > MAX_NAME:
        raise StudioError(f"the name of a dataset has at most {MAX_NAME} characters, this one {len(label)}")
    target = workspace.datasets / folder
    if os.path.lexists(target):
        raise StudioError(f"a dataset called {label!r} exists already ({target}): choose another name")
    return target


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


def digest(caption: str) -> str:
    """What a row keeps of the caption it came with, to tell whether it was edited since."""
    return sha256(caption.encode("utf-8"))[:16]


def _check_any(intake: Intake, num: int) -> None:
    """StudioError where no picture was taken, with the first problem."""
    if intake.rows:
        return
    skipped = intake.found.skipped
    first = f"; the first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
    seen = f"of {num} file{'s' if num != 1 else ''} none could be read" if num else "there are no pictures here"
    raise StudioError(f"{seen}{first} ({READABLE} are readable)")


def _finish_rows(intake: Intake, words: list[Words]) -> list[Row]:
    """The rows with their groups, splits and notes; fills `intake.captions`, and leaves the doctor's chart beside them."""
    thumbs = np.frombuffer(b"".join(intake.thumbs), np.uint8).reshape(-1, THUMB_PX, THUMB_PX, 3)
    pixels = [row.pixels for row in intake.rows]
    num = len(intake.found.pictures)
    measures = [intake.measured.get(key) for key in pixels]
    pairs = all_pairs(pixels, thumbs, measures, tick=lambda: intake.progress(num, num, ""))
    write_chart(intake.folder, Chart(measured=intake.measured, pairs=pairs, lying=lying(pixels, thumbs, measures)))
    groups = group(pixels, index_pairs(pixels, pairs), [each.group for each in words])
    first: dict[str, str] = {}
    rows = []
    for row, said, name in zip(intake.rows, words, groups, strict=True):
        twin = first.setdefault(row.pixels, row.file)
        notes = [row.note, *said.notes, f"the same picture as {twin}" if twin != row.file else ""]
        note = "; ".join(filter(None, notes))
        changed = {"group": name, "split": said.split, "note": note, "words": digest(said.text or "")}
        rows.append(row.model_copy(update=changed | {"columns": row.columns | said.columns}))
        intake.captions.append(said.text or "")
    return hold_out(rows)
