"""Picture files of every kind, good and bad, each with what must become of it."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
CORNERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right
T = Image.Transpose
# What a camera does to the upright picture before it writes this EXIF orientation.
TURNED = dict(
    zip(
        range(2, 9), (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270), strict=True
    )
)
RAMP = np.linspace(0, 255, 256)


@dataclass(frozen=True)
class Case:
    """A file and its fate: `corners` or `row` is what must be seen, `reason` why it must be skipped."""

    name: str
    data: bytes
    corners: tuple | None = None
    row: np.ndarray | None = None  # grey levels along the first row
    tolerance: float = 1.0
    note: str = ""
    is_copied: bool = False
    reason: str = ""


def quad(width: int = 48, height: int = 32) -> Image.Image:
    """Four quadrants of different colours: every turn and mirror image is told apart."""
    image = Image.new("RGB", (width, height))
    for i, colour in enumerate(CORNERS):
        image.paste(colour, (i % 2 * width // 2, i // 2 * height // 2, width, height))
    return image


def photo(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth random picture with some grain."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.clip(np.asarray(coarse, int) + random.integers(-6, 7, (size[1], size[0], 3)), 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow does not write; `rows` without filter bytes."""
    stride = len(rows) // height if height else 0
    lines = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height)) if stride else rows
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(lines, 1)) + _chunk(b"IEND", b"")


