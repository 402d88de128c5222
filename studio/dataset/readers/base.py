"""What a reader of scans or scenes is to the rest of the studio: a module with these names, found by name in the registry.

`survey` and `read` run in the decoding process and may import the reader's extra; the rest runs anywhere, without it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ValidationError, field_validator

from studio.dataset.facts import Facts
from studio.errors import StudioError
from studio.settings import Settings, explain, setting

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOWS = {  # centre and width in Hounsfield units, as customary in radiology
    "lung": (-600.0, 1500.0), "bone": (400.0, 1800.0), "brain": (40.0, 80.0), "soft tissue": (40.0, 400.0),
    "mediastinum": (50.0, 350.0), "liver": (60.0, 160.0), "stroke": (40.0, 40.0),
}  # fmt: skip
_PAIR = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")
_OWN = re.compile(r"own(?: +(\d{1,2}|[a-z][a-z ]{0,30}))?")


class Choices(Settings):
    """What is taken out of scans and scenes, and how it is shown."""

    series: str = setting(
        "", "Series", "Which of those found, by number, such as 1,3; empty = all, none takes none", advanced=False, max_length=100_000
    )
    window: str = setting(
        "",
        "Window",
        f"auto (the file's own, else percentiles), own 2 or own bone (another of the file's), full, percentiles, {', '.join(WINDOWS)}, "
        "or centre/width such as 40/400",
        max_length=40,
        examples=["auto", "full", "percentiles", *WINDOWS],  # proposed while one types
    )
    every: int = setting(1, "Every n-th slice", "1 takes every slice or frame", ge=1, le=1000)
    plane: Literal["", "axial", "coronal", "sagittal"] = setting("", "Plane", "Which way slices lie; empty = as they were taken")
    volumes: str = setting("", "Volumes", "Of a file that holds several, such as 1,3 or 2-5, or all; empty = the first", max_length=2000)
    skip_empty: bool = setting(True, "Skip empty", "Leave out slices and tiles that show next to nothing")
    bands: str = setting("", "Bands", "Three bands (or one) by number or name, such as 4,3,2; empty = automatic", max_length=200)
    stretch: Literal["auto", "joint", "each", "none"] = setting(
        "auto",
        "Stretch",
        "joint keeps colours, each stretches every band, none shows values; auto is none for 8 bits, else joint",
    )
    low: float = setting(2.0, "Black at", "Percentile that becomes black", unit="%", ge=0, lt=100, allow_inf_nan=False)
    high: float = setting(98.0, "White at", "Percentile that becomes white", unit="%", gt=0, le=100, allow_inf_nan=False)
    tile: int = setting(512, "Tile", "Side of the tiles that a scene is cut into", unit="px", ge=32, le=4096)
    overlap: float = setting(0.0, "Overlap", "Share of a tile that the next one repeats", ge=0, le=0.9, allow_inf_nan=False)
    ground: float = setting(
        0.0,
        "Pixel on the ground",
        "Size to which scenes are resampled; 0 = that of the finest band chosen",
        unit="m",
        ge=0,
        le=10_000,
        allow_inf_nan=False,
    )
    empty: float = setting(0.5, "Empty above", "Share without data above which a tile is left out", ge=0, le=1, allow_inf_nan=False)
    max_tiles: int = setting(1000, "Tiles at most", "Of one scene, spread evenly over it", ge=1, le=100_000)
    place: bool = setting(False, "Say the place", "Captions may hold latitude and longitude, rounded to a tenth of a degree", personal=True)
    blocks: bool = setting(
        False, "Hold out a block", "Where all is of one patient or scene, a block of it is held out; without this, nothing is"
    )
    caption: str = setting("", "Caption", "A template such as {modality}[ of {body_part}]; empty = the format's own", max_length=2000)

    @field_validator("window")
    @classmethod
    def _known_window(cls, text: str) -> str:
        text = text.strip().casefold()
        if text not in {"", "auto", "full", "percentiles", *WINDOWS} and not _PAIR.fullmatch(text) and own_window(text) is None:
            raise StudioError(f"must be auto, full, percentiles, {', '.join(WINDOWS)}, own 2 (of the file), or centre/width such as 40/400")
        return text


def parse_choices(values: dict[str, Any]) -> Choices:
    """The choices in `values`; StudioError naming the first that is wrong."""
    try:
        choices = Choices.model_validate(values)
    except ValidationError as error:
        raise StudioError(explain(error)) from None
    if choices.blocks and choices.overlap:
        raise StudioError("overlap: tiles held out must not repeat those trained on: set it to 0, or leave blocks off")
    if choices.low >= choices.high:
        raise StudioError(f"low: black at {choices.low:g} % must lie below white at {choices.high:g} %")
    return choices


def window_range(text: str) -> tuple[float, float] | None:
    """The values that become black and white in a window by name or as centre/width; None for auto and full."""
    pair = _PAIR.fullmatch(text)
    centre, width = (float(pair[1]), float(pair[2])) if pair else WINDOWS.get(text, (0.0, 0.0))
    return (centre - width / 2, centre + width / 2) if width else None


def own_window(text: str) -> str | None:
    """Which of a file's own windows is asked for: its number or name, "" for the first; None where none of them is."""
    found = _OWN.fullmatch(text)
    return (found[1] or "") if found else None


