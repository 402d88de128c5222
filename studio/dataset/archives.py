"""Zip archives of pictures: their members are looked over, then read one by one into a folder of ours; nothing is unpacked as a whole."""

import errno
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from studio.dataset.captions import read_regular
from studio.dataset.kinds import HEAD_BYTES, MAX_FILE_BYTES, is_named_like_picture, is_picture, is_scan, suffix_of
from studio.dataset.sources import CAPTION_SUFFIXES, TABLE_SUFFIXES, Found, find
from studio.errors import StudioError, printable
from studio.store import inside, require_free

SUFFIXES = (".zip", ".cbz")
MAX_ARCHIVE_BYTES = 8 * 2**30
MAX_MEMBERS = 40_000  # 20,000 pictures with their captions
MAX_UNPACKED_BYTES = 20 * 2**30
MAX_RATIO, FREE_BYTES = 100, 64 * 2**20  # pictures hardly shrink: what grows a hundredfold beyond a little is a bomb
MAX_DEPTH = 16
MAX_NAME_BYTES = 255  # of one part, as nearly all file systems have it
_MAX_LISTING_BYTES = 8 * 2**20  # of the list of members, which is read whole
_SPARE_BYTES = 256 * 2**20
_PIECE_BYTES = 2**20
_ENCRYPTED = 0x1
_END, _END64_PLACE, _END64 = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_UNPACK = "unpack it yourself and import the folder"
_TOO_LONG = "has a name that is too long: shorten it"
Tick = Callable[[str], None]  # told the name at work; what it raises ends the reading


def is_archive(path: Path) -> bool:
    """Whether the file `path` is called and begins like a zip archive."""
    if suffix_of(path.name) not in SUFFIXES:
        return False
    try:
        return read_regular(path, 4) in (b"PK\3\4", _END)
    except OSError:
        return False


def read_archives(found: Found, folder: Path, tick: Tick) -> None:
    """Put what the zip archives in `found` hold in their place, read into numbered parts of `folder`.

    What cannot be taken is told in `found.skipped`. StudioError where it does not fit on the disk.
    """
    archives = [picture for picture in found.pictures if is_archive(picture.path)]
    for number, archive in enumerate(archives, 1):
        place = folder / f"{number:04d}"
        place.mkdir()
        num_told = len(found.skipped)
        try:
            _read_members(archive.path, place, lambda name, reason, at=archive: found.skip(f"{at.label}/{name}", reason), tick)
        except _Refused as error:
            found.skip(archive.label, str(error))
            found.pictures.remove(archive)
            continue
        inner = find([place])
        at = found.pictures.index(archive)
        found.pictures[at : at + 1] = [replace(each, label=f"{archive.label}/{each.label}") for each in inner.pictures]
        found.tables += [replace(each, label=f"{archive.label}/{each.label}") for each in inner.tables]
        for each in inner.skipped:
            found.skip(f"{archive.label}/{each.file}", each.reason)
        if not inner.pictures and len(found.skipped) == num_told:
            found.skip(archive.label, "holds no picture that can be read")


class _Refused(ValueError):
    """Why an archive is not read at all, as the end of a sentence that begins with its name."""


def _read_members(path: Path, place: Path, skip: Callable[[str, str], None], tick: Tick) -> None:
    """Copy the members of use below `place`; `skip(name, reason)` for each that is left out."""
    _check_listing(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_totals(path, members)
            require_free(place, sum(member.file_size for member in members) + _SPARE_BYTES, f"what {printable(path.name)} holds")
            for member in members:
                name = printable(member.filename)[-200:]
                tick(name)
                reason = _refusal(member) or _copy(archive, member, place)
                if reason:
                    skip(name, reason)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError) as error:
        raise _Refused(f"is a damaged archive ({error}): copy or download it again") from None
    except (NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, StudioError | _Refused):
            raise
        raise _Refused(f"is an archive of an unusual kind ({error}): {_UNPACK}") from None


