"""Pictures as they are seen: upright, first frame, 8-bit sRGB, on a background. The only place that interprets pixels."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from studio.dataset.kinds import READABLE
from studio.dataset.png_colour import number_profile

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # no other parser is run; MPO comes with JPEG
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}  # formats kept as they are when nothing has to change
MAX_PIXELS = 200_000_000
MIN_SIDE_PX = 16
MAX_SCANS = 200  # of a JPEG: each costs a pass over the whole picture
CUT_SHORT = "is cut short: copy or download it again"
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
MAX_ASPECT = 8
_TWELVE_BITS, _SIXTEEN_BITS = 4095, 65535
_ORIENTATION, _PHOTOMETRIC = 274, 262  # EXIF and TIFF tags
_TURNED, _UPRIGHT = range(2, 9), "it was turned upright as its EXIF orientation says"
_SAME_COLOUR = 2  # levels by which a profile may differ from sRGB and still be sRGB

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns above it, which counts as an error here


Grey = Sequence[str | float]  # "range" or "percentiles", and the two of them that become black and white


class Unreadable(ValueError):
    """Why a picture cannot be taken, as the end of a sentence that begins with its name."""


@dataclass
class Seen:
    """A picture as it is seen; `suffix` is that of its format where the file already holds exactly these pixels."""

    image: Image.Image  # RGB
    format: str
    suffix: str
    notes: list[str]


def see(data: bytes, background: str, grey: Grey | None = None) -> Seen:
    """Decode the bytes of an image file fully; Unreadable with the reason where that cannot be done.

    `grey` says which values of a picture of more than 8 bits become black and white; None takes its whole range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _see(data, background, grey)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"has more than {MAX_PIXELS // 10**6} million pixels: export it smaller") from None
    except UnidentifiedImageError:
        raise Unreadable(f"is damaged or of an unusual kind: export it again ({READABLE} are read)") from None
    except MemoryError:
        raise Unreadable("needs too much memory to decode: export it smaller") from None
    except Unreadable:
        raise
    except Exception as error:  # the parsers raise nearly everything on damaged files
        raise Unreadable(_damage(error)) from None


def _check_whole(data: bytes) -> None:
    """Unreadable where the container says that it is longer than the file, or where reading it is made to take for ever."""
    if data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise Unreadable(CUT_SHORT)
    if data[:2] == _JPEG and (num := data.count(_SCAN)) > MAX_SCANS:
        raise Unreadable(f"is a JPEG in {num} scans, where ten are usual: export it again")


def transparency(data: bytes) -> Image.Image | None:
    """How opaque each pixel of an image that `see` has read is, upright: mode L; None where all of it is opaque."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()
        if not image.has_transparency_data:
            return None
        alpha = _upright(image, []).convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema()[0] < 255 else None


def _damage(error: Exception) -> str:
    text = str(error)
    if isinstance(error, EOFError) or "truncat" in text.lower() or "unexpected end" in text.lower():
        return CUT_SHORT
    why = f" ({text})" if text else ""
    return f"is damaged{why}: export it again as PNG or JPEG"


def _see(data: bytes, background: str, grey: Grey | None) -> Seen:
    notes: list[str] = []
    _check_whole(data)
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    check_size(*image.size)
    is_deep = ";16" in _raw_mode(image)
    if is_deep and isinstance(image.info.get("transparency"), tuple):
        image.info["transparency"] = tuple(value >> 8 for value in image.info["transparency"])
    profile, strange = (image.info.get("icc_profile"), "") if "icc_profile" in image.info else number_profile(image, data)
    was_turned = image.format == "TIFF" and _orientation(image) in _TURNED  # which Pillow does by itself
    image.load()
    kind, mode, has_clear_colour = image.format or "", image.mode, "transparency" in image.info
    frames = _num_frames(data)
    rgb = _to_rgb(_upright(image, notes), background, notes, grey, profile)
    if frames > 1:
        notes.append(f"the first of its {frames} frames was taken")
    notes += [strange] if strange else []
    notes += [_UPRIGHT] if was_turned else []
    if is_deep and mode in ("RGB", "RGBA", "CMYK"):
        notes.append("its 16 bits per channel became 8")
    is_kept = mode in ("RGB", "L") and not has_clear_colour and not notes
    return Seen(rgb, kind, SUFFIXES.get(kind, "") if is_kept else "", notes)


def _raw_mode(image: Image.Image) -> str:
    """How the file packs its pixels, as Pillow names it: "RGB;16B" for 16-bit colours."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def check_size(width: int, height: int) -> None:
    """Unreadable where a picture of this size in pixels cannot be trained on."""
    short, long = sorted((width, height))
    if long > MAX_ASPECT * short:
        raise Unreadable(f"is {width}x{height} px, too elongated to train on: crop it to at most {MAX_ASPECT}:1")
    if short < MIN_SIDE_PX:
        raise Unreadable(f"is {width}x{height} px, too small: at least {MIN_SIDE_PX} px a side are needed")
    if width * height > MAX_PIXELS:
        raise Unreadable(f"is {width}x{height} px, more than {MAX_PIXELS // 10**6} million pixels: export it smaller")


