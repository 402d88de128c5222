"""A dataset as it is kept: a folder of pictures, a caption file beside each, and `dataset.json`, written last."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.dataset.captions import clean, read_caption
from studio.dataset.facts import Facts
from studio.dataset.framing import Edit
from studio.errors import StudioError, printable
from studio.store import Workspace, check_inside, read_json, sha256, slug, write_bytes

INDEX = "dataset.json"
SCHEMA = 1
MASK_SUFFIX = ".mask.png"
MAX_NAME = 120  # characters of a dataset's name
Split = Literal["train", "held_out"]


class Row(BaseModel):
    """One picture of a dataset; `split` is None only while the dataset is being made."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(description="name of the picture in the dataset's folder")
    sha256: str = Field(description="of the stored file's bytes")
    pixels: str = Field(description="SHA-256 of the size and the RGB pixels")
    width: int = Field(gt=0, description="in pixels, as seen")
    height: int = Field(gt=0, description="in pixels, as seen")
    split: Split | None = None
    group: str = Field("", description="pictures of one group are never split; empty = alone")
    source: str = Field("", description="name of the file it was read from, without its folder")
    note: str = Field("", description="what was changed when it was read, in a sentence")
    repeats: int = Field(1, ge=1, le=999, description="how often it is trained on while others are once; from the names of kohya's folders")
    facts: Facts = Field({}, description="what its reader knows of it: modality, plane, bands …; exported only where that is asked for")
    columns: dict[str, str] = Field({}, description="what else metadata.jsonl said of it, and the folder it lay in")
    words: str = Field("", description="of the caption it came with: the first 16 digits of its SHA-256")
    edit: Edit | None = Field(None, description="crop, focal point, turn and mirror; None = trained on as it is")

    @property
    def caption_file(self) -> str:
        """Name of the caption file beside the picture."""
        return files_of(self.file)[1]

    @property
    def framing(self) -> Edit:
        """What was decided about the picture, where nothing was: to take it as it is."""
        return self.edit or Edit()


def digest(caption: str) -> str:
    """What a row keeps of the caption it came with, to tell whether it was edited since."""
    return sha256(caption.encode("utf-8"))[:16]


def changed(row: Row, **values: Any) -> Row:
    """`row` with these values; itself where they are its own: of thousands few change."""
    return row if all(getattr(row, name) == value for name, value in values.items()) else row.model_copy(update=values)


class Skipped(BaseModel):
    """A file that was seen but not taken, and why."""

    model_config = ConfigDict(extra="forbid")

    file: str
    reason: str


class _Index(BaseModel):
    """What `dataset.json` holds."""

    model_config = ConfigDict(extra="forbid")

    schema_number: Literal[1] = Field(alias="schema")
    name: str
    created: str
    background: str
    rows: list[Row]
    skipped: list[Skipped] = []
    about: dict[str, Any] = {}


