"""How single pictures look: blurred, dark, bright, empty, enlarged, with borders, written on."""

import numpy as np

from studio.dataset.doctor.base import USUAL_FROM, Case, Check, Found, Z, pictures, unusual
from studio.dataset.text_suspicion import BURNED_IN

BLUR, BLUR_SURE, BLUR_FEW = 0.60, 0.78, 0.65  # Crete's blur effect: sharp pictures lie at 0.16 to 0.55, MRI slices at 0.42 to 0.53
BLUR_SOFT_SET = 0.70  # a set this soft is soft by nature
FLAT_LEVELS = 10  # between the darkest and the brightest hundredth of the pixels; polar ice has 13, open ocean 23
DARK, DARK_SURE, DARK_FEW = 110, 24, 48  # the brightest hundredth lies below
BRIGHT, BRIGHT_SURE = 145, 245  # the darkest hundredth lies above; polar ice reaches 232
MOST, HARDLY = 0.4, 0.05  # shares of pure white (black): too much here, where the others have hardly any
DETAIL, DETAIL_SURE, DETAIL_FEW = 0.78, 0.30, 0.40  # share of the sides that is needed: MRI from 0.60, satellite from 0.72, icons from 0.96
BORDER_SHARE = 0.02  # of a side
USUAL_BORDER = 0.4  # of the pictures have such margins: then they belong to the kind of picture, unless
BARS = 0.5  # of them end along a straight line: all slices of a scan have black margins and none a bar, of icons on white every tenth
SAME_LEVELS = 20
LETTERS = 6  # in one line; of 466 photographs, scans and icons without writing four have as many


def _found(case: Case, is_hit: np.ndarray, told, what: str) -> Found | None:
    files = case.files(is_hit)
    if not files:
        return None
    reasons = {case.dataset.rows[int(i)].file: told(int(i)) for i in np.flatnonzero(is_hit)}
    return Found(files, f"{pictures(len(files))} {what.format('looks' if len(files) == 1 else 'look')}", reasons)


def _blurred_mask(case: Case) -> np.ndarray:
    blur = case.column("blur")
    usual = np.nanmedian(blur) if np.isfinite(blur).any() else 0.0
    if np.isfinite(blur).sum() < USUAL_FROM:
        return blur >= BLUR_FEW
    return ((blur >= BLUR) & (unusual(blur, 0.03) > Z)) | ((blur >= BLUR_SURE) & (usual < BLUR_SOFT_SET))


def _flat_mask(case: Case) -> np.ndarray:
    return case.column("high") - case.column("low") < FLAT_LEVELS


def _blurred(case: Case) -> Found | None:
    blur = case.column("blur")
    return _found(case, _blurred_mask(case) & ~_flat_mask(case), lambda i: f"blur {blur[i]:.2f} of 1", "{} blurred")


def _flat(case: Case) -> Found | None:
    low, high = case.column("low"), case.column("high")
    return _found(case, _flat_mask(case), lambda i: f"its levels lie between {low[i]:.0f} and {high[i]:.0f} of 255", "{} empty: one tone")


def _dark(case: Case) -> Found | None:
    high, black = case.column("high"), case.column("black")
    few = np.isfinite(high).sum() < USUAL_FROM
    hit = (high < DARK_SURE) | ((high < DARK_FEW) & few) | ((high < DARK) & (unusual(high, 8) < -Z)) | _much(black, few)
    return _found(case, hit & ~_flat_mask(case), lambda i: f"its brightest parts reach {high[i]:.0f} of 255", "{} too dark")


def _bright(case: Case) -> Found | None:
    low, white = case.column("low"), case.column("white")
    few = np.isfinite(low).sum() < USUAL_FROM
    hit = (low > BRIGHT_SURE) | ((low > BRIGHT) & (white > HARDLY) & (unusual(low, 8) > Z)) | _much(white, few)
    return _found(case, hit & ~_flat_mask(case), lambda i: f"{100 * white[i]:.0f} % of it is pure white", "{} too bright")


def _much(share: np.ndarray, few: bool) -> np.ndarray:
    """Where far more is pure white (or black) than in nearly all the others."""
    if few or not np.isfinite(share).any():
        return np.zeros(len(share), bool)
    return (share > MOST) & (np.nanquantile(share, 0.8) < HARDLY)


def _enlarged(case: Case) -> Found | None:
    detail = case.column("detail")
    few = np.isfinite(detail).sum() < USUAL_FROM
    hit = (detail <= DETAIL_SURE) | ((detail <= DETAIL_FEW) & few) | ((detail <= DETAIL) & (unusual(detail, 0.04) < -Z))
    sides = [(row.width, row.height) for row in case.dataset.rows]

    def told(i: int) -> str:
        width, height = sides[i]
        return f"{width}×{height} px, but no more detail than {max(1, round(width * detail[i]))}×{max(1, round(height * detail[i]))} px"

    return _found(case, hit & ~_blurred_mask(case) & ~_flat_mask(case), told, "{} enlarged: more pixels than detail")