def _num_frames(data: bytes) -> int:
    """How many frames a file has; 2 where they cannot be counted because a later one is damaged."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        try:
            return getattr(image, "n_frames", 1)
        except Exception:
            return 2


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """`image` turned as its EXIF orientation says; itself where there is nothing to turn."""
    try:
        if _orientation(image) not in _TURNED:
            return image
        turned = ImageOps.exif_transpose(image)
    except Exception:
        notes.append("its EXIF data is damaged and was ignored")
        return image
    notes.append(_UPRIGHT)
    return turned


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1)


def _to_rgb(image: Image.Image, background: str, notes: list[str], grey: Grey | None, profile: bytes | None) -> Image.Image:
    if grey and (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return _from_choice(image, grey, notes).convert("RGB")
    if image.mode.startswith("I;16"):
        image = _from_sixteen_bits(image, notes)
    elif image.mode in ("I", "F"):
        image, profile = _from_range(image, notes), None
    if not image.has_transparency_data:
        return _to_srgb(image, profile, notes)
    seen = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = seen.getchannel("A")
    colour = _to_srgb(seen.convert("L" if image.mode in ("L", "LA", "La") else "RGB"), profile, notes)
    if alpha.getextrema()[0] == 255:
        return colour
    notes.append(f"its transparent parts were laid on {background}")
    flat = Image.new("RGB", image.size, background)
    flat.paste(colour, mask=alpha)
    return flat


def _from_choice(image: Image.Image, grey: Grey, notes: list[str]) -> Image.Image:
    """Deep grey to 8-bit grey between two values, or two percentiles of its own; what is no number black."""
    how, low, high = grey
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise Unreadable("holds no finite value: export it as PNG")
    if how == "percentiles":
        low, high = np.percentile(finite, (low, high))
    scaled = np.clip((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12), 0, 1)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        scaled = 1 - scaled
    notes.append(f"values {low:g} to {high:g} shown" + (", by its percentiles" if how == "percentiles" else ""))
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8))


def _from_sixteen_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """16-bit grey to 8-bit grey, scaled from its whole range; 12-bit data in 16-bit files from theirs."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    top = _SIXTEEN_BITS
    if values.max() <= _TWELVE_BITS and values.any():
        top = _TWELVE_BITS
    notes.append(f"its grey values were scaled from 0-{top} to 0-255")
    table = ((np.minimum(np.arange(_SIXTEEN_BITS + 1), top) * 255 + top // 2) // top).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:
        table = 255 - table
    grey = Image.fromarray(table[values])
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _from_range(image: Image.Image, notes: list[str]) -> Image.Image:
    """Floats and 32-bit integers to 8-bit grey: the smallest value black, the largest white, NaN black."""
    values = np.asarray(image).astype(np.float64)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise Unreadable("holds no finite value: export it as PNG")
    low, high = values[is_finite].min(), values[is_finite].max()
    scaled = np.where(is_finite, (values - low) / ((high - low) or 1.0), 0.0)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        scaled = 1 - scaled
    notes.append(f"its values were scaled from {low:g} to {high:g} to 0-255")
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """An opaque `image` as RGB, its colours converted where it has a profile that differs from sRGB."""
    mode = image.mode if image.mode in ("L", "CMYK", "LAB") else "L" if image.mode == "1" else "RGB"
    plain = image.convert(mode) if image.mode != mode else image
    try:
        transform = _transform(profile, mode) if profile or mode == "LAB" else None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        transform = None
        notes.append("its colour profile is damaged or does not fit and was ignored")
    if transform is None:
        if mode == "CMYK":
            notes.append("its colours are approximate: it is CMYK without a colour profile")
        return plain if plain.mode == "RGB" else plain.convert("RGB")
    source = plain.convert(transform.input_mode)
    seen = ImageCms.applyTransform(source, transform)
    notes.append("its colours were converted to sRGB")
    return seen


@lru_cache(maxsize=32)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from `profile` to sRGB for pictures of `mode`; None where it changes nothing worth seeing."""
    srgb = ImageCms.createProfile("sRGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
    space = getattr(source, "profile", source).xcolor_space.strip()
    if space == "RGB" and mode == "L":
        mode = "RGB"
    transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
    if mode in ("L", "RGB"):
        probe = _probe(mode)
        change = np.abs(np.asarray(ImageCms.applyTransform(probe, transform), int) - np.asarray(probe.convert("RGB"), int))
        if change.max() <= _SAME_COLOUR:
            return None
    return transform


def _probe(mode: str) -> Image.Image:
    """A small picture of colours from all over the cube, or of all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 17).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17, -1, 3))
