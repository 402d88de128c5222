"""A whole check of a dataset: files looked over, missing measures made by the decoding process, copies and strangers found anew."""

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.doctor.chart import Chart, read_chart, with_measures, write_chart
from studio.dataset.doctor.marks import MAX_PICTURES, MIN_PICTURES, common_mark
from studio.dataset.doctor.measures import WORK_PX
from studio.dataset.doctor.pairs import all_pairs, feature_pairs
from studio.dataset.doctor.stamps import shared_marks, windows
from studio.dataset.doctor.upright import lying
from studio.dataset.edit import editing
from studio.dataset.likeness import dataset_features, outliers
from studio.dataset.prints import keep_prints, prints_of
from studio.dataset.rows import Dataset, Row, open_dataset
from studio.dataset.stored import open_image
from studio.dataset.worker import Worker
from studio.errors import StudioError
from studio.store import Workspace

Progress = Callable[[int, int], None]  # (pictures looked at, of how many); may raise, and then nothing is changed
_FEATURE_BATCH = 32
_TELL_EVERY = 32
MAX_LOOKED = 240  # pictures in which marks are looked for
SEVERAL = "at several places"


@dataclass(frozen=True)
class Looker:
    """An image tower: the features of picture files, float32 [N, D] of unit length, and which weights it has."""

    features: Callable[[list[Path]], np.ndarray]
    kind: str


def examine(workspace: Workspace, name: str, progress: Progress, looker: Looker | None = None) -> Chart:
    """Look at every picture of the dataset `name` as far as that is not done already; the chart, kept beside it.

    With a `looker`, look-alikes and strangers are told by what the pictures show. What `progress` raises ends it, and what
    was measured by then is kept. StudioError where there is no such dataset.
    """
    dataset = open_dataset(workspace, name)
    damaged: dict[str, str] = {}
    measured: dict[str, dict[str, Any]] = {}
    prints: dict[str, bytes] = {}
    try:
        for row, answer in _look_over(workspace, dataset, damaged, progress):
            measured[row.pixels], prints[row.pixels] = answer["measures"], base64.b64decode(answer["thumb"])
    finally:
        if measured:
            keep_prints(workspace, dataset.root.name, prints)
            _keep(workspace, dataset, lambda chart: with_measures(chart, measured))
    rows = [row for row in dataset.rows if row.file not in damaged]
    whole = dataset.model_copy(update={"rows": rows})
    mark = _find_mark(whole, progress)
    found = _compare(workspace, whole, progress, looker)
    return _keep(
        workspace, dataset, lambda chart: chart.model_copy(update={"damaged": damaged, "checked": time.time(), **mark, **found(chart)})
    )


def _keep(workspace: Workspace, dataset: Dataset, change: Callable[[Chart], Chart]) -> Chart:
    with editing(workspace, dataset.root.name) as now:
        chart = change(read_chart(now.root))
        write_chart(now.root, chart)
    return chart


def _look_over(workspace: Workspace, dataset: Dataset, damaged: dict[str, str], progress: Progress) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Look over every file; (row, answer of the decoding process) for those that were never measured, what is wrong into `damaged`."""
    known, total = set(read_chart(dataset.root).measured), 2 * len(dataset.rows)
    with ExitStack() as stack:
        worker = None
        for done, row in enumerate(dataset.rows):
            if done % _TELL_EVERY == 0:
                progress(done, total)
            reason = _changed(dataset, row)
            if reason:
                damaged[row.file] = reason
            elif row.pixels not in known:
                worker = worker or stack.enter_context(Worker())
                request = {"source": str(dataset.path(row)), "views": str(workspace.cache / "views"), "size": 0, "measure": True}
                answer = worker.ask(request, lambda done=done: progress(done, total))
                if answer.get("pixels") == row.pixels:
                    known.add(row.pixels)
                    yield row, answer
                else:
                    damaged[row.file] = answer.get("reason", "does not hold the pixels that were imported")
    progress(len(dataset.rows), total)


def _changed(dataset: Dataset, row: Row) -> str:
    """What is wrong with a picture's file; "" where it holds the bytes that were imported."""
    try:
        with open(dataset.path(row), "rb") as file:
            now = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing: bring it back, or exclude it"
    except OSError as error:
        return f"cannot be read ({error.strerror or 'unreadable'})"
    return "" if now == row.sha256 else "was changed since it was imported: import it anew, or exclude it"