def _borders(case: Case) -> Found | None:
    told = {}
    usual = _usual_margins(case)
    for row, each in zip(case.dataset.rows, case.measures, strict=True):
        if not each or row.edit:
            continue
        sides = {"left": row.width, "top": row.height, "right": row.width, "bottom": row.height}
        found = [
            f"{bar} px at the {side}"
            for k, (side, length) in enumerate(sides.items())
            if (bar := each["bars"][k]) > max(1, BORDER_SHARE * length) and not _is_usual(usual[k], each["edges"][k])
        ]
        if found:
            told[row.file] = f"a uniform border: {', '.join(found)}"
    if not told:
        return None
    num = sum(each is not None for each in case.measures)
    most = ", most of the dataset: its model would draw them too" if num >= USUAL_FROM and len(told) > USUAL_BORDER * num else ""
    return Found(list(told), f"{pictures(len(told))} with uniform borders or letterboxing{most}", told)


def _usual_margins(case: Case) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """For each side: how many pictures were measured, how many of them have a margin there darker than each grey level, [257], or a bar."""
    known = [(row, each) for row, each in zip(case.dataset.rows, case.measures, strict=True) if each]
    lengths = np.array([(row.width, row.height, row.width, row.height) for row, _ in known]).reshape(-1, 4)
    margins = np.array([each["margins"] for _, each in known]).reshape(-1, 4)
    levels = np.array([each["edges"] for _, each in known], np.int64).reshape(-1, 4)
    is_bar = np.array([each["bars"] for _, each in known]).reshape(-1, 4) > 0
    is_wide = margins > BORDER_SHARE * lengths
    return [(len(known), _below(levels[is_wide[:, k], k]), _below(levels[(is_wide & is_bar)[:, k], k])) for k in range(4)]


def _below(levels: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.bincount(levels, minlength=256))))


def _is_usual(margins: tuple[int, np.ndarray, np.ndarray], level: int) -> bool:
    num, *counts = margins
    alike, bars = (below[min(256, level + SAME_LEVELS + 1)] - below[max(0, level - SAME_LEVELS)] for below in counts)
    return num >= USUAL_FROM and alike > USUAL_BORDER * num and bars < BARS * alike


def _written(case: Case) -> Found | None:
    letters, burned = case.column("letters"), np.array([BURNED_IN in row.note for row in case.dataset.rows], bool)
    hit = letters >= LETTERS
    if np.isfinite(letters).sum() >= USUAL_FROM and np.nanmean(hit) > 0.5:
        hit[:] = False  # pictures of text: it belongs to them

    def why(i: int) -> str:
        return BURNED_IN if burned[i] else f"about {letters[i]:.0f} letter-like marks in a line"

    return _found(case, hit | burned, why, "may carry text or a watermark")


CHECKS = (
    Check(
        "blurred",
        "Blurred",
        "Measured by blurring again: what hardly changes was blurred before (Crete et al. 2007), on a copy of"
        " at most 384 px. A picture counts "
        "only where it is also softer than the rest, so that kinds of pictures that are soft by nature are left alone.",
        14,
        _blurred,
        ("exclude", "keep"),
    ),
    Check(
        "flat",
        "Empty",
        "Hardly any contrast: a blank page, a lens cap, a failed scan. Nothing can be learned from it.",
        14,
        _flat,
        ("exclude", "keep"),
    ),
    Check(
        "dark",
        "Too dark",
        "Even its brightest parts are dark, and the rest of the dataset is not like that.",
        10,
        _dark,
        ("exclude", "keep"),
    ),
    Check(
        "bright",
        "Too bright",
        "Its darkest parts are bright, or much of it is burnt out to pure white, and the rest of the dataset is not like that.",
        10,
        _bright,
        ("exclude", "keep"),
    ),
    Check(
        "enlarged",
        "Enlarged",
        "Enlarged after it was made, or saved too soft: the fine half of its spectrum is empty. The model learns that softness.",
        10,
        _enlarged,
        ("exclude", "keep"),
    ),
    Check(
        "borders",
        "Borders",
        "Bars of one colour that end along a straight line (letterboxing, frames, scanner edges) are learned "
        "like everything else. Trimming "
        "records a crop; the picture file stays as it is. Margins around shapes that most of the dataset has, as scans and icons have"
        " them, are left alone.",
        12,
        _borders,
        ("trim", "exclude", "keep"),
    ),
    Check(
        "text",
        "Text or watermark",
        "A row of small marks of one height, as letters are. Only a suspicion: the model would learn to draw such marks.",
        6,
        _written,
        ("exclude", "keep"),
    ),
)
