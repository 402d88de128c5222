"""The pixels of a DICOM frame: decoded, turned into what they mean (modality LUT), and shown as the file asks (VOI LUT, windows)."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.pixels import Unreadable
from studio.dataset.readers import dicom_words as words
from studio.dataset.readers.dicom_header import MACROS, check_decoder, tag
from studio.dataset.readers.grey import to_levels

_FILE_TAGS = ("ModalityLUTSequence", "VOILUTSequence", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")


@dataclass(frozen=True)
class View:
    """One way in which a file asks to be shown: `kind` is lut, linear, linear_exact or sigmoid; `index` is its place among those."""

    kind: str
    index: int
    name: str = ""  # a listed word
    centre: float = 0.0
    width: float = 0.0

    @property
    def told(self) -> str:
        """What it is, for a note."""
        what = "its lookup table" if self.kind == "lut" else f"window {self.centre:g}/{self.width:g}"
        return what + (" (sigmoid)" if self.kind == "sigmoid" else "") + (f" {self.name}" if self.name else "")

    def as_json(self) -> dict[str, Any]:
        """As the decoding process is asked for it."""
        return asdict(self)


def about_values(ds: Any, frame: int) -> Any:
    """A flat dataset of what is said about the values of one frame, as pydicom's functions read it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    flat = Dataset()
    for name in (*MACROS, *_FILE_TAGS):
        element = tag(ds, frame, name)
        if element is not None and element.value not in (None, ""):
            flat.add(element)
    flat.file_meta = getattr(ds, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in flat.file_meta:
        flat.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return flat


def views(flat: Any) -> list[View]:
    """The ways in which a file asks to be shown, lookup tables before windows (PS3.3 C.11.2); those without sense are left out."""
    found = []
    for i, item in enumerate(flat.get("VOILUTSequence") or []):
        if item.get("LUTData") is not None and len(_numbers(item.get("LUTDescriptor"))) == 3:
            found.append(View("lut", i, words.view_name(item.get("LUTExplanation"))))
    kind = str(flat.get("VOILUTFunction") or "LINEAR").strip().casefold()
    names = flat.get("WindowCenterWidthExplanation") or []
    names = [names] if isinstance(names, str) else list(names)
    pairs = zip(_numbers(flat.get("WindowCenter")), _numbers(flat.get("WindowWidth")), strict=False)
    for i, (centre, width) in enumerate(pairs):
        if width > 0 and np.isfinite([centre, width]).all():
            exact = "linear_exact" if width < 1 else "linear"  # below 1, the other would be a mere threshold
            name = words.view_name(names[i]) if i < len(names) else ""
            found.append(View(kind if kind in {"linear_exact", "sigmoid"} else exact, i, name, centre, width))
    return found


def _numbers(found: Any) -> list[float]:
    try:
        return [] if found is None or found == "" else [float(v) for v in (found if hasattr(found, "__iter__") else [found])]
    except (TypeError, ValueError):
        return []


def stored_values(path: Path, ds: Any, frame: int) -> np.ndarray:
    """The stored values of a frame: [H, W], or uint8 [H, W, 3] in colour; Unreadable where they cannot be decoded."""
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        values = pixel_array(_source(path, ds), index=frame)
        if ds.get("PhotometricInterpretation") == "PALETTE COLOR":
            values, bits = apply_color_lut(values, ds), int(np.ravel(ds.RedPaletteColorLookupTableDescriptor)[2])
        else:
            bits = int(ds.get("BitsStored") or 8 * values.itemsize)
    except MemoryError:
        raise
    except Exception as error:
        check_decoder(ds)
        if isinstance(error, EOFError | ValueError) and re.search("reshape|expected|length|trailing", str(error)):
            raise Unreadable("is cut short: copy or download it again") from None
        if "no pixel data" in str(error).casefold():
            raise Unreadable("is a DICOM file whose pixels are missing: export it again") from None
        raise Unreadable(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]}): export it again") from None
    if values.ndim != 3:
        return _used_bits(values, bits)
    return values if values.dtype == np.uint8 and bits == 8 else to_levels(values, 0, 2**bits - 1)