def grey_choice(choices: Choices) -> list[float | str] | None:
    """How an ordinary picture of deep grey is shown: ["range" | "percentiles", low, high]; None for its whole range."""
    ends = window_range(choices.window)
    if choices.window == "percentiles":
        return ["percentiles", choices.low / 2, 100 - (100 - choices.high) / 2]
    return ["range", *ends] if ends else None


@dataclass(frozen=True)
class Shot:
    """One picture to be taken out of a file: `name` says which in neutral words, `ask` is what `read` is told.

    `template` makes the caption where none came with the file; `group` names what must stay on one side of the split.
    """

    reader: str
    name: str
    ask: dict[str, Any]
    facts: Facts = field(default_factory=dict)
    template: str = ""
    group: str = ""
    set_title: str = ""
    limit: int = 0  # of the pictures of its set; 0 = none
    split: str | None = None
    subject: str = ""  # the hash of what it is of


@dataclass
class Set:
    """Files that belong together: a series, a volume, a scene. `heads` are what `survey` said of `files`, in order."""

    reader: str
    title: str
    about: str  # what is there, in a few words
    files: list[Any]
    heads: list[dict[str, Any]]
    subject: str  # a salted hash of its patient, or of the file itself
    num: int  # pictures before choices
    choices: tuple[str, ...]  # the names of those that matter here
    bands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    number: int = 0  # among all sets of an import, from 1
    aside: str = ""  # why it is taken only where its number is asked for
    left: list[tuple[Any, str]] = field(default_factory=list)  # files that are not taken, each with the reason


@dataclass(frozen=True)
class Take:
    """One picture that a reader plans: of which file, what to ask `read`, which part of ten of its set it lies in."""

    file: Any
    name: str
    ask: dict[str, Any]
    facts: Facts
    block: int = 0
    split: str | None = None  # where the file decides it


@dataclass
class Scan:
    """A picture out of a scan or scene, 8-bit grey or RGB; `is_empty` where it shows next to nothing.

    `ranges` are the values that become black and white, per band, where `read` was asked to measure them.
    """

    image: "Image | None" = None
    notes: list[str] = field(default_factory=list)
    is_empty: bool = False
    ranges: list[list[float]] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)  # that only the picture itself tells
    caption: str = ""  # that came with it, to be used instead of a template
    columns: dict[str, Any] = field(default_factory=dict)  # what else a table says in its row
    mask: bytes = b""  # of the picture, an image file


class Reader(Protocol):
    """One file per format."""

    TITLE: str  # what such a file is, for a refusal: "a DICOM file"
    EXTRA: str  # that must be installed, see studio.extras
    CAPTION: str  # the template of its captions
    FIELDS: frozenset[str]  # that its facts may have
    LIMIT: str  # the choice that bounds the pictures of a set, or ""
    SUBJECT: str  # the letter that names what it is of: p for patients, s for scenes, "" where pictures are on their own

    def recognise(self, name: str, head: bytes) -> bool: ...  # by name and first bytes, quickly; may be wrong

    def survey(self, path: Path, salt: str) -> dict[str, Any] | None: ...

    # decoding process: what a file holds, in JSON; None where it is another kind after all. Identities only as salted hashes

    def gather(self, surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]: ...  # (file, what survey said of it)

    def measured(self, found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]: ...  # (file, ask): what to measure first

    def plan(self, found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]: ...  # ranges: of each measured

    def read(self, path: Path, ask: dict[str, Any]) -> Scan: ...  # decoding process; Unreadable with the reason
