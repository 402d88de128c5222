"""What a user is told: one line that says what is wrong, where, and what to do."""

import contextlib
import errno
import re
import traceback


class StudioError(ValueError):
    """A problem the user can act on; its text is shown as it is, without a traceback."""


_DISK = {
    errno.ENOSPC: "the disk is full: free some space, or choose another place with --workspace",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another place with --workspace",
    errno.EROFS: "this place is read-only: choose a writable one with --workspace or --out",
    errno.EACCES: "no permission to use this place: change its permissions, or choose another with --workspace or --out",
    errno.EPERM: "no permission to use this place: change its permissions, or choose another with --workspace or --out",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another place",
    errno.EISDIR: "this is a folder where a file was expected",
    errno.ENAMETOOLONG: "this name is too long for the file system: choose a shorter one",
    errno.ENOENT: "there is nothing here, and nothing can be made here: check the path",
    errno.EEXIST: "a file is in the way where a folder was expected: move it away, or choose another place",
    errno.ELOOP: "this link leads in a circle: choose another place",
    errno.EIO: "the disk reported an error: check the drive",
}


def one_line(error: BaseException) -> str:
    """`error` as one clear line: StudioErrors as they are, disk errors by their cause, the rest by kind and text."""
    if isinstance(error, StudioError):
        text = str(error)
    elif isinstance(error, OSError) and error.errno in _DISK:
        text = f"{place(error.filename)}: {_DISK[error.errno]}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{place(error.filename)}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = "out of memory: use a smaller size, batch or rank"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(printable(text).split())


def place(name: object) -> str:
    """The file or folder of a problem as a person knows it: not what was being made inside it for a moment."""
    path = str(name or "workspace")
    return re.split(r"[/\\]\.tmp-", path, maxsplit=1)[0] or path


def log_traceback() -> None:
    """What went wrong, in full, on stderr: where that is a log on the very disk that is full, what follows happens all the same."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def first_line(error: BaseException) -> str:
    """What a library says first of what went wrong, short enough to stand within a line of ours."""
    return printable((str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__)[:200]


def printable(text: str) -> str:
    """`text` without control characters and lone surrogates, safe for a terminal and a log."""
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
