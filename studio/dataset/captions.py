"""Caption text: read from a file in whatever encoding, cleaned to one line."""

import codecs
import os
import stat
import unicodedata
from pathlib import Path

MAX_BYTES = 8192  # of one caption in UTF-8; text encoders read a few hundred at most
_READ_BYTES = 4 * MAX_BYTES  # of its file: UTF-16 takes twice the room, and cleaning only shortens
_BINARY = [chr(code) for code in range(32) if chr(code) not in "\t\n\f\r\x1b"]  # hardly any of these is in a text
_FEW_CHARACTERS, _BINARY_SHARE = 64, 0.05
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")  # reorder what is shown


def read_regular(path: Path, max_bytes: int) -> bytes:
    """At most `max_bytes` of a regular file; OSError for pipes, devices and folders, which are never waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        return file.read(max_bytes)


def decode(data: bytes) -> str:
    """Text in UTF-8, UTF-32 (marked), UTF-16 (marked, or told by its zero bytes) or else Latin-1; a cut last character is dropped."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return _decode(data, "utf-32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode(data, "utf-16")
    zeros_even, zeros_odd = data[0:512:2].count(0), data[1:512:2].count(0)
    if max(zeros_even, zeros_odd) > 0.4 * len(data[:512]) / 2:
        return _decode(data, "utf-16-le" if zeros_odd > zeros_even else "utf-16-be")
    try:
        return _decode(data, "utf-8-sig", "strict")
    except UnicodeDecodeError:
        return _decode(data, _western(data))


def _western(data: bytes) -> str:
    return "cp1252" if not set(data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"


def _decode(data: bytes, encoding: str, errors: str = "replace") -> str:
    return codecs.getincrementaldecoder(encoding)(errors).decode(data)


def clean(text: str) -> tuple[str, str]:
    """`text` as a caption on one line of at most MAX_BYTES, and a note about what was cut ("" where nothing was)."""
    kept = text if text.isprintable() else "".join(_clean(c) for c in text)  # nothing printable is left out
    caption = " ".join(kept.split())
    data = caption.encode("utf-8")
    if len(data) <= MAX_BYTES:
        return caption, ""
    return data[:MAX_BYTES].decode("utf-8", "ignore").rstrip(), f"its caption was cut at {MAX_BYTES // 1024} KiB"


def _clean(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cc":
        return " "
    return "" if kind == "Cs" or character in _BIDI else character


def read_caption(path: Path) -> tuple[str, str]:
    """The caption in the file `path` and a note about it; OSError where it cannot be read."""
    data = read_regular(path, _READ_BYTES)
    text = decode(data)
    if len(text) >= _FEW_CHARACTERS and sum(text.count(c) for c in _BINARY) > _BINARY_SHARE * len(text):
        return "", "its caption file holds no text and was left out"
    caption, note = clean(text)
    if len(data) == _READ_BYTES and not note:
        note = f"only the first {_READ_BYTES // 1024} KiB of its caption file were read"
    if not note and not data.isascii() and text == _decode(data, _western(data)):
        note = "its caption file is not in UTF-8 and was read as Western European: look whether it is right"
    return caption, note
