"""A stored picture read again: its pixels, the hash and the print that tell it, and what is made of it: views and training samples."""

import base64
import hashlib
import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.dataset.alike import THUMB_PX
from studio.dataset.doctor.measures import measure
from studio.dataset.framing import parse_frame, render
from studio.dataset.kinds import VIEW_SIZES, view_name
from studio.dataset.pixels import FORMATS
from studio.dataset.scaled import Scaled
from studio.errors import StudioError, printable

_STRIP_PX = 2**17  # pixels hashed at a time: few enough to stay in the processor's cache
_LOSSLESS_PX = 256  # smaller pictures are shown enlarged, where artefacts would be seen


def open_image(path: Path) -> Image.Image:
    """A stored picture as RGB, decoded; StudioError where the file is missing, damaged or was replaced by another kind."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            mode, rgb = image.mode, image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise StudioError(f"{printable(str(path))} cannot be read ({error}): import its dataset again") from None
    if mode not in ("RGB", "L"):
        raise StudioError(f"{printable(str(path))} was replaced by a {mode} picture: import its dataset again")
    return rgb


def look(source: Path, views: Path, size_px: int, is_measured: bool = False) -> dict[str, Any]:
    """Look at a stored picture again: its pixel hash, thumbnail and measures; its view of `size_px` (0 = none) left in `views`."""
    image = open_image(source)
    pixels, scaled = hash_pixels(image), Scaled(image)
    if size_px:
        write_view(scaled, views, pixels, size_px)
    measures = {"measures": measure(scaled)} if is_measured else {}
    return {"pixels": pixels, "thumb": base64.b64encode(thumbnail(scaled).tobytes()).decode(), **measures}


def write_sample(source: Path, target: Path, frame: str, reduce_px: int, is_mask: bool = False) -> dict[str, Any]:
    """Leave the sample that `frame` names at `target`: the pixels that are trained, as PNG, or reduced to `reduce_px` as WebP."""
    image = open_image(source)
    pixels, sample = hash_pixels(image), render(image.convert("L") if is_mask else image, parse_frame(frame))
    if reduce_px:
        sample.thumbnail((reduce_px, reduce_px))
        sample.save(target, "WEBP", quality=82, method=1)
    else:
        target.write_bytes(to_png(sample))
    return {"pixels": pixels}


def write_view(picture: Scaled, views: Path, pixels: str, size_px: int) -> None:
    """Leave a picture as WebP in `views`, reduced to `size_px` on its longer side and never enlarged, unless it is there."""
    path = views / view_name(pixels, size_px)
    if path.exists():
        return
    image, size = picture.image, picture.within(size_px)
    is_small = max(image.size) <= _LOSSLESS_PX
    if size != image.size:
        image = picture.resized(size, Image.Resampling.HAMMING)  # as sharp at half the size, in a third of LANCZOS' time
    buffer = io.BytesIO()
    if is_small:
        image.save(buffer, "WEBP", lossless=True, quality=50, method=1)
    else:
        image.save(buffer, "WEBP", quality=82 if size_px == VIEW_SIZES[0] else 90, method=1)
    views.mkdir(parents=True, exist_ok=True)
    part = views / f".tmp-{os.getpid()}-{path.name}"
    part.write_bytes(buffer.getvalue())
    part.replace(path)


def hash_pixels(image: Image.Image) -> str:
    """SHA-256 over the size and the pixels of an RGB picture, as hex."""
    width, height = image.size
    digest, lines = hashlib.sha256(f"{width}x{height}:".encode()), max(1, _STRIP_PX // width)
    for top in range(0, height, lines):  # in strips: all of it at once would be laid out in memory, twice, for nothing else
        digest.update(image.crop((0, top, width, min(height, top + lines))).tobytes())
    return digest.hexdigest()


def thumbnail(picture: Scaled) -> np.ndarray:
    """The picture in THUMB_PX x THUMB_PX mean colours: uint8 [THUMB_PX, THUMB_PX, 3]."""
    return np.asarray(picture.resized((THUMB_PX, THUMB_PX), Image.Resampling.BOX))


def to_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file, which hold its very pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)  # a fifth of the usual time, as small
    return buffer.getvalue()
