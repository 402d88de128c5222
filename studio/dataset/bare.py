"""Image files without what cameras and programs write beside the pixels: EXIF with places, XMP, comments, previews."""

import re
import struct
from collections.abc import Callable, Iterator

_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"pHYs", b"bKGD"}
_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ICCP", b"ALPH"}
_WEBP_FLAGS = 0x04 | 0x08  # XMP, EXIF
_NEXT_MARKER = re.compile(rb"\xff(?![\x00\xd0-\xd7\xff])")


class Strange(ValueError):
    """The file is not built as its format says: it cannot be taken apart."""


def bare(data: bytes, suffix: str) -> bytes:
    """`data` of a JPEG, PNG or WebP file with pixels, colour profile and size alone; Strange where it cannot be told apart."""
    return _PARTS[suffix](data)


def _png(data: bytes) -> bytes:
    """PNG, RFC 2083: a signature and chunks of length, kind, data and checksum."""
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise Strange("no end")


def _jpeg(data: bytes) -> bytes:
    """JPEG, ITU-T T.81 annex B: markers with segments, and scans up to the next marker."""
    kept = [data[:2]]
    for marker, begin, end in _segments(data):
        content = data[begin + 4 : end]
        is_plain = marker < 0xE0 or 0xF0 <= marker <= 0xFD
        is_profile = marker == 0xE2 and content.startswith(b"ICC_PROFILE\0")
        if is_plain or is_profile or (marker == 0xE0 and content.startswith(b"JFIF\0")) or marker == 0xEE:
            kept.append(data[begin:end])
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, begin, end) of each segment, a scan with its data, up to the end of the picture."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        if marker == 0xD9:
            break
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if marker == 0xDA:
            found = _NEXT_MARKER.search(data, end)
            end = found.start() if found else len(data)
        yield marker, at, end
        at = end
    if data[at : at + 2] != b"\xff\xd9":
        raise Strange("no end")
    yield 0xD9, at, at + 2


def _webp(data: bytes) -> bytes:
    """WebP, RFC 9649: chunks in a RIFF container; VP8X says which there are."""
    kept, at = [], 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])
        end = at + 8 + length + length % 2
        if at + 8 + length > len(data):
            raise Strange("no end")
        chunk = data[at:end]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_FLAGS]) + chunk[9:]
        if kind in _WEBP_KEPT:
            kept.append(chunk)
        at = end
    body = b"WEBP" + b"".join(kept)
    if not kept:
        raise Strange("nothing to keep")
    return b"RIFF" + struct.pack("<I", len(body)) + body


_PARTS: dict[str, Callable[[bytes], bytes]] = {".png": _png, ".jpg": _jpeg, ".webp": _webp}
