"""NIfTI: slices of a volume, upright and in true proportions whichever way it was stored, in one range of values."""

import glob
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from studio import extras
from studio.dataset.facts import Facts
from studio.dataset.pixels import Unreadable
from studio.dataset.readers.base import Choices, Scan, Set, Take, window_range
from studio.dataset.readers.dicom_words import PLANES, sequence
from studio.dataset.readers.grey import is_empty, percentiles, picture, strange_values, to_levels
from studio.errors import StudioError, printable

TITLE = "a NIfTI volume"
EXTRA = "nifti"
CAPTION = "[{modality}, ][{sequence}, ]{plane} plane[, slice {slice} of {slices}]"
FIELDS = frozenset({"modality", "sequence", "plane", "slice", "slices", "volume", "volumes", "position"})
LIMIT = ""
SUBJECT = "p"
MAX_VOXELS = 300_000_000  # as 32-bit floats they fit into the decoding process
MAX_VOLUMES, NUM_MEASURED = 1000, 8
_ALONG = 0.985  # an axis whose largest part is below this is oblique
_THICK = 1.2  # times the finest spacing: an axis coarser than this is the one that was sliced


def recognise(name: str, head: bytes) -> bool:
    """Whether this is probably a NIfTI file; packed ones can be told by their name alone, and the values of a pair by theirs."""
    name = name.casefold()
    return name.endswith((".nii", ".nii.gz", ".img", ".img.gz")) or (name.endswith(".hdr") and head[344:347] == b"ni1")


def survey(path: Path, salt: str) -> dict[str, Any]:
    """The size of a volume along left-right, back-front and foot-head, and what its name says of sequence and subject.

    Unreadable where it is no volume of grey values, or too large.
    """
    if _check_pair(path):
        return {"is_half": True}
    image = _load(path)
    if len(image.shape) < 3 or min(image.shape) < 1:
        raise Unreadable(f"is a NIfTI file of {len(image.shape)} dimensions, not a volume")
    kind = image.get_data_dtype()
    is_colour = set(kind.names or ()) >= {"R", "G", "B"}
    if kind.kind not in "iuf" and not is_colour:
        raise Unreadable(f"is a NIfTI volume of {kind}, not of grey values: export it in grey")
    num = int(np.prod([int(n) for n in image.shape[:3]], dtype=object))
    if num > MAX_VOXELS:
        raise Unreadable(f"has {num / 1e6:.0f} million voxels, more than {MAX_VOXELS // 10**6} million: crop it first")
    volumes = int(np.prod([int(n) for n in image.shape[3:]], dtype=object))
    subject = re.search(r"(?<![a-z])sub(?:ject)?-?([a-z0-9]+)", path.name.casefold())
    key = hashlib.blake2b((subject[0] if subject else str(path)).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
    shape, spacing = _upright_shape(image)
    return {
        "subject": key.hexdigest(),
        "shape": shape,
        "spacing": spacing,
        "volumes": volumes,
        "is_colour": is_colour,
        "own": _own_range(image),
        "sequence": sequence(re.sub(r"\.(nii|hdr).*", "", path.name.casefold()).replace("-", " ")),
        "is_placed": bool(image.header["sform_code"]) or bool(image.header["qform_code"]),
        "is_oblique": _is_oblique(image.affine),
    }


def _check_pair(path: Path) -> bool:
    """Whether a file is the half of a pair that holds the values; Unreadable where the other half is not beside it."""
    found = re.fullmatch(r"(.*)\.(img|hdr)(\.gz)?", path.name, re.IGNORECASE | re.DOTALL)
    if not found:
        return False
    other = {"img": "hdr", "hdr": "img"}[found[2].casefold()]
    if not any(each.name[len(found[1]) + 1 :].casefold().startswith(other) for each in path.parent.glob(f"{glob.escape(found[1])}.*")):
        what = "values" if other == "hdr" else "header"
        raise Unreadable(f"is the half of a volume that holds its {what}: import it with its .{other} beside it")
    return other == "hdr"


def _load(path: Path) -> Any:
    nibabel = extras.need(EXTRA)
    try:
        image = nibabel.load(path)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"is no NIfTI volume or damaged ({type(error).__name__}): export it again") from None
    if not isinstance(image, nibabel.Nifti1Pair):  # Nifti2 is a kind of it; nothing else is taken
        raise Unreadable("is named like a NIfTI volume, but is another kind of file")
    return image


