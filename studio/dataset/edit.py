"""Changing a dataset: one change at a time, whole or not at all; pictures added, a caption, the name."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from studio.dataset.alike import group
from studio.dataset.building import clean as clean_folder
from studio.dataset.building import staging, sync_files
from studio.dataset.captions import clean
from studio.dataset.doctor.chart import Chart, Pair, read_chart, with_measures, write_chart
from studio.dataset.doctor.pairs import all_pairs, index_pairs, is_by_print
from studio.dataset.doctor.upright import lying
from studio.dataset.intake import gathered
from studio.dataset.prints import keep_prints, prints_of
from studio.dataset.readers.base import Choices
from studio.dataset.rows import INDEX, MASK_SUFFIX, Dataset, Row, Skipped, changed, digest, files_of, find_root, label_of, list_datasets
from studio.dataset.split import hold_out
from studio.dataset.split_rule import given_names, rule_of
from studio.dataset.subjects import Subjects
from studio.dataset.table import Words
from studio.dataset.taking import Intake, Progress, file_name, take_all
from studio.dataset.versions import HAND, Version, add_versions, found_version
from studio.errors import StudioError, printable
from studio.store import Workspace, inside, read_json, slug, sync_folder, write_json

REMOVED, HISTORY = ".removed", ".history"
MAX_SKIPPED = 1000  # problems at import that are kept, the newest
LOCK_WAIT_S = 60
_ADDING = ".adding.json"


@contextmanager
def editing(workspace: Workspace, name: str) -> Iterator[Dataset]:
    """The dataset `name` as it is now, while nobody else changes it; what a killed change left behind is cleared away first.

    StudioError where it is gone.
    """
    root = find_root(workspace, name)
    with locked(workspace, root):
        if not (root / INDEX).exists():
            raise StudioError(f"dataset {printable(name)!r} is not here any more: it was deleted in another window")
        _clear_adding(root)
        yield Dataset.load(root)


@contextmanager
def locked(workspace: Workspace, root: Path) -> Iterator[None]:
    """Nobody else changes the dataset in `root` meanwhile; StudioError where somebody does, for longer than LOCK_WAIT_S."""
    locks = workspace.cache / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"dataset-{root.name}.lock")
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        raise StudioError(f"{root.name} is being changed in another window: wait until that is done") from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Added:
    """What adding pictures has changed."""

    dataset: Dataset
    files: list[str]
    skipped: list[Skipped]


def add_pictures(
    workspace: Workspace,
    name: str,
    sources: Sequence[Path],
    *,
    choices: Choices | None = None,
    progress: Progress | None = None,
    alpha_masks: bool = False,
) -> Added:
    """Import `sources` into the dataset `name`: all of them or, where that fails or is cancelled, none.

    Pictures that are there already, pixel for pixel, are skipped. Rows that exist keep their split. `progress` is called
    as in `create_dataset`. StudioError where no picture can be read; OSError of the disk written to.
    """
    dataset = Dataset.load(find_root(workspace, name))
    progress = progress or (lambda done, total, name: None)
    clean_folder(dataset.root.parent)
    with gathered(sources, dataset.root.parent, progress) as found, staging(dataset.root.parent) as folder:
        subjects, views = Subjects.of(workspace, dataset), workspace.cache / "views"
        intake = Intake(folder, dataset.background, found, progress, views, choices or Choices(), subjects, takes_alpha=alpha_masks)
        words = take_all(intake)
        problems = list(found.skipped)
        with editing(workspace, dataset.root.name) as dataset:
            return _commit(workspace, dataset, intake, words, problems)


def _commit(workspace: Workspace, dataset: Dataset, intake: Intake, words: list[Words], problems: list[Skipped]) -> Added:
    """Take what was read into `dataset`, but for what it holds already."""
    known = {row.pixels: row.file for row in dataset.rows}
    number = next_number(dataset.root)
    new, moves, prints = [], [], {}
    for row, said, thumb in zip(intake.rows, words, intake.thumbs, strict=True):
        if row.pixels in known:
            intake.found.skip(row.source, f"is the same picture as {known[row.pixels]}, which is here already")
            continue
        file = file_name(number + len(new), row.source, Path(row.file).suffix)
        caption = said.text or ""
        (intake.folder / row.file).with_suffix(".txt").write_bytes(caption.encode("utf-8"))
        note = "; ".join(filter(None, [row.note, *said.notes]))
        columns = row.columns | said.columns
        changed = {"file": file, "group": said.group, "split": said.split, "note": note, "words": digest(caption), "columns": columns}
        new.append(row.model_copy(update=changed))
        moves.append((intake.folder / row.file, file))
        known[row.pixels], prints[row.pixels] = file, thumb
    keep_prints(workspace, dataset.root.name, prints)
    intake.subjects.keep(workspace, dataset.root.name)
    chart = with_measures(read_chart(dataset.root), {row.pixels: intake.measured[row.pixels] for row in new})
    merged = dataset.model_copy(update={"rows": dataset.rows + new, "skipped": (dataset.skipped + problems)[-MAX_SKIPPED:]})
    if new:
        chart = renewed(workspace, merged, chart, {row.pixels for row in new})
        merged = regroup(merged, chart)
        sync_files(intake.folder)
    _place(merged, moves)
    keep_chart(merged, chart)
    return Added(merged, [row.file for row in new], intake.found.skipped)


def regroup(dataset: Dataset, chart: Chart) -> Dataset:
    """`dataset` with look-alikes of all its pictures in common groups, and a split for the rows that have none."""
    rows, pixels, rule = dataset.rows, [row.pixels for row in dataset.rows], rule_of(dataset)
    try:
        given = given_names(rows, rule)
    except StudioError:  # the rule fits none of the pictures that are left
        given = [row.group for row in rows]
    names = group(pixels, index_pairs(pixels, chart.pairs), given)
    grouped = [changed(row, group=name) for row, name in zip(rows, names, strict=True)]
    return dataset.model_copy(update={"rows": hold_out(grouped, share=rule.share, seed=rule.seed)})


def renewed(workspace: Workspace, dataset: Dataset, chart: Chart, fresh: set[str] | None = None) -> Chart:
    """`chart` with the pairs of pictures of `dataset` that show the same, found anew but for those of an image tower.

    With `fresh`, pixel hashes, prints are compared only with those of fresh pictures, where all others were compared before.
    """
    pixels = [row.pixels for row in dataset.rows]
    if fresh is not None and not set(pixels) - fresh <= chart.measured.keys():
        fresh = None
    old = [] if fresh is None else [pair for pair in chart.pairs if is_by_print(pair) and fresh.isdisjoint((pair.first, pair.second))]
    known = {frozenset((pair.first, pair.second)) for pair in old}
    prints = prints_of(workspace, dataset, lambda: None)
    measures = [chart.measured.get(key) for key in pixels]
    found = all_pairs(pixels, prints, measures, fresh)
    new = [pair for pair in found if frozenset((pair.first, pair.second)) not in known]
    pairs = [*old, *new, *(pair for pair in chart.pairs if pair.kind == "alike")]
    return chart.model_copy(update={"pairs": pairs, "lying": lying(pixels, prints, measures)})


def known_pairs(workspace: Workspace, dataset: Dataset) -> list[Pair]:
    """The pairs in the chart of `dataset`, or found now where its pictures were never compared."""
    chart = read_chart(dataset.root)
    return (chart if all(row.pixels in chart.measured for row in dataset.rows) else renewed(workspace, dataset, chart)).pairs


def keep_chart(dataset: Dataset, chart: Chart) -> None:
    """Keep `chart` beside a dataset that is in place; a disk that refuses costs only time later."""
    with suppress(OSError):
        write_chart(dataset.root, chart)


def next_number(root: Path) -> int:
    """The first number that no picture of this dataset has or had, also none that could come back."""
    taken = [0]
    for folder in (root, root / REMOVED):
        names = os.listdir(folder) if folder.is_dir() else []
        taken += [int(head) for name in names if (head := name.split("-")[0].split(".")[0]).isascii() and head.isdigit()]
    return max(taken) + 1


def _place(dataset: Dataset, moves: list[tuple[Path, str]]) -> None:
    """Move pictures with their captions and masks into the dataset's folder and name them in its index, which is written last."""
    root = dataset.root
    try:
        if moves:
            write_json(root / _ADDING, [file for _, file in moves])
        for path, file in moves:
            for source, target in zip(files_of(path.name), files_of(file), strict=True):
                with suppress(FileNotFoundError) if source.endswith(MASK_SUFFIX) else nullcontext():
                    (path.parent / source).rename(root / target)
        sync_folder(root)
        dataset.save()
    finally:
        _clear_adding(root)


