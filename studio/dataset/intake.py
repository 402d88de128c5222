"""Import: pictures and captions from anywhere become a dataset; what cannot be read is named and the rest goes on."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from studio.dataset.kohya import proposal
from studio.dataset.prints import keep_prints
from studio.dataset.readers.base import Choices
from studio.dataset.rows import Dataset, Row, digest, label_of
from studio.dataset.sources import Found, find
from studio.dataset.split import hold_out
from studio.dataset.table import Words
from studio.dataset.taking import Intake, Progress, take_all
from studio.errors import StudioError, printable
from studio.store import ASSETS, Workspace, read_json, slug

DEMOS = ASSETS / "demos"


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
    label = label_of(name)
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
    target = workspace.datasets / slug(label)
    if os.path.lexists(target):
        raise StudioError(f"a dataset called {label!r} exists already ({target}): choose another name")
    return target


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