def _orientation(image: Any) -> np.ndarray:
    """To which axis of the patient each axis of the array points, and which way: as stored, where its header makes no sense."""
    from nibabel.orientations import io_orientation

    as_stored = np.array([[0, 1], [1, 1], [2, 1]], float)
    if not np.isfinite(image.affine).all():
        return as_stored
    found = io_orientation(image.affine)
    return as_stored if np.isnan(found).any() else found


def _is_oblique(affine: np.ndarray) -> bool:
    """Whether the axes of the array are turned by more than some ten degrees from those of the patient."""
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    return bool(np.isfinite(axes).all() and (lengths > 0).all() and (np.abs(axes / lengths).max(axis=0) < _ALONG).any())


def _own_range(image: Any) -> list[float] | None:
    """The values that its header wants black and white; None where it does not say."""
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    return [low, high] if np.isfinite([low, high]).all() and high > low else None


def _upright_shape(image: Any) -> tuple[list[int], list[float]]:
    """Shape and spacing along left-right, back-front and foot-head."""
    order = _orientation(image)[:, 0]
    zooms = [abs(float(zoom)) if np.isfinite(zoom) else 0.0 for zoom in image.header.get_zooms()[:3]]
    axes = [int(np.flatnonzero(order == i)[0]) for i in range(3)]
    return [int(image.shape[a]) for a in axes], [zooms[a] or 1.0 for a in axes]


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per file."""
    return [_set(file, head) for file, head in surveyed if "is_half" not in head]


def _set(file: Any, head: dict[str, Any]) -> Set:
    axis, several = _axis(head, ""), head["volumes"] > 1
    notes = [f"the first of its {head['volumes']} volumes is taken unless others are chosen"] if several else []
    notes += [] if head["is_placed"] else ["its header does not say which way it lies: planes are by the order of its axes"]
    notes += ["it lies obliquely: slices follow its own axes"] if head["is_oblique"] else []
    choices = ("plane", *(() if head["is_colour"] else ("window",)), "every", *(("volumes",) if several else ()), "skip_empty")
    return Set(
        reader="nifti",
        title=f"volume {head['sequence']}".strip(),
        about=f"{'x'.join(map(str, head['shape']))} voxels, {head['shape'][axis]} slices in the {PLANES[axis]} plane",
        files=[file],
        heads=[head],
        subject=head["subject"],
        num=head["shape"][axis],
        choices=choices,
        notes=notes,
    )


def _axis(head: dict[str, Any], plane: str) -> int:
    """The axis that slices follow: of the plane asked for, else that of the only slice, else the coarsest, else foot-head (axial)."""
    if plane:
        return PLANES.index(plane)
    if 1 in head["shape"]:
        return head["shape"].index(1)
    spacing = head["spacing"]
    return spacing.index(max(spacing)) if max(spacing) > _THICK * min(spacing) else PLANES.index("axial")


def _volumes(head: dict[str, Any], wanted: str) -> list[int]:
    """Which volumes are taken, from 0: those `wanted`, such as 1,3-5 or all; StudioError for one that is not there."""
    num, chosen = head["volumes"], []
    for word in (wanted or "1").replace(",", " ").split():
        first, _, last = ("1", "-", str(num)) if word == "all" else word.partition("-")
        numbers = range(int(first), int(last or first) + 1) if first.isdecimal() and (last or first).isdecimal() else range(0)
        if not numbers or numbers[0] < 1 or numbers[-1] > num:
            raise StudioError(f"volumes: there is no volume {printable(word)[:20]}: it has {num}, counted from 1, or say all")
        chosen += numbers
    if len(dict.fromkeys(chosen)) > MAX_VOLUMES:
        raise StudioError(f"volumes: {len(chosen)} are asked for, at most {MAX_VOLUMES} can be taken at once")
    return [number - 1 for number in dict.fromkeys(chosen)]


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """Some of the volumes, unless their header or the window says what is shown."""
    if _given(found, choices) or found.heads[0]["is_colour"]:
        return []
    share = (0.0, 100.0) if choices.window == "full" else (choices.low / 2, 100 - (100 - choices.high) / 2)
    volumes = _volumes(found.heads[0], choices.volumes)
    return [(found.files[0], {"volume": each, "measure": share}) for each in volumes[:: 1 + len(volumes) // NUM_MEASURED]]


def _given(found: Set, choices: Choices) -> tuple[float, float] | None:
    """The values that become black and white where they need not be measured."""
    if window_range(choices.window) or choices.window in {"full", "percentiles"}:
        return window_range(choices.window)
    return tuple(found.heads[0]["own"]) if found.heads[0]["own"] else None


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th slice along one axis, of every volume chosen."""
    head = found.heads[0]
    axis, volumes = _axis(head, choices.plane), _volumes(head, choices.volumes)
    num = head["shape"][axis]
    about = {"axis": axis, "spacing": [size for i, size in enumerate(head["spacing"]) if i != axis], "skip_empty": choices.skip_empty}
    about |= {} if head["is_colour"] else _range(found, choices, ranges)
    takes = []
    for volume in volumes:
        for k in range((choices.every - 1) // 2, num, choices.every):
            facts: Facts = {"modality": "MRI", "sequence": head["sequence"]} if head["sequence"] else {}
            facts |= {"plane": PLANES[axis], "slice": k + 1, "slices": num, "position": round(k / max(1, num - 1), 2)}
            facts |= {"volume": volume + 1, "volumes": head["volumes"]} if head["volumes"] > 1 else {}
            part = f" part {volume + 1:03d}" if head["volumes"] > 1 else ""
            name = f"volume {found.number}{part} {PLANES[axis]} slice {k + 1:04d}"
            takes.append(Take(found.files[0], name, {"volume": volume, "index": k, **about}, facts, block=10 * k // num))
    return takes


def _range(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> dict[str, Any]:
    """Which values become black and white, and who says so."""
    given = _given(found, choices)
    if given:
        said = f"window {choices.window}" if window_range(choices.window) else f"values {given[0]:g} to {given[1]:g} shown, from its header"
        return {"range": given, "said": said}
    low, high = min(each[0][0] for each in ranges), max(each[0][1] for each in ranges)
    how = "all its values" if choices.window == "full" else "by percentiles of its volume"
    return {"range": (low, high), "said": f"values {low:g} to {high:g} shown, {how}"}


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One slice: head or front at the top, the patient's right (or front, seen from the side) on the left."""
    volume = _volume(path, path.stat().st_mtime_ns, ask["volume"])
    if "measure" in ask:
        return Scan(ranges=[percentiles(volume[:: 1 + volume.size // 50_000_000], *ask["measure"])])
    values = np.swapaxes(np.take(volume, ask["index"], axis=ask["axis"]), 0, 1)[::-1, ::-1]
    levels = to_levels(values, *ask["range"]) if "range" in ask else values
    across, along = ask["spacing"]
    notes = [ask["said"], *strange_values(values)] if "range" in ask else []
    return Scan(picture(levels, (along, across)), notes, bool(ask.get("skip_empty")) and is_empty(levels))


@lru_cache(maxsize=1)
def _volume(path: Path, changed_ns: int, number: int) -> np.ndarray:
    """Volume `number` of a file along left-right, back-front, foot-head: float32, or uint8 [..., 3] in colour; kept for its next slice."""
    from nibabel.orientations import apply_orientation

    image = _load(path)
    index = (slice(None),) * 3 + (np.unravel_index(number, image.shape[3:], order="F") if len(image.shape) > 3 else ())
    try:
        values = np.asarray(image.dataobj[index])
    except MemoryError:
        raise
    except Exception as error:
        cut = isinstance(error, EOFError | OSError | ValueError)
        raise Unreadable(
            "is cut short or damaged: copy or download it again" if cut else f"cannot be read ({type(error).__name__})"
        ) from None
    values = np.stack([values[name] for name in "RGB"], axis=-1) if values.dtype.names else values.astype(np.float32)
    return apply_orientation(values, _orientation(image))
