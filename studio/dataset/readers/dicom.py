"""DICOM: series of slices or frames, shown through a window; of the tags, only listed words are kept, never an identity."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studio.dataset.facts import Facts
from studio.dataset.kinds import is_scan, suffix_of
from studio.dataset.pixels import Unreadable
from studio.dataset.readers import dicom_header as headers
from studio.dataset.readers import dicom_values as pixels
from studio.dataset.readers import dicom_words as words
from studio.dataset.readers.base import WINDOWS, Choices, Scan, Set, Take, own_window, window_range
from studio.dataset.readers.grey import is_empty, percentiles, picture, strange_values, to_levels
from studio.dataset.text_suspicion import BURNED_IN, may_hold_text

TITLE = "a DICOM file"
EXTRA = headers.EXTRA
CAPTION = (
    "{modality}[ of the {body_part}][, {sequence}][, {projection} view][, {plane} plane]"
    "[, slice {slice} of {slices}][, frame {frame} of {frames}]"
)
FIELDS = frozenset({"modality", "body_part", "sequence", "projection", "plane", "slice", "slices", "frame", "frames", "position"})
LIMIT = ""
SUBJECT = "p"
UNKNOWN = "scan"  # what a picture of none of the listed modalities is
NUM_MEASURED = 8  # slices from which the percentiles of a series are taken
_DIRECTORY = "1.2.840.10008.1.3.10"
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "SequenceName")
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "BodyPartExamined", "SeriesInstanceUID", "StudyInstanceUID", *_DESCRIPTIONS,
    "ViewPosition", "InstanceNumber", "Rows", "Columns", "NumberOfFrames", "TotalPixelMatrixColumns", "FrameTime", "FrameTimeVector",
    "CineRate", "RecommendedDisplayFrameRate", "SamplesPerPixel", "PhotometricInterpretation", "VOILUTSequence", "BurnedInAnnotation",
    "PatientID", "PatientName", *headers.MACROS,
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def recognise(name: str, head: bytes) -> bool:
    """Whether this is probably a DICOM file."""
    return is_scan(head) and head[:4] != b"PAR1" or suffix_of(name) in {".dcm", ".dicom", ".ima"}


def survey(path: Path, salt: str) -> dict[str, Any]:
    """What one file holds; patient, series and picture as salted hashes alone. Unreadable where it holds no pictures."""
    ds = headers.header(path, _TAGS)
    if getattr(getattr(ds, "file_meta", None), "MediaStorageSOPClassUID", "") == _DIRECTORY:
        raise Unreadable("is the list of a DICOM disc: the pictures lie in the folders beside it")
    if not ds.get("Rows") or not ds.get("Columns"):
        kind = getattr(ds.get("SOPClassUID"), "name", "") or "of an unknown kind"
        raise Unreadable(f"is a DICOM file without pictures ({kind})")
    headers.check_decoder(ds)
    places = [headers.place(ds, i) for i in range(headers.num_frames(ds))]
    return {
        "series": _hidden(salt, f"{ds.get('SeriesInstanceUID', '')}"),
        "instance": _hidden(salt, f"{ds.get('SOPInstanceUID') or path}"),
        "bytes": path.stat().st_size,
        "subject": _hidden(salt, headers.identity(ds)),
        "modality": words.modality(ds.get("Modality")),
        "is_ct": ds.get("Modality") == "CT",
        "body_part": words.body_part(ds.get("BodyPartExamined")),
        "sequence": words.sequence(*map(ds.get, _DESCRIPTIONS)) if ds.get("Modality") == "MR" else "",
        "projection": words.projection(ds.get("ViewPosition")),
        "order": headers.whole_number(ds, "InstanceNumber"),
        "size": [int(ds.Columns), int(ds.Rows)],
        "frames": list(range(len(places))),
        "planes": [plane for plane, _ in places],
        "places": [place for _, place in places],
        "views": [view.as_json() for view in pixels.views(pixels.about_values(ds, 0))],
        "is_colour": int(ds.get("SamplesPerPixel") or 1) > 1 or ds.get("PhotometricInterpretation") == "PALETTE COLOR",
        "is_cine": headers.is_cine(ds),
        "is_tiled": "TotalPixelMatrixColumns" in ds,
        "is_derived": headers.is_derived(ds),
        "aside": headers.aside(ds),
        "burned": str(ds.get("BurnedInAnnotation", "")).upper() == "YES",
    }


def _hidden(salt: str, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """The series, each in order of space, else of number; other planes, sizes and kinds are sets of their own, copies are left out."""
    series: dict[tuple, list[tuple[Any, dict[str, Any]]]] = {}
    copies: dict[str, list[tuple[Any, str]]] = {}
    best: dict[str, dict[str, Any]] = {}
    for _, head in sorted(surveyed, key=lambda each: -each[1]["bytes"]):
        best.setdefault(head["instance"], head)  # the largest: another may be cut short
    for file, head in surveyed:
        if best[head["instance"]] is not head:
            copies.setdefault(head["series"], []).append((file, "is a second copy of a picture of this import"))
            continue
        for plane in dict.fromkeys(head["planes"]):
            key = (head["series"], tuple(head["size"]), plane, head["is_colour"], head["is_derived"], head["aside"])
            series.setdefault(key, []).append((file, _frames_of(head, plane)))
    return [_series(members, copies.pop(key[0], [])) for key, members in series.items()]


def _frames_of(head: dict[str, Any], plane: str) -> dict[str, Any]:
    """`head` with the frames of one plane alone."""
    at = [i for i, each in enumerate(head["planes"]) if each == plane]
    return head | {name: [head[name][i] for i in at] for name in ("frames", "planes", "places")}


def _series(members: list[tuple[Any, dict[str, Any]]], copies: list[tuple[Any, str]]) -> Set:
    has_places = all(place is not None for _, head in members for place in head["places"])
    members.sort(key=lambda each: (min(each[1]["places"]) if has_places else 0.0, each[1]["order"]))
    head = members[0][1]
    num = sum(len(head["planes"]) for _, head in members)
    what = " ".join(filter(None, [head["modality"] or UNKNOWN, head["body_part"], head["sequence"]]))
    width, height = head["size"]
    title = f"{what}, {head['planes'][0]}" if head["planes"][0] else what
    notes = ["its tags say that text is burned into the pictures"] if any(head["burned"] for _, head in members) else []
    notes += ["computed from other pictures"] if head["is_derived"] else []
    notes += [f"{len(copies)} second {'copies' if len(copies) > 1 else 'copy'} left out"] if copies else []
    kind = "tile" if head["is_tiled"] else "frame" if head["is_cine"] and not has_places else "slice"
    return Set(
        reader="dicom",
        title=f"{title} ({head['aside']})" if head["aside"] else title,
        about=f"{num} {kind}{'s' if num > 1 else ''} of {width}x{height} px, {_told_views(head)}",
        files=[file for file, _ in members],
        heads=[head for _, head in members],
        subject=head["subject"],
        num=num,
        choices=("every", "skip_empty") if head["is_colour"] else ("window", "every", "skip_empty"),
        notes=notes,
        aside=f"is a {head['aside']}" if head["aside"] else "",
        left=copies,
    )


def _told_views(head: dict[str, Any]) -> str:
    """How a series asks to be shown."""
    told = [pixels.View(**view).told for view in head["views"]]
    if head["is_colour"] or not told:
        return "in colour" if head["is_colour"] else "no window in its tags"
    others = ", ".join(f"own {i} is {each}" for i, each in enumerate(told[1:6], 2))
    return f"{told[0]} from its tags" + (f" ({others})" if others else "")


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """Some slices, evenly, where the window has to come from the values of the whole series."""
    is_own = own_window(choices.window) is not None or choices.window in {"", "auto", *WINDOWS}
    if found.heads[0]["is_colour"] or _explicit(found, choices) or (is_own and all(h["views"] for h in found.heads)):
        return []
    slices = _slices(found)
    step = max(1, len(slices) // NUM_MEASURED)
    share = (0.0, 100.0) if choices.window == "full" else (choices.low / 2, 100 - (100 - choices.high) / 2)
    return [
        (found.files[i], {"frame": found.heads[i]["frames"][at], "measure": share}) for i, at in slices[step // 2 :: step][:NUM_MEASURED]
    ]


def _explicit(found: Set, choices: Choices) -> tuple[float, float] | None:
    """The window asked for by name or number; names are in Hounsfield units and so hold for CT alone."""
    return None if choices.window in WINDOWS and not found.heads[0]["is_ct"] else window_range(choices.window)


def _slices(found: Set) -> list[tuple[int, int]]:
    """(file, which of its frames) of every slice: in the order of space where all places are known, then of time."""
    every = [(i, at) for i, head in enumerate(found.heads) for at in range(len(head["frames"]))]
    places = [found.heads[i]["places"][at] for i, at in every]
    return every if None in places else [each for _, each in sorted(zip(places, every, strict=True), key=lambda pair: pair[0])]


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th slice, with its window and its facts."""
    slices = _slices(found)
    order = _places(found, slices)
    takes = []
    for k in range((choices.every - 1) // 2, len(slices), choices.every):
        i, at = slices[k]
        head = found.heads[i]
        facts: Facts = {"modality": UNKNOWN} | {n: head[n] for n in ("modality", "body_part", "sequence", "projection") if head[n]}
        facts |= {"plane": head["planes"][at]} if head["planes"][at] else {}
        facts |= order[k]
        name = f"{head['modality'] or 'scan'} series {found.number} slice {k + 1:04d}"
        ask = {"frame": head["frames"][at], "skip_empty": choices.skip_empty, "burned": head["burned"]}
        takes.append(Take(found.files[i], name, ask | _shown(found, choices, head, ranges), facts, block=10 * k // len(slices)))
    return takes


def _places(found: Set, slices: list[tuple[int, int]]) -> list[Facts]:
    """What is said of where each slice lies: its number among the different places, and in time where several share a place."""
    if len(slices) == 1 or found.heads[0]["is_tiled"]:  # tiles of a microscope's slide follow each other in no order that is told
        return [{}] * len(slices)
    places = [found.heads[i]["places"][at] for i, at in slices]
    if None in places or len(set(places)) == 1:
        one, all_of = ("frame", "frames") if found.heads[0]["is_cine"] or None not in places else ("slice", "slices")
        return [{one: k + 1, all_of: len(slices), "position": round(k / (len(slices) - 1), 2)} for k in range(len(slices))]
    numbers = {place: n for n, place in enumerate(sorted(set(places)))}
    return [
        {"slice": numbers[each] + 1, "slices": len(numbers), "position": round(numbers[each] / (len(numbers) - 1), 2)} for each in places
    ]


def _shown(found: Set, choices: Choices, head: dict[str, Any], ranges: list[list[list[float]]]) -> dict[str, Any]:
    """Which values become black and white, and who says so."""
    if head["is_colour"]:
        return {"said": ""}
    explicit = _explicit(found, choices)
    if explicit:
        return {"range": explicit, "said": f"window {choices.window}"}
    other = f"; the window {choices.window} is for CT alone" if choices.window in WINDOWS else ""
    if head["views"] and choices.window not in {"full", "percentiles"} and not ranges:
        which = _own(head["views"], own_window(choices.window) or "")
        other = other if which is not None else f"; it has no window {choices.window}"
        view = pixels.View(**head["views"][which or 0])
        return {"view": view.as_json(), "said": f"{view.told}, from its tags{other}"}
    low, high = min(r[0][0] for r in ranges), max(r[0][1] for r in ranges)
    how = "all its values" if choices.window == "full" else "by percentiles of its series"
    return {"range": (low, high), "said": f"values {low:g} to {high:g} shown, {how}{other}"}


def _own(views: list[dict[str, Any]], wanted: str) -> int | None:
    """Which of a file's own windows a number or a name asks for; None where it has none such."""
    if wanted.isdecimal():
        return int(wanted) - 1 if 1 <= int(wanted) <= len(views) else None
    return next((i for i, view in enumerate(views) if wanted in {"", view["name"]}), None)


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One frame as it is seen through its window."""
    ds, frame = headers.kept_header(path, path.stat().st_mtime_ns), ask["frame"]
    stored, spacing = pixels.stored_values(path, ds, frame), headers.spacing(ds, frame)
    if stored.ndim == 3:
        return _finish(stored, ask, [], spacing)
    flat, is_void = pixels.about_values(ds, frame), pixels.padding(stored, ds)
    values = pixels.meaning(stored, flat)
    if "measure" in ask:
        return Scan(ranges=[percentiles(values[~is_void] if not is_void.all() else values, *ask["measure"])])
    levels = to_levels(values, *ask["range"]) if "range" in ask else _viewed(values, flat, pixels.View(**ask["view"]))
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        levels = 255 - levels
    levels[is_void] = 0
    return _finish(levels, ask, [ask["said"], *strange_values(values)], spacing)


def _viewed(values: np.ndarray, flat: Any, planned: pixels.View) -> np.ndarray:
    """Levels in a frame's own way of this kind and number, which may differ from frame to frame; else in the one that was planned."""
    own = next((view for view in pixels.views(flat) if (view.kind, view.index) == (planned.kind, planned.index)), None)
    return pixels.shown(values, flat, own or planned)


def _finish(levels: np.ndarray, ask: dict[str, Any], notes: list[str], spacing: tuple[float, float]) -> Scan:
    burned = [BURNED_IN] if ask.get("burned") or may_hold_text(levels) else []
    return Scan(picture(levels, spacing), [*notes, *burned], bool(ask.get("skip_empty")) and is_empty(levels))
