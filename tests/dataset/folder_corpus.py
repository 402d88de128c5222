"""Folders as they come from cameras, other tools and other systems: names, links, captions and tables, each with what must become of it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.dataset.corpus import encode, photo

_RLO = "\u202e"


@dataclass(frozen=True)
class Entry:
    """Something in a folder and its fate.

    `make` is bytes to write, or what makes it at a path; `caption` is what its picture ends with, None where it is no picture;
    `reason` a part of why it is left out; `is_plain` where an archive and a page can carry it too.
    """

    name: str | bytes
    make: bytes | Callable[[str], None]
    caption: str | None = None
    reason: str = ""

    @property
    def is_plain(self) -> bool:
        return isinstance(self.make, bytes) and isinstance(self.name, str)


class Numbers:
    """Pictures, each other than all before."""

    def __init__(self) -> None:
        self._seed = 1000

    def __call__(self) -> bytes:
        self._seed += 1
        return encode(photo(self._seed, (48, 32)), "PNG")


picture = Numbers()


def names() -> Iterator[Entry]:
    for name in (
        "two words.png", "ünï ✓ 東京 🙂.png", f"turned {_RLO}gnp.exe.png", "-rf.png", "--help.png", "$(id);'x\".png",
        "<img src=x onerror=1>.png", "new\nline.png", "tab\there.png", "CON.png", "dots...png", " leading.png", "trailing .png",
        "100%.png", "#1?.png", "{name}.png", "n" * 251 + ".png", "UPPER.PNG", "no suffix", "really.a.png.jpg",
    ):  # fmt: skip
        yield Entry(name, picture(), "")
    yield Entry(b"not \xff utf-8.png", picture(), "")
    yield Entry("caf\u00e9.png", picture(), "composed")
    yield Entry("cafe\u0301.txt", b"composed")  # as macOS writes the same name
    yield Entry("Twin.png", picture(), "")
    yield Entry("twin.png", picture(), "")
    yield Entry(".hidden.png", picture())
    yield Entry("Thumbs.db", b"\xd0\xcf\x11\xe0")
    yield Entry("__MACOSX/._a.png", b"\0\5\x16\7")


def hole(path: str) -> None:
    """A file that says to be larger than any disk."""
    with open(path, "wb") as file:
        file.truncate(2**42)


def links() -> Iterator[Entry]:
    yield Entry("good.png", picture(), "")
    yield Entry("nowhere.png", lambda path: os.symlink("gone.png", path), reason="leads nowhere")
    yield Entry("itself.png", lambda path: os.symlink("itself.png", path), reason="leads nowhere")
    yield Entry("up", lambda path: os.symlink("..", path), reason="a folder above")
    yield Entry("root.png", lambda path: os.symlink("/", path), reason="a folder above")
    yield Entry("hole.png", hole, reason="larger than 512 MiB")
    yield Entry("here", lambda path: os.symlink(".", path))
    yield Entry("secret.png", lambda path: os.symlink("/etc/passwd", path), reason="holds text")
    yield Entry("pipe.png", os.mkfifo, reason="not a regular file")
    yield Entry("device.png", lambda path: os.symlink("/dev/zero", path), reason="not a regular file")
    yield Entry("folder.png", os.mkdir, reason="is a folder")
    yield Entry("locked", lambda path: os.mkdir(path, 0o000))


def captions() -> Iterator[Entry]:
    for name, data, caption in (
        ("plain", b"a plain one", "a plain one"),
        ("mark", b"\xef\xbb\xbfwith a mark", "with a mark"),
        ("utf16", "sixteen bits ü".encode("utf-16"), "sixteen bits ü"),
        ("utf32", "many bits ü".encode("utf-32"), "many bits ü"),
        ("latin", "grün".encode("latin-1"), "grün"),
        ("binary", picture(), ""),
        ("lines", b"one\r\ntwo\n\nthree\t ", "one two three"),
        ("control", b"a\x07\x1b[31m\x00b", "a [31m b"),
        ("turned", f"x {_RLO}y".encode(), "x y"),
        ("empty", b"", ""),
        ("markup", b"<script>alert(1)</script> ${x} {{y}}", "<script>alert(1)</script> ${x} {{y}}"),
        ("long", b"word " * 9000, ("word " * 9000)[:8192].rstrip()),
    ):
        yield Entry(f"{name}.png", picture(), caption)
        yield Entry(f"{name}.txt", data)
    yield Entry("both.png", picture(), "from txt")
    yield Entry("both.txt", b"from txt")
    yield Entry("both.caption", b"from caption")
    yield Entry("other.png", picture(), "from caption")
    yield Entry("other.caption", b"from caption")
    yield Entry("capital.png", picture(), "capital")
    yield Entry("capital.TXT", b"capital")
    yield Entry("lonely.txt", b"no picture has this name", reason="belongs to no picture")
    yield Entry("README.txt", b"about these pictures")
    yield Entry("whole.png", picture(), "by its whole name")
    yield Entry("whole.png.txt", b"by its whole name")
    yield Entry("piped.png", picture(), "")
    yield Entry("piped.txt", os.mkfifo)
    yield Entry("foldered.png", picture(), "")
    yield Entry("foldered.txt", os.mkdir)


def tables() -> Iterator[Entry]:
    lines = (
        '{"file_name": "a.png", "text": "from the table", "split": "test"}',
        '{"file_name": "a.png", "text": "again"}',
        '{"file_name": "sub/b.png", "caption": "by another name"}',
        '{"file_name": "c.png", "text": 7}',
        '{"file_name": "../../../etc/passwd", "text": "outside"}',
        "not JSON",
        "[]",
        '"a string"',
        '{"text": "no name"}',
        "{" * 5000,
    )
    yield Entry("metadata.jsonl", "\n".join(lines).encode(), reason="")
    yield Entry("a.png", picture(), "from the table")
    yield Entry("sheet/metadata.csv", b'file_name;text\nf.png;half, and half\ng.png;"never closed\n', reason="within quotes")
    yield Entry("sheet/f.png", picture(), "half, and half")
    yield Entry("sheet/g.png", picture(), "never closed")
    yield Entry("useless/metadata.csv", b"\0\0\0,\n" * 20, reason="no line that can be used")
    yield Entry("upper/METADATA.CSV", b"file_name,text\nu.png,+1+cmd|' /C calc'!A0\nv.png,-5 degrees\n", reason="a formula")
    yield Entry("upper/u.png", picture(), "")
    yield Entry("upper/v.png", picture(), "-5 degrees")
    yield Entry("other/captions.jsonl", b'{"file_name": "w.png", "text": "unseen"}', reason="rename it")
    yield Entry("other/w.png", picture(), "")
    yield Entry("findings/metadata.csv", b"image,report\nr.png,a nodule\n")
    yield Entry("findings/reports.csv", b'"Image";"Report"\nr.png;unseen\n', reason="rename it")
    yield Entry("findings/costs.csv", b"image,costs\nr.png,7\n")
    yield Entry("findings/r.png", picture(), "a nodule")
    yield Entry("two/metadata.csv", b"file_name,text\nt.png,the first\n")
    yield Entry("two/metadata.jsonl", b'{"file_name": "t.png", "text": "the second"}', reason="as another table does")
    yield Entry("two/t.png", picture(), "the first")
    yield Entry("sub/b.png", picture(), "by another name")
    yield Entry("c.png", picture(), "")
    yield Entry("10_dog/d.png", picture(), "beside it")
    yield Entry("10_dog/d.txt", b"beside it")
    yield Entry("/".join(["deep"] * 12) + "/e.png", picture(), "")


def doubled() -> Iterator[Entry]:
    mask = encode(Image.new("L", (48, 32), 200), "PNG")
    yield Entry("a.png", picture(), "")
    yield Entry("a.mask.png", mask)
    yield Entry("a_mask.png", mask, reason="a further mask of")
    yield Entry("alone_mask.png", picture(), "")


FOLDERS: dict[str, Callable[[], Iterator[Entry]]] = {
    "names": names,
    "links": links,
    "captions": captions,
    "tables": tables,
    "doubled": doubled,
}


def write(entries: list[Entry], folder: Path) -> None:
    """Make all entries below `folder`."""
    root = os.fsencode(folder)
    for entry in entries:
        path = os.path.join(root, os.fsencode(entry.name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(entry.make, bytes):
            with open(path, "wb") as file:
                file.write(entry.make)
        else:
            entry.make(os.fsdecode(path))


def loosen(folder: Path) -> None:
    """Let the test's folder be removed again."""
    for path in folder.rglob("locked"):
        path.chmod(0o755)
