"""What a DICOM file says beside its pixels, frame by frame: from its functional groups where it has them, else from the file itself."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import extras
from studio.dataset.pixels import Unreadable
from studio.dataset.readers import dicom_words as words

EXTRA = "dicom"
MAX_FRAMES = 20_000
MACROS = {  # the tags that say how a frame is shown: by the functional group that holds them in enhanced files, PS3.3 C.7.6.16
    "RescaleSlope": "PixelValueTransformationSequence", "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence", "WindowWidth": "FrameVOILUTSequence", "VOILUTFunction": "FrameVOILUTSequence",
    "WindowCenterWidthExplanation": "FrameVOILUTSequence",
    "ImagePositionPatient": "PlanePositionSequence", "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}  # fmt: skip
_CINE = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")
_CINE_MODALITIES = {"US", "IVUS", "XA", "RF", "ES"}
_OF_THE_EXTRA = {  # the transfer syntaxes that the extra's decoders read: JPEG, JPEG lossless, JPEG-LS, JPEG 2000 and HTJ2K
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)
}
_NAMELESS = re.compile(r"(?:anon(?:y(?:m(?:ous|ized|ised)?)?)?|none|unknown|patient|test|[0\W_]*)", re.IGNORECASE)


def header(path: Path, tags: list[str] | None = None) -> Any:
    """The dataset before the pixels of a DICOM file, only `tags` where they are given; Unreadable where it is none."""
    pydicom = extras.need(EXTRA)
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
        told = len(ds)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"is damaged or no DICOM file ({type(error).__name__}): export it again") from None
    if not told:
        raise Unreadable("is named like a DICOM file, but is none or damaged: export it again")
    return ds


@lru_cache(maxsize=1)
def kept_header(path: Path, changed_ns: int) -> Any:
    """The whole header of a file, kept for its next frame."""
    return header(path)


def check_decoder(ds: Any) -> None:
    """Unreadable where the file is compressed in a way that nothing here decodes."""
    from pydicom.pixels import get_decoder

    syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or not syntax.is_transfer_syntax or not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        is_there = get_decoder(syntax).is_available
    except NotImplementedError:
        is_there = False
    if not is_there:
        way_out = extras.advice("dicom-codecs") if syntax in _OF_THE_EXTRA else "export it as still pictures, uncompressed"
        raise Unreadable(f"is compressed as {syntax.name}, which nothing here decodes: {way_out}")


def num_frames(ds: Any) -> int:
    """How many frames a file holds; Unreadable where it claims more than can be meant."""
    num = max(1, whole_number(ds, "NumberOfFrames"))
    if num > MAX_FRAMES:
        raise Unreadable(f"claims {num} frames, more than {MAX_FRAMES}: export it again")
    return num


def whole_number(ds: Any, name: str) -> int:
    """A whole number of a file, 0 where it has none or something else in its place."""
    try:
        return int(ds.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def tag(ds: Any, frame: int, name: str) -> Any:
    """The element `name` of a frame: from its own functional group, else the shared one, else the file; None where there is none."""
    sequence, own, shared = MACROS.get(name), ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")
    for group in [*(own[frame : frame + 1] if own else []), *(shared[:1] if shared else [])] if sequence else []:
        inner = group.get(sequence)
        if inner and name in inner[0]:
            return inner[0][name]
    return ds[name] if name in ds else None


def value(ds: Any, frame: int, name: str) -> Any:
    """The value of `tag`; None where there is none."""
    element = tag(ds, frame, name)
    return None if element is None else element.value


def place(ds: Any, frame: int) -> tuple[str, float | None]:
    """The plane of a frame and how far along its normal it lies, in millimetres; None where that is not known."""
    normal, position = words.normal_of(value(ds, frame, "ImageOrientationPatient")), value(ds, frame, "ImagePositionPatient")
    try:
        along = sum(n * float(p) for n, p in zip(normal, position, strict=True)) if normal and position else None
    except (TypeError, ValueError):
        along = None
    return words.plane_of(normal), along


def spacing(ds: Any, frame: int) -> tuple[float, float]:
    """The height and width of a pixel, in any unit: those of the patient, else of the detector, else its aspect; 1, 1 where not known."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        try:
            rows, columns = (float(v) for v in value(ds, frame, name))
        except (TypeError, ValueError):
            continue
        if rows > 0 and columns > 0 and 0.1 < rows / columns < 10:
            return (rows, columns) if abs(rows / columns - 1) > 0.01 else (1.0, 1.0)
    return 1.0, 1.0


def is_cine(ds: Any) -> bool:
    """Whether the frames of a file follow each other in time, not in space."""
    return any(ds.get(name) for name in _CINE) or ds.get("Modality") in _CINE_MODALITIES


def identity(ds: Any) -> str:
    """What tells this patient from others, to be hashed: id or name where they name one, else the study, else the series."""
    known = [str(ds.get(name) or "").strip() for name in ("PatientID", "PatientName")]
    named = [each for each in known if not _NAMELESS.fullmatch(each)]
    return next(iter(named), "") or str(ds.get("StudyInstanceUID") or ds.get("SeriesInstanceUID") or next(filter(None, known), ""))


def aside(ds: Any) -> str:
    """What a file is in a word where it is none of the pictures of an examination, such as a localizer; "" for all others."""
    kinds = {str(each).upper().strip() for each in _several(ds.get("ImageType"))}
    kind = str(getattr(ds.get("SOPClassUID"), "name", "") or "")
    if kinds & {"LOCALIZER", "SCOUT"}:
        return "localizer"
    if kinds & {"SCREEN SAVE", "DOSE_INFO", "DOSE INFO", "REPORT"}:
        return "screen save"
    return "segmentation" if kind.startswith("Segmentation") else "dose grid" if kind.startswith("RT Dose") else ""


def is_derived(ds: Any) -> bool:
    """Whether pictures were computed from others, such as projections; that they were compressed does not count."""
    kinds = [str(each).upper() for each in _several(ds.get("ImageType"))]
    return kinds[:1] == ["DERIVED"] and kinds[1:2] == ["SECONDARY"] and len(kinds) > 2


def _several(found: Any) -> list[Any]:
    return [] if found is None else [found] if isinstance(found, str | float | int) else list(found)
