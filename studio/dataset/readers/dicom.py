"""DICOM: series of slices or frames, shown through a window; of the tags, only listed words are kept, never an identity."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studio import extras
from studio.dataset.facts import Facts
from studio.dataset.kinds import suffix_of
from studio.dataset.pixels import Unreadable
from studio.dataset.readers import dicom_words as words
from studio.dataset.readers.base import WINDOWS, Choices, Scan, Set, Take, window_range
from studio.dataset.readers.grey import is_empty, percentiles, picture, strange_values, to_levels
from studio.dataset.text_suspicion import BURNED_IN, may_hold_text

TITLE = "a DICOM file"
EXTRA = "dicom"
CAPTION = "{modality}[ of the {body_part}][, {sequence}][, {plane} plane][, slice {slice} of {slices}]"
FIELDS = frozenset({"modality", "body_part", "sequence", "plane", "slice", "slices", "position"})
LIMIT = ""
SUBJECT = "p"
NUM_MEASURED = 8  # slices from which the percentiles of a series are taken
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "SequenceName")
_TAGS = [
    "SOPClassUID", "Modality", "BodyPartExamined", "SeriesInstanceUID", "StudyInstanceUID", *_DESCRIPTIONS,
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    "BurnedInAnnotation", "PatientID", "PatientName", "PixelSpacing", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def recognise(name: str, head: bytes) -> bool:
    """Whether this is probably a DICOM file."""
    return head[128:132] == b"DICM" or suffix_of(name) in {".dcm", ".dicom", ".ima"}


def survey(path: Path, salt: str) -> dict[str, Any]:
    """What one file holds; patient and series as salted hashes alone. Unreadable where it holds no pictures."""
    ds = _header(path, _TAGS)
    if not ds.get("Rows") or not ds.get("Columns"):
        kind = getattr(ds.get("SOPClassUID"), "name", "") or "of an unknown kind"
        raise Unreadable(f"is a DICOM file without pictures ({kind})")
    _check_decoder(ds)
    num = max(1, int(ds.get("NumberOfFrames") or 1))
    places = [_place(ds, i) for i in range(num)]
    identity = str(ds.get("PatientID") or ds.get("PatientName") or ds.get("StudyInstanceUID") or ds.get("SeriesInstanceUID") or "")
    return {
        "series": _hidden(salt, f"{ds.get('SeriesInstanceUID', '')}"),
        "subject": _hidden(salt, identity),
        "modality": words.modality(ds.get("Modality")),
        "is_ct": ds.get("Modality") == "CT",
        "body_part": words.body_part(ds.get("BodyPartExamined")),
        "sequence": words.sequence(ds.get("SeriesDescription"), ds.get("ProtocolName"), ds.get("SequenceName"))
        if ds.get("Modality") == "MR"
        else "",
        "order": int(ds.get("InstanceNumber") or 0),
        "size": [int(ds.Columns), int(ds.Rows)],
        "planes": [plane for plane, _ in places],
        "places": [place for _, place in places],
        "window": _window(ds, 0),
        "is_colour": int(ds.get("SamplesPerPixel") or 1) > 1 or ds.get("PhotometricInterpretation") == "PALETTE COLOR",
        "burned": str(ds.get("BurnedInAnnotation", "")).upper() == "YES",
    }


def _hidden(salt: str, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def _header(path: Path, tags: list[str] | None = None) -> Any:
    pydicom = extras.need(EXTRA)
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
    except Exception as error:
        raise Unreadable(f"is damaged or no DICOM file ({type(error).__name__}): export it again") from None
    if not len(ds):
        raise Unreadable("is named like a DICOM file, but is none or damaged: export it again")
    return ds


def _check_decoder(ds: Any) -> None:
    """Unreadable where the file is compressed in a way that nothing here decodes."""
    from pydicom.pixels import get_decoder

    syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        is_there = get_decoder(syntax).is_available
    except NotImplementedError:
        is_there = False
    if not is_there:
        raise Unreadable(f"is compressed as {syntax.name}, which nothing here decodes: {extras.advice('dicom-codecs')}")


def _groups(ds: Any, frame: int) -> list[Any]:
    """The functional groups of a frame, its own before the shared ones; none in files of a single slice."""
    own, shared = ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")
    return [*(own[frame : frame + 1] if own else []), *(shared[:1] if shared else [])]


def _tag(ds: Any, frame: int, sequence: str, name: str) -> Any:
    """A tag of a frame: from its functional groups, else from the file."""
    for group in _groups(ds, frame):
        inner = group.get(sequence)
        if inner and name in inner[0]:
            return inner[0].get(name)
    return ds.get(name)


def _place(ds: Any, frame: int) -> tuple[str, float | None]:
    """The plane of a frame and how far along its normal it lies, in millimetres; None where that is not known."""
    normal = words.normal_of(_tag(ds, frame, "PlaneOrientationSequence", "ImageOrientationPatient"))
    position = _tag(ds, frame, "PlanePositionSequence", "ImagePositionPatient")
    try:
        place = sum(n * float(p) for n, p in zip(normal, position, strict=True)) if normal and position else None
    except (TypeError, ValueError):
        place = None
    return words.plane_of(normal), place


def _window(ds: Any, frame: int) -> list[float] | None:
    """[centre, width] of the first window of a frame; None where there is none."""
    values = [_tag(ds, frame, "FrameVOILUTSequence", name) for name in ("WindowCenter", "WindowWidth")]
    try:
        centre, width = (float(v[0] if isinstance(v, Sequence) and not isinstance(v, str) else v) for v in values)
    except (TypeError, ValueError, IndexError):
        return None
    return [centre, width] if width > 0 and np.isfinite([centre, width]).all() else None


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """The series, each with its slices in their order in space, else by number; other planes and sizes are sets of their own."""
    series: dict[tuple, list[tuple[Any, dict[str, Any]]]] = {}
    for file, head in surveyed:
        series.setdefault((head["series"], tuple(head["size"]), head["planes"][0], head["is_colour"]), []).append((file, head))
    return [_series(members) for members in series.values()]


def _series(members: list[tuple[Any, dict[str, Any]]]) -> Set:
    has_places = all(head["places"][0] is not None for _, head in members)
    members.sort(key=lambda each: (each[1]["places"][0] if has_places else 0.0, each[1]["order"]))
    head = members[0][1]
    num = sum(len(head["planes"]) for _, head in members)
    what = " ".join(filter(None, [head["modality"] or "scan", head["body_part"], head["sequence"]]))
    width, height = head["size"]
    title = f"{what}, {head['planes'][0]}" if head["planes"][0] else what
    window = head["window"]
    shown = "in colour" if head["is_colour"] else f"window {window[0]:g}/{window[1]:g} from its tags" if window else "no window in its tags"
    notes = ["its tags say that text is burned into the pictures"] if any(head["burned"] for _, head in members) else []
    return Set(
        reader="dicom",
        title=title,
        about=f"{num} {'slices' if num > 1 else 'slice'} of {width}x{height} px, {shown}",
        files=[file for file, _ in members],
        heads=[head for _, head in members],
        subject=head["subject"],
        num=num,
        choices=("every", "skip_empty") if head["is_colour"] else ("window", "every", "skip_empty"),
        notes=notes,
    )


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """Some slices, evenly, where the window has to come from the values of the whole series."""
    head = found.heads[0]
    if head["is_colour"] or _explicit(found, choices) or (choices.window in {"", "auto"} and all(h["window"] for h in found.heads)):
        return []
    slices = _slices(found)
    step = max(1, len(slices) // NUM_MEASURED)
    share = (0.0, 100.0) if choices.window == "full" else (choices.low / 2, 100 - (100 - choices.high) / 2)
    return [(found.files[i], {"frame": frame, "measure": share}) for i, frame in slices[step // 2 :: step][:NUM_MEASURED]]


def _explicit(found: Set, choices: Choices) -> tuple[float, float] | None:
    """The window asked for by name or number; names are in Hounsfield units and so hold for CT alone."""
    return None if choices.window in WINDOWS and not found.heads[0]["is_ct"] else window_range(choices.window)


def _slices(found: Set) -> list[tuple[int, int]]:
    """(file, frame) of every slice, in order."""
    return [(i, frame) for i, head in enumerate(found.heads) for frame in range(len(head["planes"]))]


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th slice, with its window and its facts."""
    slices = _slices(found)
    takes = []
    for k in range((choices.every - 1) // 2, len(slices), choices.every):
        i, frame = slices[k]
        head = found.heads[i]
        facts: Facts = {name: head[name] for name in ("modality", "body_part", "sequence") if head[name]}
        facts |= {"plane": head["planes"][frame]} if head["planes"][frame] else {}
        facts |= {"slice": k + 1, "slices": len(slices)} if len(slices) > 1 else {}
        facts |= {"position": round(k / (len(slices) - 1), 2)} if len(slices) > 1 else {}
        name = f"{head['modality'] or 'scan'} series {found.number} slice {k + 1:04d}"
        ask = {"frame": frame, "skip_empty": choices.skip_empty, "burned": head["burned"], **_shown(found, choices, head, ranges)}
        takes.append(Take(found.files[i], name, ask, facts, block=10 * k // len(slices)))
    return takes


def _shown(found: Set, choices: Choices, head: dict[str, Any], ranges: list[list[list[float]]]) -> dict[str, Any]:
    """Which values become black and white, and who says so."""
    if head["is_colour"]:
        return {}
    explicit = _explicit(found, choices)
    if explicit:
        return {"range": explicit, "said": f"window {choices.window}"}
    other = f"; the window {choices.window} is for CT alone" if choices.window in WINDOWS else ""
    if head["window"] and choices.window not in {"full", "percentiles"} and not ranges:
        centre, width = head["window"]
        return {"window": head["window"], "said": f"window {centre:g}/{width:g}, from its tags{other}"}
    low, high = min(r[0][0] for r in ranges), max(r[0][1] for r in ranges)
    how = "all its values" if choices.window == "full" else "by percentiles of its series"
    return {"range": (low, high), "said": f"values {low:g} to {high:g} shown, {how}{other}"}


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One frame as it is seen through its window."""
    ds = _header(path)
    frame = ask["frame"]
    values = _values(path, ds, frame)
    if values.ndim == 3:
        return _finish(values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8), ask, [])
    values = _rescaled(values, ds, frame)
    if "measure" in ask:
        return Scan(ranges=[percentiles(values, *ask["measure"])])
    low, high = ask["range"] if "range" in ask else _linear(*(_window(ds, frame) or ask["window"]))
    levels = to_levels(values, low, high)
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        levels = 255 - levels
    return _finish(levels, ask, [ask["said"], *strange_values(values)])


def _finish(levels: np.ndarray, ask: dict[str, Any], notes: list[str]) -> Scan:
    burned = [BURNED_IN] if ask.get("burned") or may_hold_text(levels) else []
    return Scan(picture(levels), [*notes, *burned], bool(ask.get("skip_empty")) and is_empty(levels))


def _linear(centre: float, width: float) -> tuple[float, float]:
    """The ends of a linear window, DICOM PS3.3 C.11.2.1.2.1."""
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + max(width - 1, 1e-6) / 2


def _values(path: Path, ds: Any, frame: int) -> np.ndarray:
    """The stored values of a frame: [H, W], or [H, W, 3] in colour; Unreadable where they cannot be decoded."""
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        values = pixel_array(path, index=frame)
        return apply_color_lut(values, ds) if ds.get("PhotometricInterpretation") == "PALETTE COLOR" else values
    except MemoryError:
        raise
    except Exception as error:
        _check_decoder(ds)
        if isinstance(error, EOFError | ValueError) and re.search("reshape|expected|length|trailing", str(error)):
            raise Unreadable("is cut short: copy or download it again") from None
        raise Unreadable(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]}): export it again") from None


def _rescaled(values: np.ndarray, ds: Any, frame: int) -> np.ndarray:
    """Stored values to what they mean (Hounsfield units in CT), by the slope and intercept of the frame."""
    slope, intercept = (_tag(ds, frame, "PixelValueTransformationSequence", name) for name in ("RescaleSlope", "RescaleIntercept"))
    try:
        slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    except (TypeError, ValueError):
        slope, intercept = 1.0, 0.0
    return values if (slope, intercept) == (1.0, 0.0) else values.astype(np.float32) * slope + intercept
