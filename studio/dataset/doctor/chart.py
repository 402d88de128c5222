"""What the doctor knows of a dataset, kept beside it by pixel hash: measures, groups of look-alikes, and what a person said to keep."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from studio.store import write_bytes

CHART = ".doctor.json"
VERSION = 2  # of the measures; raise it where one changes its meaning: kept ones are then made again


class Pair(BaseModel):
    """Two pictures that show the same, by their pixel hashes, and how that was found."""

    first: str
    second: str
    kind: str  # near, turned or alike
    told: str = ""


class Chart(BaseModel):
    """Everything that is known; what belongs to pictures that are gone is kept, since they may come back."""

    measured: dict[str, dict[str, Any]] = {}
    pairs: list[Pair] = []
    lying: dict[str, tuple[int, float]] = {}  # by pixel hash: quarter turns clockwise that set it upright, times nearer to the others then
    marked: list[str] = []  # pixel hashes of pictures that carry one mark at one place
    mark_place: str = ""  # where, in words
    strangers: list[str] = []  # pixel hashes, the strangest first
    damaged: dict[str, str] = {}  # by file: what is wrong with it since it was imported
    kept: dict[str, list[list[str]]] = {}  # by check: sets of pixel hashes that a person said to keep
    compared: str = ""  # which image tower has compared what the pictures show; "" = none yet
    num_compared: int = 0
    checked: float = 0.0  # Unix time of the last whole check; 0 = never

    def is_kept(self, key: str, pixels: Iterable[str]) -> bool:
        """Whether a person said that these pictures, and perhaps more with them, are right as they are."""
        wanted = set(pixels)
        return any(wanted <= set(each) for each in self.kept.get(key, []))


def read_chart(root: Path) -> Chart:
    """The chart of the dataset in `root`; an empty one where there is none, or where it cannot be read: all of it can be found again."""
    try:
        chart = Chart.model_validate_json((root / CHART).read_bytes())
    except (OSError, ValidationError):
        return Chart()
    return chart.model_copy(update={"measured": {key: each for key, each in chart.measured.items() if each.get("version") == VERSION}})


def write_chart(root: Path, chart: Chart) -> None:
    """Keep `chart`. Call it while editing, or before the dataset is in place."""
    write_bytes(root / CHART, chart.model_dump_json().encode("utf-8"))


def with_measures(chart: Chart, measured: Mapping[str, dict[str, Any]]) -> Chart:
    """`chart` with further measures, by pixel hash."""
    return chart.model_copy(update={"measured": {**chart.measured, **measured}})
