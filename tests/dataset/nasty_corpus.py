"""Picture files made to hurt, or hurt by accident: bombs, polyglots, cuts at every tenth, lying headers; each with its fate."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.dataset.corpus import Case, _chunk, encode, photo, png, tiff

_BOMB = zlib.compress(bytes(80 * 2**20), 1)
ODD = "unusual kind"


def _picture(seed: int = 3) -> Image.Image:
    return photo(7000 + seed, (80, 60))


def _in_png(chunk: bytes, seed: int) -> bytes:
    data = encode(_picture(seed), "PNG")
    return data[:33] + chunk + data[33:]


def cuts() -> Iterator[Case]:
    """Each kind cut at every tenth: what the first frame needs is there, or it is said to be cut short."""
    moving = {"save_all": True, "append_images": [_picture(40)]}
    kinds = {
        "progressive.jpg": ("JPEG", {"progressive": True}),
        "lossless.webp": ("WEBP", {"lossless": True}),
        "moving.webp": ("WEBP", moving),
        "alpha.png": ("PNG", {}),
        "packed.tif": ("TIFF", {"compression": "tiff_lzw"}),
    }
    for number, (name, (kind, options)) in enumerate(kinds.items()):
        data = encode(_picture(20 + number), kind, **options)
        for tenth in range(1, 10):
            yield Case(f"cut {tenth} {name}", data[: len(data) * tenth // 10], reason="again")


def bombs() -> Iterator[Case]:
    yield Case("ztxt.png", _in_png(_chunk(b"zTXt", b"Comment\0\0" + _BOMB), 1), reason="is damaged")
    yield Case("itxt.png", _in_png(_chunk(b"iTXt", b"Comment\0\1\0\0\0" + _BOMB), 2), reason="is damaged")
    yield Case("iccp.png", _in_png(_chunk(b"iCCP", b"x\0\0" + _BOMB), 3), reason="is damaged")
    yield Case("texts.png", _in_png(_chunk(b"tEXt", b"a\0" + b"x" * 900_000) * 90, 4), reason="is damaged")
    yield Case("largest.png", png(2**31 - 1, 2**31 - 1, 8, 2, b"x"), reason="million pixels")
    bmp = encode(_picture(5), "BMP")
    yield Case("large.bmp", bmp[:18] + struct.pack("<ii", 60000, 60000) + bmp[26:], reason="million pixels")
    yield Case("large.tif", tiff(60000, 60000, 8, 1, b"x"), reason="more of its pictures were not tried")  # it may be a scene
    jpeg = encode(_picture(6), "JPEG")
    size = struct.pack(">HH", 60, 80)
    yield Case("large.jpg", jpeg.replace(b"\x08" + size, b"\x08\xff\xff\xff\xff", 1), reason="million pixels")
    slow = encode(_picture(7), "JPEG", progressive=True)
    yield Case("slow.jpg", slow[:-2] + slow[slow.index(b"\xff\xda") : -2] * 300 + b"\xff\xd9", reason="scans")
    frames = [Image.new("RGB", (32, 32), (number % 256, number // 256, 9)) for number in range(600)]
    yield Case("film.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), note="of its 600 frames")


def lies() -> Iterator[Case]:
    whole = encode(_picture(10), "PNG")
    yield Case("no palette.png", png(32, 32, 8, 3, bytes(1024)), reason="is damaged: export")
    yield Case("depth 3.png", png(32, 32, 3, 0, bytes(1024)), reason=ODD)
    yield Case("colour 5.png", png(32, 32, 8, 5, bytes(3072)), reason=ODD)
    yield Case("no width.png", png(0, 10, 8, 2, b""), reason=ODD)
    yield Case("signature.png", whole[:8], reason=ODD)
    yield Case("checksum.png", whole[:29] + b"\0\0\0\0" + whole[33:], reason=ODD)
    yield Case("as text.png", whole.replace(b"\r\n", b"\n"), reason="not a picture")
    yield Case("marked.png", b"\xef\xbb\xbf" + whole, reason="not a picture")
    yield Case("start.jpg", b"\xff\xd8\xff", reason=ODD)
    yield Case("start and end.jpg", b"\xff\xd8\xff\xd9", reason=ODD)
    jpeg = encode(_picture(11), "JPEG")
    yield Case("no height.jpg", jpeg.replace(b"\x08" + struct.pack(">HH", 60, 80), b"\x08\0\0\0P", 1), reason=ODD)
    yield Case("twelve bits.jpg", jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c", 1), reason=ODD)
    yield Case("riff.webp", b"RIFF\x10\0\0\0WEBPVP8 ", reason="is cut short")
    yield Case("elsewhere.tif", b"II*\0" + struct.pack("<I", 2**31) + bytes(100), reason=ODD)
    yield Case("zero.gif", b"GIF89a\0\0\0\0\x80\0\0" + bytes(20) + b";", reason=ODD)
    yield Case("no item.avif", b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf" + bytes(600), reason=ODD)
    yield Case("infinite.tif", encode(Image.fromarray(np.full((32, 32), np.inf, "f4")), "TIFF"), reason="no finite value")


def foreign() -> Iterator[Case]:
    image = _picture(50)
    kinds = (
        ("wave called.jpg", "JPEG2000", "JPEG 2000"),
        ("icon called.png", "ICO", "icon file"),
        ("paper called.png", "PDF", "a document"),
        ("old called.png", "PPM", "rare format"),
        ("drawing called.jpg", "EPS", "made of shapes"),
        ("block called.png", "DDS", "rare format"),
    )
    for name, kind, reason in kinds:
        yield Case(name, encode(image, kind), reason=reason)
    texts = {
        "page.jpg": b"<html><head><title>404 Not Found</title></head></html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n",
        "address.png": b"data:image/png;base64,iVBORw0KGgo=",
    }
    for name, data in texts.items():
        yield Case(name, data, reason="holds text, not a picture")
    for name, data in {
        "program.png": b"MZ" + bytes(500),
        "pickle.jpg": b"\x80\x04\x95" + bytes(20),
        "base.png": b"SQLite format 3\0" + bytes(99),
    }.items():
        yield Case(name, data, reason="is not a picture")


def whole() -> Iterator[Case]:
    """Odd, but all of their pixels are there."""
    for number, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")):
        data = encode(_picture(60 + number), kind)
        yield Case(f"archive behind {kind}.{kind.lower()}", data + b"PK\3\4" + bytes(40) + b"PK\5\6" + bytes(18))
    yield Case("without end.png", encode(_picture(70), "PNG")[:-12])
    yield Case("junk exif.jpg", encode(_picture(71), "JPEG", exif=b"Exif\0\0" + bytes(range(256)) * 8))
    yield Case("text orientation.jpg", encode(_picture(72), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\x006" + bytes(7)))
    for bits in (1, 2, 4):
        yield Case(f"palette {bits}.png", encode(_picture(73 + bits).quantize(2**bits), "PNG", bits=bits))
    yield Case("beyond palette.png", png(32, 32, 8, 3, bytes([200]) * 1024, _chunk(b"PLTE", b"\xff\0\0")))
    cmyk = encode(_picture(80).convert("CMYK"), "JPEG")
    yield Case("ycck.jpg", cmyk.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"), note="CMYK")
    yield Case(
        "deep alpha.png",
        png(32, 32, 16, 6, np.random.default_rng(0).integers(0, 65535, (32, 32, 4)).astype(">u2").tobytes()),
        note="laid on",
    )
    yield Case("extremes.tif", encode(Image.fromarray(np.array([[-3.4e38, 3.4e38] * 16] * 32, "f4")), "TIFF"), note="scaled from")
    yield Case("large offsets.tif", encode(_picture(81), "TIFF", big_tiff=True))
    yield Case("fax.tif", encode(_picture(82).convert("1"), "TIFF", compression="group4"))


def nasty() -> list[Case]:
    return [case for family in (cuts, bombs, lies, foreign, whole) for case in family()]