def _check_listing(path: Path) -> None:
    """Refuse an archive by the size of its list of members before that is read."""
    num_bytes = path.stat().st_size
    if num_bytes > MAX_ARCHIVE_BYTES:
        raise _Refused(f"is larger than {MAX_ARCHIVE_BYTES >> 30} GiB: {_UNPACK}")
    with open(path, "rb") as file:
        file.seek(max(0, num_bytes - 22 - 65535))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < 22:
            raise _Refused("is a damaged archive (its end is missing): copy or download it again")
        (listing,) = struct.unpack("<L", tail[at + 12 : at + 16])
        if at >= 20 and tail[at - 20 : at - 16] == _END64_PLACE:
            file.seek(min(num_bytes, struct.unpack("<Q", tail[at - 12 : at - 4])[0]))
            end = file.read(56)
            listing = struct.unpack("<Q", end[40:48])[0] if len(end) == 56 and end.startswith(_END64) else _MAX_LISTING_BYTES + 1
    if listing > _MAX_LISTING_BYTES:
        raise _Refused(f"lists more than {MAX_MEMBERS:,} files: {_UNPACK}")


def _check_totals(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse too many members and bombs, by the sizes that the archive states; reading stops there as well."""
    if len(members) > MAX_MEMBERS:
        raise _Refused(f"holds {len(members):,} files, more than {MAX_MEMBERS:,}: {_UNPACK}")
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise _Refused(f"unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB: split it")
    if total > FREE_BYTES + MAX_RATIO * path.stat().st_size:
        raise _Refused(f"unpacks to more than {MAX_RATIO} times its size and is not trusted: {_UNPACK}")


def _refusal(member: zipfile.ZipInfo) -> str:
    """Why a member is left out, told by what the archive says of it; "" where it may be read."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if stat.S_ISLNK(kind):
        return "is a link inside the archive, which is not followed"
    if kind and not stat.S_ISREG(kind):
        return "is not a regular file"
    if member.flag_bits & _ENCRYPTED:
        return f"is encrypted: {_UNPACK}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a rare method: pack the archive again as a plain zip"
    if member.file_size > MAX_FILE_BYTES:
        return f"is larger than {MAX_FILE_BYTES >> 20} MiB: export it smaller"
    return _bad_name(member.filename)


def _bad_name(name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if not parts[0] or ".." in parts or re.match(r"[A-Za-z]:", name):
        return "has a name that leads out of the archive"
    if len(parts) > MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep: {_UNPACK}"
    if any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in parts):
        return _TOO_LONG
    return ""


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> str:
    """Read one member into a file of ours; why that was not possible, "" where it was, or where it is of no use."""
    parts = [" ".join(printable(part).split(" ")) for part in re.split(r"[/\\]", member.filename)]
    parts = [part for part in parts if part.strip() and part != "."]
    if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return ""  # as in folders: what is hidden is not looked at
    target, part = None, place / ".part"
    try:
        with archive.open(member) as source, open(part, "wb") as file:
            piece = source.read(_PIECE_BYTES)
            if not _is_of_use(parts[-1], piece[:HEAD_BYTES]):
                return ""
            while piece:
                file.write(piece)
                piece = source.read(_PIECE_BYTES)
        target = _free_path(place, parts)
        part.rename(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
        return f"is damaged in the archive ({error}): pack it again"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _TOO_LONG
    finally:
        part.unlink(missing_ok=True)
    return ""


def _is_of_use(name: str, head: bytes) -> bool:
    return is_named_like_picture(name) or suffix_of(name) in (*CAPTION_SUFFIXES, *TABLE_SUFFIXES) or is_picture(head) or is_scan(head)


def _free_path(place: Path, parts: list[str]) -> Path:
    """The path of these names below `place`, its folders made; below a numbered folder where it is taken already."""
    number, wanted = 1, parts
    while True:
        folder = place
        for part in wanted[:-1]:
            folder = inside(folder, part)
            if folder.is_file():
                break
            folder.mkdir(exist_ok=True)
        else:
            path = inside(folder, wanted[-1])
            if not path.exists():
                return path
        number += 1
        wanted = [f"again-{number}", *parts]