def _find_mark(dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """How a chart changes by marks: one that many pictures of one size carry, or one that a few do.

    Of a large dataset some are looked at, evenly spread.
    """
    num = len(dataset.rows)
    (size, _), *_ = Counter((row.width, row.height) for row in dataset.rows).most_common(1) or [((0, 0), 0)]
    looked = [dataset.rows[int(i)] for i in np.unique(np.linspace(0, num - 1, MAX_LOOKED).astype(int))] if num >= MIN_PICTURES else []
    seen, alike, greys = [], [], []
    for row in looked:
        progress(num, 2 * num)
        image = open_image(dataset.path(row)).convert("L")
        image.thumbnail((WORK_PX, WORK_PX))
        grey = np.asarray(image)
        seen.append(windows(grey))
        if (row.width, row.height) == size and len(alike) < MAX_PICTURES:
            alike.append(row.pixels)
            greys.append(grey)
    carry, place = common_mark(greys)
    shared = shared_marks(seen)
    places = list(dict.fromkeys(filter(None, (place, *shared.values()))))
    marked = dict.fromkeys([*(alike[i] for i in carry), *(looked[i].pixels for i in shared)])
    return {"marked": list(marked), "mark_place": places[0] if len(places) == 1 else SEVERAL if places else ""}


def _compare(workspace: Workspace, dataset: Dataset, progress: Progress, looker: Looker | None) -> Callable[[Chart], dict[str, Any]]:
    """How a chart changes by what is found in comparing all pictures with each other."""
    rows, num = dataset.rows, len(dataset.rows)
    pixels = [row.pixels for row in rows]
    prints = prints_of(workspace, dataset, lambda: progress(num, 2 * num))
    features = _features(workspace, dataset, progress, looker) if looker and num > 1 else None

    def change(chart: Chart) -> dict[str, Any]:
        measures = [chart.measured.get(key) for key in pixels]
        found = all_pairs(pixels, prints, measures, tick=lambda: progress(2 * num, 2 * num))
        on_their_side = lying(pixels, prints, measures)
        if features is None:
            return {"pairs": [*found, *(pair for pair in chart.pairs if pair.kind == "alike")], "lying": on_their_side}
        known = {(pair.first, pair.second) for pair in found}
        seen = feature_pairs(pixels, features, measures)
        alike = [pair for pair in seen if not known & {(pair.first, pair.second), (pair.second, pair.first)}]
        strangers = list(dict.fromkeys(pixels[i] for i in outliers(features)))
        pairs = {"pairs": [*found, *alike], "lying": on_their_side}
        return {**pairs, "strangers": strangers, "compared": looker.kind, "num_compared": num}

    return change


def _features(workspace: Workspace, dataset: Dataset, progress: Progress, looker: Looker) -> np.ndarray:
    """Features of all rows, made a few at a time so that it can be stopped; float32 [N, D]."""
    parts, num = [], len(dataset.rows)
    for start in range(0, num, _FEATURE_BATCH):
        progress(num + start, 2 * num)
        part = dataset.model_copy(update={"rows": dataset.rows[start : start + _FEATURE_BATCH]})
        parts.append(dataset_features(workspace, part, looker.features, looker.kind))
    progress(2 * num, 2 * num)
    return np.concatenate(parts)


def tower_looker() -> Looker:
    """The embedded image tower; StudioError where it is not there."""
    from studio.tower import Tower

    tower = Tower()
    try:
        return Looker(lambda paths: tower.file_features(paths).numpy(), tower.fingerprint)
    except FileNotFoundError:
        raise StudioError("the embedded image tower is missing from this copy: check it with the doctor command") from None
