"""What stands beside the pixels of a file is left behind; pixels and colour profile stay as they are."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from studio.dataset.bare import Strange, bare
from tests.dataset.corpus import encode, photo

SECRET = b"Zwillinger"


def exif():
    made = Image.Exif()
    made[0x013B] = SECRET.decode()
    return made


def info():
    made = PngInfo()
    made.add_text("Author", SECRET.decode(), zip=True)
    made.add_itxt("Comment", SECRET.decode())
    return made


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FILES = {
    "jpeg": (".jpg", encode(photo(1), "JPEG", exif=exif(), comment=SECRET, icc_profile=PROFILE)),
    "progressive": (".jpg", encode(photo(2), "JPEG", progressive=True, exif=exif(), quality=90)),
    "jpeg with more behind it": (".jpg", encode(photo(3), "JPEG") + SECRET),
    "png": (".png", encode(photo(4), "PNG", pnginfo=info(), exif=exif(), icc_profile=PROFILE)),
    "png with more behind it": (".png", encode(photo(5), "PNG") + SECRET),
    "webp": (".webp", encode(photo(6), "WEBP", exif=exif(), xmp=SECRET, icc_profile=PROFILE)),
    "lossless webp": (".webp", encode(photo(7), "WEBP", lossless=True, exif=exif())),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_and_profile_stay_and_the_rest_goes(name):
    suffix, data = FILES[name]
    left = bare(data, suffix)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(left))
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert before.info.get("icc_profile") == after.info.get("icc_profile") and not after.getexif()
    assert SECRET not in left and not {"comment", "Author", "Comment", "xmp"} & set(after.info)
    assert bare(left, suffix) == left


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_plain_file_stays_byte_for_byte(kind):
    data = encode(photo(8), kind)
    assert bare(data, {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}[kind]) == data


@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_short_is_not_guessed_at(name):
    suffix, data = FILES[name]
    if "behind" not in name:
        with pytest.raises(Strange):
            bare(data[: len(data) // 2], suffix)