def _clear_adding(root: Path) -> None:
    """Remove the pictures of an addition that was not finished: those announced, but not named in the index."""
    journal = root / _ADDING
    if not journal.exists():
        return
    named = {row.file for row in Dataset.load(root).rows}
    for file in read_json(journal):
        if file not in named:
            for name in files_of(file):
                inside(root, name).unlink(missing_ok=True)
    journal.unlink(missing_ok=True)


def find_row(dataset: Dataset, file: str) -> Row:
    """The row of the picture `file`; StudioError where it is not there any more."""
    for row in dataset.rows:
        if row.file == file:
            return row
    raise StudioError(f"{printable(file)[:120]} is not in {dataset.name} (any more): it may have been removed in another window")


def set_caption(workspace: Workspace, dataset: Dataset, file: str, text: str, before: str | None = None) -> tuple[str, str]:
    """Write one caption by hand, which touches its file and adds a version; the caption as stored and a note about what was cut.

    StudioError where it is no longer `before`, if given: somebody else has changed it meanwhile.
    """
    row = find_row(dataset, file)
    caption, note = clean(text)
    with locked(workspace, dataset.root):
        if not dataset.path(row).exists():
            raise StudioError(f"{row.file} is not in {dataset.name} any more: it was removed in another window")
        now = dataset.caption(row)
        if before is not None and now not in (before, caption):
            raise StudioError(f"this caption was changed in another window: it is now {now[:80]!r}; save again to replace that")
        if caption != now:
            words = (found_version(row, now), Version(by=HAND, caption=caption, found=True))
            add_versions(dataset.root, [(file, version) for version in words if version.caption])
        dataset.set_caption(row, text)
    return caption, note


def rename_dataset(workspace: Workspace, name: str, label: str) -> str:
    """Give a dataset another label; its folder, and so its address, stays. The label as stored.

    StudioError where it is taken, empty or too long.
    """
    text = label_of(label)
    with editing(workspace, name) as dataset:
        others = [other for other in list_datasets(workspace) if other.root.name != dataset.root.name]
        if any(text == other.name or slug(text) == other.root.name for other in others):
            raise StudioError(f"a dataset called {text!r} exists already: choose another name")
        dataset.model_copy(update={"name": text}).save()
    return text