class Dataset(BaseModel):
    """A dataset in the folder `root`; captions are read from their files each time, never kept."""

    model_config = ConfigDict(extra="forbid")

    root: Path
    name: str
    rows: list[Row]
    created: str = Field("", description="ISO 8601 time, UTC")
    background: str = Field("#ffffff", description="the colour behind transparent parts")
    skipped: list[Skipped] = []
    about: dict[str, Any] = Field({}, description="licence, source, preview prompts and the like")

    @classmethod
    def load(cls, root: Path) -> "Dataset":
        """The dataset in the folder `root`; StudioError where `dataset.json` is missing, damaged or of a newer kind."""
        index = _read_index(root / INDEX)
        check_inside(root, (row.file for row in index.rows))
        return cls(root=root, **{name: getattr(index, name) for name in _Index.model_fields if name != "schema_number"})

    def save(self) -> None:
        """Write `dataset.json` atomically."""
        assert all(row.split for row in self.rows), "every row needs its split"
        head = {"schema": SCHEMA, **self.model_dump(exclude={"root", "rows"})}
        rows = ",\n  ".join(
            json.dumps(row.model_dump(), ensure_ascii=False) for row in self.rows
        )  # one a line; indenting would take 10 times as long
        text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}") + f',\n "rows": [\n  {rows}\n ]\n}}\n'
        write_bytes(self.root / INDEX, text.encode("utf-8", "replace"))

    @property
    def train_rows(self) -> list[Row]:
        """The rows that are trained on."""
        return [row for row in self.rows if row.split == "train"]

    @property
    def held_out_rows(self) -> list[Row]:
        """The rows that are never trained on."""
        return [row for row in self.rows if row.split == "held_out"]

    def path(self, row: Row) -> Path:
        """Where the picture of `row` is."""
        return self.root / row.file

    def mask_path(self, row: Row) -> Path:
        """Where the mask of `row` is, if it has one."""
        return self.path(row).with_suffix(MASK_SUFFIX)

    def caption(self, row: Row) -> str:
        """The caption of `row`, read from its `.txt` now; empty where there is none. StudioError where it cannot be read."""
        path = self._caption_path(row)
        try:
            return read_caption(path)[0]
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StudioError(f"{printable(str(path))} cannot be read: {error.strerror or 'unreadable'}") from None

    def set_caption(self, row: Row, text: str) -> None:
        """Replace the caption of `row`: one line, without control characters, at most 8 KiB."""
        write_bytes(self._caption_path(row), clean(text)[0].encode("utf-8"))

    def _caption_path(self, row: Row) -> Path:
        return self.root / row.caption_file


def _read_index(path: Path) -> _Index:
    """What `dataset.json` holds; StudioError where it is missing, damaged or of a newer kind."""
    with suppress(ValidationError, OSError):  # in one go; what is wrong is told below
        return _Index.model_validate_json(path.read_bytes())
    value = read_json(path)
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise StudioError(f"{path} was written by a newer version of Domain Studio: update to open it")
    try:
        return _Index.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise StudioError(f"{path} is damaged ({where}: {first['msg']}): restore it from a copy, or import again") from None


def files_of(file: str) -> tuple[str, str, str]:
    """The names of a picture, its caption and its mask; the latter two need not be there."""
    stem = file.rpartition(".")[0]
    return file, f"{stem}.txt", f"{stem}{MASK_SUFFIX}"


def list_datasets(workspace: Workspace) -> list[Dataset]:
    """The datasets that can be opened, by folder name; damaged ones are reported by `open_dataset` alone."""
    return list(_readable(workspace))


def find_root(workspace: Workspace, name: str) -> Path:
    """The folder of the dataset with this label or folder name; StudioError where there is none."""
    folder = slug(name)
    root = workspace.datasets / folder
    return root if folder and (root / INDEX).exists() else open_dataset(workspace, name).root


def _readable(workspace: Workspace) -> Iterator[Dataset]:
    for index in sorted(workspace.datasets.glob(f"[!.]*/{INDEX}")):
        try:
            yield Dataset.load(index.parent)
        except StudioError:
            continue


def open_dataset(workspace: Workspace, name: str) -> Dataset:
    """The dataset with this label or folder name; StudioError naming the known ones where there is none."""
    folder = slug(name)
    if folder and (workspace.datasets / folder / INDEX).exists():
        return Dataset.load(workspace.datasets / folder)
    known = list_datasets(workspace)
    for dataset in known:
        if name in {dataset.name, dataset.root.name}:
            return dataset
    names = ", ".join(dataset.name for dataset in known)
    way_out = f"there are {names}" if names else "there are none yet, import pictures or load a demo first"
    raise StudioError(f"no dataset is called {printable(name)!r}: {way_out}")


def label_of(name: str) -> str:
    """`name` on one line, as a dataset may be called; StudioError where it says nothing or is too long."""
    label = " ".join(printable(name).split())
    if not slug(label):
        raise StudioError("a dataset needs a name with at least one letter or digit")
    if len(label) > MAX_NAME:
        raise StudioError(f"the name of a dataset has at most {MAX_NAME} characters, this one {len(label)}")
    return label