def _source(path: Path, ds: Any) -> Any:
    """The file; or its whole dataset where it is deflated, or has no head of its own that would say how its numbers are written."""
    syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None and not (syntax.is_transfer_syntax and syntax.is_deflated):
        return path
    import pydicom

    whole = pydicom.dcmread(path, force=True)
    if syntax is not None:
        return whole
    syntax = pydicom.uid.ImplicitVRLittleEndian if whole.original_encoding[0] else pydicom.uid.ExplicitVRLittleEndian
    whole.ensure_file_meta()
    whole.file_meta.TransferSyntaxUID = syntax
    return whole


def _used_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers without what old files keep above the bits that count, such as overlays; sign and all."""
    spare = 8 * values.itemsize - bits
    if values.dtype.kind not in "iu" or spare <= 0:
        return values
    return np.right_shift(np.left_shift(values, spare), spare)


def padding(stored: np.ndarray, ds: Any) -> np.ndarray:
    """Where stored values stand for nothing that was measured: [H, W]."""
    ends = [ds.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    try:
        first, last = (float(ends[0]), float(ends[1] if ends[1] is not None else ends[0]))
    except (TypeError, ValueError):
        return np.zeros(stored.shape, bool)
    is_wrapped = stored.dtype.kind == "i" and max(first, last) > np.iinfo(stored.dtype).max
    first, last = (v - 2.0 ** (8 * stored.itemsize) if is_wrapped and v > np.iinfo(stored.dtype).max else v for v in (first, last))
    return (stored >= min(first, last)) & (stored <= max(first, last))


def meaning(stored: np.ndarray, flat: Any) -> np.ndarray:
    """Stored values [H, W] to what they mean (Hounsfield units in CT), by the modality LUT, or slope and intercept."""
    if flat.get("ModalityLUTSequence"):
        return _looked_up(stored, flat.ModalityLUTSequence[0], flat)[0]
    slope, intercept = (_numbers(flat.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    pair = (slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    return stored if pair == (1.0, 0.0) or not np.isfinite(pair).all() else stored.astype(np.float32) * pair[0] + pair[1]


def _looked_up(values: np.ndarray, item: Any, flat: Any) -> tuple[np.ndarray, int]:
    """(entries of a lookup table for `values`, their bits), PS3.3 C.11.1.1.1; pydicom's own wraps long tables of 8 bits and knows no 12.

    The table is of 16-bit words where there are enough bytes for them, else of bytes.
    """
    num, first, bits = (int(v) for v in _numbers(item.LUTDescriptor))
    num, table = num or 2**16, item.LUTData
    if isinstance(table, bytes):
        order = "<" if flat.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(table, f"{order}u2" if len(table) >= 2 * num else np.uint8)
    table = np.asarray(table[:num], np.int64)
    if not table.size or not 0 < bits <= 16:
        raise Unreadable("has a damaged lookup table: choose a window by numbers")
    places = np.clip(np.nan_to_num(np.rint(values)).astype(np.int64) - first, 0, table.size - 1)
    return table[places].astype(np.float32), bits


def shown(values: np.ndarray, flat: Any, view: View) -> np.ndarray:
    """uint8 levels [H, W] of `values` in one of the ways that the file asks for, PS3.3 C.11.2.1."""
    if view.kind == "lut":
        entries, bits = _looked_up(values, flat.VOILUTSequence[view.index], flat)
        return to_levels(entries, 0, 2**bits - 1)
    if view.kind == "sigmoid":
        with np.errstate(over="ignore"):
            return to_levels(1 / (1 + np.exp(-4 * (values.astype(np.float32) - view.centre) / view.width)), 0, 1)
    if view.kind == "linear_exact":
        return to_levels(values, view.centre - view.width / 2, view.centre + view.width / 2)
    return to_levels(values, view.centre - 0.5 - (view.width - 1) / 2, view.centre - 0.5 + max(view.width - 1, 1e-6) / 2)
