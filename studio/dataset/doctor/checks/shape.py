"""The size and the shape of pictures, and how they are held, against what the base model draws and against the rest."""

import numpy as np

from studio.dataset.doctor.base import USUAL_FROM, Case, Check, Found, pictures
from studio.domains import defaults

MAX_ASPECT = 2.5  # the shapes that are trained on reach 4:1, but few base models have seen anything beyond 2:1
TINY_SHARE = 1 / 3  # of the usual shorter side
_TURNED = {1: "turned clockwise", 2: "turned by 180°", 3: "turned counter-clockwise"}


def _small(case: Case) -> Found | None:
    sides = np.array([min(row.framing.size_px(row.width, row.height)) for row in case.dataset.rows])
    limit = float(case.size_px)
    if len(sides) >= USUAL_FROM:
        limit = max(limit, TINY_SHARE * float(np.median(sides)))
    told = {row.file: f"{row.width}×{row.height} px" for row, side in zip(case.dataset.rows, sides, strict=True) if side < limit}
    if not told:
        return None
    return Found(list(told), f"{pictures(len(told))} below {limit:.0f} px: they will be enlarged", told)


def _elongated(case: Case) -> Found | None:
    told = {}
    for row in case.dataset.rows:
        width, height = row.framing.size_px(row.width, row.height)
        if max(width, height) > MAX_ASPECT * min(width, height):
            told[row.file] = f"{width}×{height} px: {max(width, height) / min(width, height):.1f} to 1"
    return Found(list(told), f"{pictures(len(told))} far from square: much will be cut off", told) if told else None


def _lying(case: Case) -> Found | None:
    """Pictures that fit the others far better once turned; none where the kind of pictures has no up."""
    if defaults(case.dataset.about).get("turns"):
        return None
    told, groups = {}, []
    for row in case.dataset.rows:
        turns, gain = case.chart.lying.get(row.pixels, (0, 0.0))
        if turns and not row.framing.turns:
            told[row.file] = f"fits the others {gain:g} times better once {_TURNED[turns]}"
            groups.append({"files": [row.file], "best": row.file, "why": told[row.file], "turns": turns})
    if not told:
        return None
    lie = "lies on its side or head" if len(told) == 1 else "lie on their side or head"
    return Found(list(told), f"{pictures(len(told))} {lie}: the others have an up in common", told, groups)


CHECKS = (
    Check(
        "lying",
        "Rotated",
        "Each turn of each picture is compared with all the others in small. Where these have an up in common, as scans of one plane have,"
        " a picture that fits them far better once turned was turned by mistake. Among forty or more, what is usually above and below is"
        " learned as well, so that mixed photographs count; some are missed. Turning is recorded; the picture file stays as it is.",
        12,
        _lying,
        ("review", "upright", "exclude", "keep"),
    ),
    Check(
        "small",
        "Low resolution",
        "Smaller than what the base model draws, or less than a third of what is usual in this dataset: it is"
        " enlarged for training, and the "
        "model learns the softness.",
        10,
        _small,
        ("exclude", "keep"),
    ),
    Check(
        "elongated",
        "Extreme aspect",
        f"More than {MAX_ASPECT:g} times as long as wide. Training cuts such pictures to the nearest shape: crop them to what matters.",
        6,
        _elongated,
        ("exclude", "keep"),
    ),
)
