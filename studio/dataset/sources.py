"""Finding the files of an import: pictures in natural order, caption files, `metadata.jsonl`; nothing is decoded."""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studio.dataset.captions import decode, read_regular
from studio.dataset.kinds import HEAD_BYTES, is_named_like_picture, is_picture, is_scan, suffix_of
from studio.dataset.readers.base import Shot
from studio.dataset.rows import Skipped
from studio.errors import printable

CAPTION_SUFFIXES = (".txt", ".caption")
TABLE = "metadata.jsonl"
TABLES = (TABLE, "metadata.csv")
TABLE_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")
NAMES = ("file_name", "filename", "file", "image", "path")  # columns of a table that name the picture, the first that is there
TEXTS = ("text", "caption", "captions", "prompt", "description", "report", "findings")  # and its caption, the first that says something


@dataclass(frozen=True)
class Picture:
    """A file that may be a picture; `label` is its path below what was given, fit to be shown."""

    path: Path
    label: str
    was_given: bool = False  # named by the user, not found in a folder
    shot: Shot | None = None  # which picture of a scan or scene; None where the file is the picture


@dataclass
class Found:
    """What an import has to look at."""

    pictures: list[Picture] = field(default_factory=list)
    given_captions: dict[str, Path] = field(default_factory=dict)  # by stem
    tables: list[Picture] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seen: set[tuple[int, int] | str] = field(default_factory=set)  # folders by device and inode, files by path

    def skip(self, label: str, reason: str) -> None:
        """Note a file that is not taken, and why."""
        self.skipped.append(Skipped(file=printable(label), reason=reason))


def find(sources: Sequence[Path]) -> Found:
    """All pictures and captions in `sources` (files, or folders read to the bottom), in natural order."""
    found = Found()
    for source in sources:
        path = Path(os.path.abspath(os.path.expanduser(source)))
        label = path.name or str(path)
        mode = _mode(path, label, found)
        if mode is None:
            continue
        if stat.S_ISDIR(mode):
            _walk(path, "", found)
        elif not stat.S_ISREG(mode):
            found.skip(label, "is not a regular file")
        elif _is_new(str(path), found):
            _take_given(path, label, found)
    return found


def natural_key(name: str) -> tuple:
    """A sort key under which picture-2 comes before picture-10, whatever the case of letters."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], name


def _mode(path: Path, label: str, found: Found) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        found.skip(label, "is a link that leads nowhere" if os.path.islink(path) else "does not exist: check the path")
    except OSError as error:
        is_loop = os.path.islink(path)
        found.skip(label, "is a link that leads nowhere" if is_loop else f"cannot be opened ({error.strerror or 'unreadable'})")
    return None


def _is_new(mark: tuple[int, int] | str, found: Found) -> bool:
    is_new = mark not in found.seen
    found.seen.add(mark)
    return is_new


def _take_given(path: Path, label: str, found: Found) -> None:
    if suffix_of(path.name) in CAPTION_SUFFIXES:
        found.given_captions.setdefault(path.stem, path)
    elif suffix_of(path.name) in {".jsonl", ".csv"}:
        found.tables.append(Picture(path, printable(label), was_given=True))
    else:
        found.pictures.append(Picture(path, printable(label), was_given=True))


def _walk(folder: Path, prefix: str, found: Found) -> None:
    """Collect from `folder` and below, each real folder once; an explicit stack, since folders nest deeper than calls."""
    stack, top = [(folder, prefix)], os.path.realpath(folder)
    while stack:
        folder, prefix = stack.pop()
        if prefix and os.path.islink(folder) and _is_above(os.path.realpath(folder), top):
            found.skip(prefix, "is a link to a folder above, which is not followed")
            continue
        try:
            status = os.stat(folder)
            if not _is_new((status.st_dev, status.st_ino), found):
                continue
            names = sorted(os.listdir(folder), key=natural_key)
        except OSError as error:
            found.skip(prefix or folder.name, f"this folder cannot be read ({error.strerror or 'unreadable'})")
            continue
        folders = [(folder / name, f"{prefix}{name}/") for name in names if _take_found(folder / name, prefix + name, found)]
        stack.extend(reversed(folders))


def _is_above(folder: str, top: str) -> bool:
    return folder != top and os.path.commonpath([folder, top]) == folder


def _take_found(path: Path, label: str, found: Found) -> bool:
    """Take `path` if it is a file of use; True where it is a folder, still to be read."""
    name = path.name
    if name.startswith(".") or name == "__MACOSX":
        return False
    promises = is_named_like_picture(name)
    mode = _mode(path, label, found) if promises else _quiet_mode(path, label, found)
    if mode is None:
        return False
    if stat.S_ISDIR(mode):
        if promises:
            found.skip(label, "is a folder, not a picture: what is inside was read as a folder")
        return True
    if not stat.S_ISREG(mode):
        if promises:
            found.skip(label, "is not a regular file")
    elif name.casefold() in TABLES:
        found.tables.append(Picture(path, printable(label)))
    elif _is_table(path):
        found.skip(label, f"names pictures, but is not called {TABLE} or {TABLES[1]}: rename it")
    elif (promises or _holds_picture(path)) and _is_new(str(path), found):
        found.pictures.append(Picture(path, printable(label)))
    return False


def _quiet_mode(path: Path, label: str, found: Found) -> int | None:
    """What a file is whose name promises nothing: links that lead nowhere are not worth a word, folders that cannot be reached are."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if not os.path.islink(path) and not isinstance(error, FileNotFoundError):
            found.skip(label, f"cannot be opened ({error.strerror or 'unreadable'})")
        return None


def _is_table(path: Path) -> bool:
    """Whether a table of pictures is called otherwise than it is looked for."""
    if suffix_of(path.name) not in TABLE_SUFFIXES:
        return False
    try:
        head = decode(read_regular(path, HEAD_BYTES))
    except OSError:
        return False
    columns = {cell.strip(" \"'\r").casefold() for cell in re.split(r"[,;\t]", head.partition("\n")[0])}
    return "file_name" in head or not (columns.isdisjoint(NAMES) or columns.isdisjoint(TEXTS))


def _holds_picture(path: Path) -> bool:
    if suffix_of(path.name) in (*CAPTION_SUFFIXES, ".json", ".jsonl"):
        return False
    try:
        head = read_regular(path, HEAD_BYTES)
        return is_picture(head) or is_scan(head)
    except OSError:
        return False