def tiff(width: int, height: int, bits: int, photometric: int, data: bytes, order: str = "<") -> bytes:
    """A one-strip uncompressed TIFF with one sample per pixel, written by hand."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0"


def profile(colorants: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """A minimal ICC profile: RGB with three colorants (D50 XYZ), or grey with none."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    names = ("r", "g", "b") if colorants else ("k",)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + number(0.9642) + number(1.0) + number(0.8249)}
    for name, xyz in zip(names, colorants or ((),), strict=True):
        tags[f"{name}TRC".encode()] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
        if xyz:
            tags[f"{name}XYZ".encode()] = b"XYZ \0\0\0\0" + b"".join(number(value) for value in xyz)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79
    tags |= {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    space = b"RGB " if colorants else b"GRAY"
    head = struct.pack(">I", start + len(body)) + b"lcms" + b"\x02\x40\0\0" + b"mntr" + space + b"XYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + number(0.9642) + number(1.0) + number(0.8249)
    return head.ljust(128, b"\0") + table + body


SRGB_D50 = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
SWAPPED = profile(SRGB_D50[::-1], 2.2)  # its "red" is blue
GREY_18 = profile((), 1.8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_ramp(dtype: str, top: float, low: float = 0.0) -> np.ndarray:
    return np.tile(np.linspace(low, top, 256), (32, 1)).astype(dtype)


def oriented() -> Iterator[Case]:
    for number in range(1, 10):
        image = quad().transpose(TURNED[number]) if number in TURNED else quad()
        exif = Image.Exif()
        exif[274] = number
        jpeg = encode(image, "JPEG", exif=exif, quality=95, subsampling=0)
        note = "upright" if number in TURNED else ""
        yield Case(f"exif {number}.jpg", jpeg, CORNERS, tolerance=12, note=note, is_copied=not note)
        if number in (6, 7):
            yield Case(f"exif {number}.png", encode(image, "PNG", exif=exif), CORNERS, note="upright")
            yield Case(f"exif {number}.webp", encode(image, "WEBP", exif=exif, lossless=True), CORNERS, note="upright")
            yield Case(f"exif {number}.tif", encode(image, "TIFF", exif=exif), CORNERS)


def deep() -> Iterator[Case]:
    shorts = grey_ramp(">u2", 65535)
    yield Case("grey16.png", encode(Image.fromarray(shorts.astype("<u2")), "PNG"), row=RAMP, note="0-65535")
    yield Case("grey16 big.tif", tiff(256, 32, 16, 1, shorts.tobytes(), ">"), row=RAMP)
    yield Case("grey16 inverted.tif", tiff(256, 32, 16, 0, shorts.astype("<u2").tobytes()), row=RAMP[::-1])
    yield Case("grey12 in 16.png", encode(Image.fromarray(grey_ramp("<u2", 4095)), "PNG"), row=RAMP, note="0-4095")
    twelve = grey_ramp("u2", 4095)
    pairs = np.stack([twelve[:, 0::2] >> 4, (twelve[:, 0::2] & 15) << 4 | twelve[:, 1::2] >> 8, twelve[:, 1::2] & 255], -1)
    yield Case("grey12.tif", tiff(256, 32, 12, 1, pairs.astype("u1").tobytes()), row=RAMP, note="0-4095")
    yield Case("rgb16.png", png(256, 32, 16, 2, np.repeat(shorts, 3, axis=1).tobytes()), row=RAMP, note="16 bits")
    clear = np.where(np.arange(256) == 0, 255, RAMP)
    yield Case("grey16 clear.png", png(256, 32, 16, 0, shorts.tobytes(), _chunk(b"tRNS", b"\0\0")), row=clear)
    yield Case("rgb16 clear.png", png(256, 32, 16, 2, np.repeat(shorts, 3, axis=1).tobytes(), _chunk(b"tRNS", b"\0" * 6)), row=clear)
    yield Case("int32.tif", encode(Image.fromarray(grey_ramp("i4", 100000, -7)), "TIFF"), row=RAMP, note="scaled from -7")
    yield Case("float.tif", encode(Image.fromarray(grey_ramp("f4", 3, -1)), "TIFF"), row=RAMP, note="from -1 to 3")
    yield Case("flat float.tif", encode(Image.fromarray(np.full((32, 32), 0.5, "f4")), "TIFF"), row=np.zeros(32))
    holes = grey_ramp("f4", 1)
    holes[:, 255] = np.nan
    holes[:, 254] = np.inf
    expected = np.where(np.arange(256) > 253, 0, RAMP * 255 / 253)
    yield Case("float with holes.tif", encode(Image.fromarray(holes), "TIFF"), row=expected)
    yield Case("nan.tif", encode(Image.fromarray(np.full((32, 32), np.nan, "f4")), "TIFF"), reason="no finite value")


def layered() -> Iterator[Case]:
    white_below = (RED, GREEN, (255,) * 3, (255,) * 3)
    rgba = quad().convert("RGBA")
    noise = np.random.default_rng(1).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    rgba.paste(Image.fromarray(noise), (0, 16))
    rgba.putalpha(Image.fromarray(np.repeat(np.array([255, 0], np.uint8), 16)[:, None].repeat(48, 1)))
    yield Case("noise under alpha.png", encode(rgba, "PNG"), white_below, note="laid on #ffffff")
    yield Case("noise under alpha.webp", encode(rgba, "WEBP", lossless=True, exact=True), white_below)
    yield Case("noise under alpha.tif", encode(rgba, "TIFF"), white_below)
    yield Case("noise under alpha.avif", encode(rgba, "AVIF", quality=95, subsampling="4:4:4"), white_below, tolerance=25)
    yield Case("opaque alpha.png", encode(quad().convert("RGBA"), "PNG"), CORNERS)
    half = Image.new("LA", (32, 32), (0, 128))
    yield Case("half grey.png", encode(half, "PNG"), row=np.full(32, 127))
    palette = quad().quantize(4)
    yield Case("palette.png", encode(palette, "PNG"), CORNERS)
    blue = palette.getpixel((0, 31))
    yield Case("palette clear.png", encode(palette, "PNG", transparency=blue), (RED, GREEN, (255,) * 3, YELLOW))
    yield Case("palette clear.gif", encode(palette, "GIF", transparency=blue), (RED, GREEN, (255,) * 3, YELLOW))
    yield Case("clear colour.png", encode(quad(), "PNG", transparency=BLUE), (RED, GREEN, (255,) * 3, YELLOW))
    bits = Image.fromarray(np.tile(np.arange(32) > 15, (32, 1)))
    yield Case("bits.png", encode(bits, "PNG"), row=np.repeat([0, 255], 16))
    yield Case("bits.tif", encode(bits, "TIFF"), row=np.repeat([0, 255], 16))
    yield Case("grey.png", encode(Image.fromarray(grey_ramp("u1", 255)), "PNG"), row=RAMP, is_copied=True)


def coloured() -> Iterator[Case]:
    yield Case("cmyk.jpg", encode(quad().convert("CMYK"), "JPEG", quality=95, subsampling=0), CORNERS, tolerance=12, note="CMYK")
    yield Case("cmyk.tif", encode(quad().convert("CMYK"), "TIFF"), CORNERS)
    lab = ImageCms.profileToProfile(quad(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    yield Case("lab.tif", encode(lab, "TIFF"), CORNERS, tolerance=24)
    yield Case("srgb.png", encode(quad(), "PNG", icc_profile=SRGB), CORNERS, is_copied=True)
    yield Case("srgb.jpg", encode(quad(), "JPEG", icc_profile=SRGB, quality=95), CORNERS, tolerance=12, is_copied=True)
    swapped = (BLUE, GREEN, RED, (0, 255, 255))
    yield Case("swapped.png", encode(quad(), "PNG", icc_profile=SWAPPED), swapped, tolerance=6, note="converted to sRGB")
    alpha = quad().convert("RGBA")
    alpha.putpixel((0, 0), (255, 0, 0, 0))
    yield Case("swapped clear.png", encode(alpha, "PNG", icc_profile=SWAPPED), ((255,) * 3, *swapped[1:]), tolerance=6)
    light = (RAMP / 255) ** 1.8
    seen = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    grey = Image.fromarray(grey_ramp("u1", 255))
    yield Case("grey profile.png", encode(grey, "PNG", icc_profile=GREY_18), row=seen, tolerance=4, note="sRGB")
    yield Case("misfit.png", encode(quad(), "PNG", icc_profile=GREY_18), CORNERS, note="profile is damaged or does not fit")
    yield Case("broken profile.png", encode(quad(), "PNG", icc_profile=b"junk" * 50), CORNERS, note="profile is damaged")


def moving() -> Iterator[Case]:
    frames = {"save_all": True, "append_images": [Image.new("RGB", (48, 32), "black"), Image.new("RGB", (48, 32), "white")]}
    for name, kind, options in (
        ("moving.gif", "GIF", {}),
        ("moving.webp", "WEBP", {"lossless": True}),
        ("moving.png", "PNG", {}),
        ("pages.tif", "TIFF", {}),
    ):
        yield Case(name, encode(quad(), kind, **frames, **options), CORNERS, note="the first of its 3 frames")
    yield Case("stereo.jpg", encode(quad(), "MPO", **frames, quality=95, subsampling=0), CORNERS, tolerance=12, note="of its 3 frames")


def plain() -> Iterator[Case]:
    for name, kind, options, is_copied in (
        ("plain.png", "PNG", {}, True),
        ("plain.webp", "WEBP", {"lossless": True}, True),
        ("plain.bmp", "BMP", {}, False),
        ("plain.gif", "GIF", {}, False),
        ("plain.tif", "TIFF", {"compression": "tiff_lzw"}, False),
    ):
        yield Case(name, encode(quad(), kind, **options), CORNERS, is_copied=is_copied)
    for kind, name in (("JPEG", "plain.jpeg"), ("AVIF", "plain.avif")):
        options = {"quality": 95, "subsampling": "4:4:4"}
        yield Case(name, encode(quad(), kind, **options), CORNERS, tolerance=14, is_copied=kind == "JPEG")
    note = "whatever its name says"
    yield Case("really a png.jpg", encode(quad(), "PNG"), CORNERS, note=f"a PNG file, {note}", is_copied=True)
    yield Case("really a jpeg.png", encode(quad(), "JPEG", quality=95, subsampling=0), CORNERS, tolerance=12, note=note, is_copied=True)
    yield Case("really a png.heic", encode(quad(), "PNG"), CORNERS, note=note, is_copied=True)
    yield Case("really a png", encode(quad(), "PNG"), CORNERS, note=note, is_copied=True)
    yield Case("smallest.png", encode(quad(16, 16), "PNG"), CORNERS, is_copied=True)
    yield Case("longest.png", encode(quad(128, 16), "PNG"), CORNERS, is_copied=True)


def cut() -> Iterator[Case]:
    kinds: tuple[tuple[str, dict], ...] = (
        ("png", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("webp", {}),
        ("gif", {}),
        ("bmp", {}),
        ("tiff", {}),
        ("avif", {}),
    )
    for number, (kind, options) in enumerate(kinds):
        data = encode(photo(number, (160, 120)), kind.upper(), **options)
        for part in (0.02, 0.3, 0.6, 0.9):
            yield Case(f"cut {number} {part}.{kind}", data[: max(12, int(part * len(data)))], reason="again")
    yield Case("empty.png", b"", reason="is empty")
    yield Case("zeros.png", bytes(4000), reason="is not a picture")
    broken = bytearray(encode(photo(9), "PNG"))
    broken[len(broken) // 2 : len(broken) // 2 + 40] = b"\xff" * 40
    yield Case("broken.png", bytes(broken), reason="again")


def refused() -> Iterator[Case]:
    yield Case("line.png", png(30000, 1, 8, 0, bytes(30000)), reason="30000x1 px, too elongated")
    yield Case("dot.png", png(1, 1, 8, 0, b"\0"), reason="1x1 px, too small")
    yield Case("narrow.png", encode(quad(15, 100), "PNG"), reason="too small")
    yield Case("long.png", encode(quad(130, 16), "PNG"), reason="too elongated")
    yield Case("bomb.png", png(60000, 60000, 8, 2, bytes(100)), reason="million pixels")
    yield Case("real bomb.png", png(20000, 12000, 1, 0, bytes(2501 * 12000)[: 2500 * 12000]), reason="million pixels")
    yield Case("text.png", b"these are notes, not a picture\n", reason="holds text, not a picture")
    foreign: dict[str, tuple[bytes, str]] = {
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "a drawing made of shapes: export it as PNG or JPEG"),
        "layers.psd": (b"8BPS\0\1" + bytes(60), "Photoshop document: export"),
        "drawing.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "drawing made of shapes"),
        "drawing called.png": (b"<svg width='9' height='9'/>", "drawing made of shapes"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), "HEIC picture: export it as PNG or JPEG"),
        "phone called.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), "HEIC picture"),
        "site.ico": (b"\0\0\1\0\1\0\x10\x10" + bytes(60), "an icon file"),
        "paper.pdf": (b"%PDF-1.7\n", "export its pages"),
        "wave.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        "next.jxl": (b"\xff\x0a" + bytes(20), "JPEG XL"),
        "scan.dcm": (bytes(128) + b"DICM" + bytes(40), "is a DICOM file without pictures"),
        "brain.nii.gz": (b"\x1f\x8b\x08" + bytes(30), "is no NIfTI volume or damaged"),
        "all.zip": (b"PK\3\4" + bytes(30), "a damaged archive"),
        "all called.png": (b"PK\3\4" + bytes(30), "an archive: unpack it first"),
        "clip.mp4": (b"\0\0\0\x18ftypisom" + bytes(30), "a video"),
        "camera.dng": (encode(quad(), "TIFF"), "a camera raw file: export it as PNG or JPEG"),
        "old.tga": (bytes(2) + b"\2" + bytes(40), "rare format"),
    }
    for name, (data, reason) in foreign.items():
        yield Case(name, data, reason=reason)


FAMILIES: tuple[Callable[[], Iterator[Case]], ...] = (oriented, deep, layered, coloured, moving, plain, cut, refused)


def all_cases() -> list[Case]:
    return [case for family in FAMILIES for case in family()]
