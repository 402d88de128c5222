"""Making a folder out of sight and putting it in place at once: it is there whole, or not at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from studio.errors import StudioError, printable
from studio.store import sync_folder

_PREFIX = ".tmp-making-"
_ABANDONED_S = 86400.0  # where folders cannot be locked, one this old is taken for abandoned


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to it when the block ends well and removed when it does not.

    StudioError where `target` exists and is not an empty folder, also when it has come into being meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _make(target.parent)
    try:
        yield folder
        sync_files(folder)
        _place(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent` that is removed when the block ends, or by `clean` where the process was killed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _make(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def clean(parent: Path) -> None:
    """Remove the temporary folders that killed makers left in `parent`; those still being filled are locked and stay."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _lock(folder)
            if lock is not None or time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _make(parent: Path) -> tuple[Path, int | None]:
    """A new locked folder; again where `clean` in another process came between its making and its locking."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            lock = _lock(folder)
            os.chmod(folder, 0o755)
            return folder, lock
        except (BlockingIOError, FileNotFoundError):
            continue


def _lock(folder: Path) -> int | None:
    """An exclusive lock on `folder` that ends with this process; None where there are no locks, OSError where it is held."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def sync_files(folder: Path) -> None:
    """Make the files of `folder` durable before its rename can be."""
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        handle = os.open(path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(folder)


def _place(folder: Path, target: Path) -> None:
    try:
        os.rename(folder, target)
    except OSError:
        if os.path.lexists(target):
            raise StudioError(f"{printable(str(target))} exists already: choose another name") from None
        raise
    sync_folder(target.parent)
