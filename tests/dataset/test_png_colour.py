"""PNG files that say by numbers what their colours mean look as those numbers ask, computed here once more by their formulas."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from studio.dataset.pixels import see
from tests.dataset.corpus import encode

ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT2020 = (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
COLOURS = np.array([(200, 120, 60), (60, 140, 90), (90, 90, 200), (128, 128, 128), (30, 20, 25), (255, 255, 255), (0, 0, 0)], np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100000)))


def chrm(primaries: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100000 * each) for each in primaries)))


def png(*chunks: bytes, image: Image.Image | None = None, **options) -> bytes:
    image = image or Image.fromarray(np.repeat(np.repeat(COLOURS[None], 20, 0), 20, 1))
    data = encode(image, "PNG", **options)
    return data[:33] + b"".join(chunks) + data[33:]


def colours(data: bytes) -> np.ndarray:
    return np.asarray(see(data, "#ffffff").image)[10, 10::20].astype(int)


def to_xyz(primaries: tuple[float, ...]) -> np.ndarray:
    white, *corners = [(x / y, 1, (1 - x - y) / y) for x, y in np.array(primaries).reshape(4, 2)]
    corners = np.array(corners).T
    return corners * np.linalg.solve(corners, np.array(white))


def expected(light: np.ndarray, primaries: tuple[float, ...]) -> np.ndarray:
    """Linear light [N, 3] of these primaries, all of one white, as sRGB levels."""
    linear = np.clip(light @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T, 0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(int)


def srgb_light(levels: np.ndarray) -> np.ndarray:
    share = levels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(
    ("chunks", "wanted"),
    [
        ([gama(1.0)], expected(COLOURS / 255, SRGB)),
        ([gama(1 / 1.8)], expected((COLOURS / 255) ** 1.8, SRGB)),
        ([gama(0.45455), chrm(ADOBE)], expected(srgb_light(COLOURS), ADOBE)),
        ([gama(1.0), chrm(P3)], expected(COLOURS / 255, P3)),
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], expected(srgb_light(COLOURS), P3)),
        ([chunk(b"cICP", bytes([9, 8, 0, 1]))], expected(COLOURS / 255, BT2020)),
    ],
    ids=["linear", "gamma 1.8", "wide primaries", "linear P3", "cICP P3", "cICP linear BT.2020"],
)
def test_numbers_are_obeyed(chunks, wanted):
    assert np.abs(colours(png(*chunks)) - wanted).max() <= 2
    assert "converted to sRGB" in "; ".join(see(png(*chunks), "#ffffff").notes)


@pytest.mark.parametrize(
    "chunks",
    [
        [], [gama(0.45455)], [gama(0.45455), chrm(SRGB)], [chrm(ADOBE)], [chunk(b"sRGB", b"\0"), gama(1.0), chrm(ADOBE)],
        [gama(0)], [gama(300)], [gama(1 / 2.2), chrm((0.0,) * 8)], [gama(0.45455), chrm((0.3127, 0.329, 0.6, 0.3, 0.6, 0.3, 0.6, 0.3))],
        [chunk(b"cICP", bytes([1, 13, 0, 1])), gama(1.0)],
    ],
    ids=["nothing", "usual", "both usual", "primaries", "sRGB wins", "zero", "too much", "no primaries", "one line", "cICP wins"],
)  # fmt: skip
def test_what_is_srgb_or_nonsense_stays_as_it_is(chunks):
    seen = see(png(*chunks), "#ffffff")
    assert (np.asarray(seen.image)[10, 10::20] == COLOURS).all() and seen.suffix == ".png" and not seen.notes


def test_a_profile_wins_and_high_dynamic_range_is_told():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (colours(png(gama(1.0), icc_profile=srgb)) == COLOURS).all()
    seen = see(png(chunk(b"cICP", bytes([9, 16, 0, 1]))), "#ffffff")
    assert (np.asarray(seen.image)[10, 10::20] == COLOURS).all() and "high dynamic range" in seen.notes[0]


def test_grey_clear_and_deep_pictures_are_converted_too():
    levels = np.repeat(np.repeat(np.arange(0, 256, 36, dtype=np.uint8)[None], 20, 0), 20, 1)
    wanted = expected(np.arange(0, 256, 36)[:, None].repeat(3, 1) / 255, SRGB)
    clear = Image.fromarray(levels).convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    for image in (Image.fromarray(levels), clear, Image.fromarray(levels.astype(np.uint16) * 257)):
        assert np.abs(colours(png(gama(1.0), image=image)) - wanted).max() <= 2, image.mode


def test_a_tiff_turned_by_its_own_tag_is_told():
    seen = see(encode(Image.fromarray(np.zeros((32, 48, 3), np.uint8)), "TIFF", tiffinfo={274: 6}), "#ffffff")
    assert seen.image.size == (32, 48) and "upright" in "; ".join(seen.notes)
