"""NIfTI: slices of a volume, upright and in true proportions whichever way it was stored, in one range of values."""

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

TITLE = "a NIfTI volume"
EXTRA = "nifti"
CAPTION = "[{modality}, ][{sequence}, ]{plane} plane[, slice {slice} of {slices}]"
FIELDS = frozenset({"modality", "sequence", "plane", "slice", "slices", "position"})
LIMIT = ""
SUBJECT = "p"
MAX_VOXELS = 300_000_000  # as 32-bit floats they fit into the decoding process
_THICK = 1.2  # times the finest spacing: an axis coarser than this is the one that was sliced


def recognise(name: str, head: bytes) -> bool:
    """Whether this is probably a NIfTI file; packed ones can be told by their name alone."""
    return name.casefold().endswith((".nii", ".nii.gz"))


def survey(path: Path, salt: str) -> dict[str, Any]:
    """The size of a volume along left-right, back-front and foot-head, and what its name says of sequence and subject."""
    image = _load(path)
    if len(image.shape) < 3 or min(image.shape[:3]) < 1:
        raise Unreadable(f"is a NIfTI file of {len(image.shape)} dimensions, not a volume")
    if image.get_data_dtype().kind not in "iuf":
        raise Unreadable(f"is a NIfTI volume of {image.get_data_dtype()}, not of grey values: export it in grey")
    num = int(np.prod(image.shape[:3]))
    if num > MAX_VOXELS:
        raise Unreadable(f"has {num / 1e6:.0f} million voxels, more than {MAX_VOXELS // 10**6} million: crop it first")
    subject = re.search(r"(?<![a-z])sub(?:ject)?-?([a-z0-9]+)", path.name.casefold())
    key = hashlib.blake2b((subject[0] if subject else str(path)).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
    shape, spacing = _upright_shape(image)
    return {
        "subject": key.hexdigest(),
        "shape": shape,
        "spacing": spacing,
        "volumes": int(np.prod(image.shape[3:])) if len(image.shape) > 3 else 1,
        "sequence": sequence(path.name.casefold().partition(".nii")[0].replace("-", " ")),
        "is_placed": bool(image.header["sform_code"]) or bool(image.header["qform_code"]),
    }


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


def _upright_shape(image: Any) -> tuple[list[int], list[float]]:
    """Shape and spacing along left-right, back-front and foot-head."""
    from nibabel.orientations import io_orientation

    order = io_orientation(image.affine)[:, 0]
    zooms = image.header.get_zooms()[:3]
    axes = [int(np.flatnonzero(order == i)[0]) if (order == i).any() else i for i in range(3)]
    return [int(image.shape[a]) for a in axes], [float(zooms[a]) or 1.0 for a in axes]


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per volume."""
    sets = []
    for file, head in surveyed:
        shape = "x".join(map(str, head["shape"]))
        notes = [f"the first of its {head['volumes']} volumes is taken"] if head["volumes"] > 1 else []
        notes += [] if head["is_placed"] else ["its header does not say which way it lies: planes are by the order of its axes"]
        axis = _axis(head, "")
        sets.append(
            Set(
                reader="nifti",
                title=f"volume {head['sequence']}".strip(),
                about=f"{shape} voxels, {head['shape'][axis]} slices in the {PLANES[axis]} plane",
                files=[file],
                heads=[head],
                subject=head["subject"],
                num=head["shape"][axis],
                choices=("plane", "window", "every", "skip_empty"),
                notes=notes,
            )
        )
    return sets


def _axis(head: dict[str, Any], plane: str) -> int:
    """The axis that slices follow: of the plane asked for, else the coarsest one, else foot-head (axial)."""
    if plane:
        return PLANES.index(plane)
    spacing = head["spacing"]
    return spacing.index(max(spacing)) if max(spacing) > _THICK * min(spacing) else PLANES.index("axial")


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """The volume once, unless the window is given in numbers."""
    if window_range(choices.window):
        return []
    share = (0.0, 100.0) if choices.window == "full" else (choices.low / 2, 100 - (100 - choices.high) / 2)
    return [(found.files[0], {"measure": share})]


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th slice along one axis."""
    head = found.heads[0]
    axis = _axis(head, choices.plane)
    num = head["shape"][axis]
    spacing = [size for i, size in enumerate(head["spacing"]) if i != axis]
    low, high = window_range(choices.window) or ranges[0][0]
    said = f"window {choices.window}" if window_range(choices.window) else f"values {low:g} to {high:g} shown, by percentiles of its volume"
    takes = []
    for k in range((choices.every - 1) // 2, num, choices.every):
        facts: Facts = {"modality": "MRI", "sequence": head["sequence"]} if head["sequence"] else {}
        facts |= {"plane": PLANES[axis], "slice": k + 1, "slices": num, "position": round(k / max(1, num - 1), 2)}
        ask = {"axis": axis, "index": k, "range": (low, high), "said": said, "spacing": spacing, "skip_empty": choices.skip_empty}
        takes.append(Take(found.files[0], f"volume {found.number} {PLANES[axis]} slice {k + 1:04d}", ask, facts, block=10 * k // num))
    return takes


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One slice: head or front at the top, the patient's right (or front, seen from the side) on the left."""
    volume = _volume(path, path.stat().st_mtime_ns)
    if "measure" in ask:
        return Scan(ranges=[percentiles(volume[:: 1 + volume.size // 50_000_000], *ask["measure"])])
    values = np.take(volume, ask["index"], axis=ask["axis"]).T[::-1, ::-1]
    levels = to_levels(values, *ask["range"])
    across, along = ask["spacing"]
    image = picture(levels, (along, across))
    return Scan(image, [ask["said"], *strange_values(values)], bool(ask.get("skip_empty")) and is_empty(levels))


@lru_cache(maxsize=1)
def _volume(path: Path, changed_ns: int) -> np.ndarray:
    """The first volume of a file, float32 along left-right, back-front, foot-head; kept for its next slice."""
    from nibabel.orientations import apply_orientation, io_orientation

    image = _load(path)
    index = (slice(None),) * 3 + (0,) * (len(image.shape) - 3)
    try:
        values = np.asarray(image.dataobj[index], np.float32)
    except MemoryError:
        raise
    except Exception as error:
        cut = isinstance(error, EOFError | OSError | ValueError)
        raise Unreadable(
            "is cut short or damaged: copy or download it again" if cut else f"cannot be read ({type(error).__name__})"
        ) from None
    return apply_orientation(values, io_orientation(image.affine))
