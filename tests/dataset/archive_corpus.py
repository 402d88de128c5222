"""Zip archives, good and bad, each with what must become of it."""

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.dataset.corpus import encode, photo

ONE, TWO, THREE = (encode(photo(seed), "PNG") for seed in (201, 202, 203))


@dataclass(frozen=True)
class Archive:
    """An archive and its fate: captions by source name of what is taken, and a part of the reason for each that is not."""

    name: str
    data: bytes
    taken: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # by a part of the label


def packed(members: dict[str, bytes] | list[tuple[zipfile.ZipInfo | str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """These members as a zip archive; the same name may come twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that comes twice
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
    return buffer.getvalue()


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    return info


def changed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    array = bytearray(data)
    change(array)
    return bytes(array)


def encrypted(data: bytes) -> bytes:
    """The flag of encryption set on the only member, in both of its headers."""

    def set_flags(array: bytearray) -> None:
        array[6] |= 1
        at = array.index(b"PK\1\2")
        array[at + 8] |= 1

    return changed(data, set_flags)


def lying(data: bytes, size: int) -> bytes:
    """The first member said to be `size` bytes long."""

    def set_size(array: bytearray) -> None:
        at = array.index(b"PK\1\2")
        array[at + 24 : at + 28] = struct.pack("<L", size)

    return changed(data, set_size)


def archives() -> list[Archive]:
    both = {"in/a.png": ONE, "in/a.txt": b"the first", "b.png": TWO, "b.caption": b"the second"}
    table = b'{"file_name": "deep/a.png", "text": "from the table", "split": "test"}\n{"file_name": "gone.png", "text": "x"}\n'
    crc = changed(packed({"a.png": ONE, "b.png": TWO}, zipfile.ZIP_STORED), lambda array: array.__setitem__(array.index(ONE) + 60, 7))
    return [
        Archive("plain.zip", packed(both), {"a.png": "the first", "b.png": "the second"}),
        Archive("comic.cbz", packed({"a.png": ONE}, zipfile.ZIP_STORED), {"a.png": ""}),
        Archive(
            "table.zip", packed({"metadata.jsonl": table, "deep/a.png": ONE}), {"a.png": "from the table"}, {"metadata.jsonl": "gone.png"}
        ),
        Archive(
            "slip.zip",
            packed({"../../evil.png": ONE, "/abs.png": ONE, "C:\\win.png": ONE, "a/../../b.png": ONE, "ok.png": TWO}),
            {"ok.png": ""},
            {"evil.png": "leads out", "abs.png": "leads out", "win.png": "leads out", "/b.png": "leads out"},
        ),
        Archive("windows.zip", packed({"in\\a.png": ONE, "in\\a.txt": b"said"}), {"a.png": "said"}),
        Archive("links.zip", packed([(special("l.png", stat.S_IFLNK), b"/etc/passwd"), ("a.png", ONE)]), {"a.png": ""}, {"l.png": "link"}),
        Archive("pipe.zip", packed([(special("p.png", stat.S_IFIFO), b""), ("a.png", ONE)]), {"a.png": ""}, {"p.png": "not a regular"}),
        Archive("secret.zip", encrypted(packed({"a.png": ONE})), {}, {"a.png": "encrypted"}),
        Archive("rare.zip", packed({"a.png": ONE}, zipfile.ZIP_LZMA), {}, {"a.png": "rare method"}),
        Archive("twice.zip", packed([("a.png", ONE), ("A.PNG", TWO), ("a.png", THREE)]), {"a.png": "", "A.PNG": ""}),
        Archive("nested.zip", packed({"inner.zip": packed({"a.png": ONE}), "b.png": TWO}), {"b.png": ""}, {"inner.zip": "unpack it first"}),
        Archive("junk.zip", packed({"__MACOSX/._a.png": b"x", ".hidden.png": ONE, "a.png": ONE, "read.me": b"hello"}), {"a.png": ""}),
        Archive(
            "mixed.zip", packed({"bad.png": b"text", "cut.png": ONE[:200], "a.png": TWO}), {"a.png": ""}, {"bad.png": "", "cut.png": ""}
        ),
        Archive("crc.zip", crc, {"b.png": ""}, {"a.png": "damaged in the archive"}),
        Archive("lying.zip", lying(packed({"a.png": ONE, "b.png": TWO}), 10), {"b.png": ""}, {"a.png": "damaged in the archive"}),
        Archive("cut.zip", packed(both)[:-40], {}, {"cut.zip": "damaged archive"}),
        Archive("empty.zip", packed({}), {}, {"empty.zip": "holds no picture"}),
        Archive("texts.zip", packed({"a.txt": b"x"}), {}, {"texts.zip": "holds no picture"}),
        Archive("bomb.zip", packed({f"{n}.bmp": bytes(2**24) for n in range(8)}), {}, {"bomb.zip": "times its size"}),
        Archive("huge.zip", lying(packed({"a.png": ONE}), 2**32 - 2), {}, {"huge.zip": "times its size"}),
        Archive(
            "names.zip",
            packed({"日本 ünï/🙂 a.png": ONE, "日本 ünï/🙂 a.txt": b"smile", "b\n<i>.png": TWO}),
            {"🙂 a.png": "smile", "b <i>.png": ""},
        ),
        Archive("long.zip", packed({"x" * 252 + ".png": ONE, "d/" * 40 + "a.png": ONE}), {}, {"xxx": "too long", "a.png": "folders deep"}),
        Archive("really a png.zip", ONE, {"really a png.zip": ""}),
    ]
