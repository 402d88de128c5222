"""Pictures that come more than once: the same, nearly the same, turned or mirrored, or alike to an image tower."""

from typing import Any

from studio.dataset.alike import families
from studio.dataset.doctor.base import Case, Check, Found, pictures
from studio.dataset.rows import Row

_WORDS = {"near": "nearly the same", "turned": "the same, turned or mirrored", "alike": "alike to the image tower"}


def _exact(case: Case) -> Found | None:
    groups = [rows for rows in case.by_pixels.values() if len(rows) > 1]
    if not groups:
        return None
    told = {row.file: f"the same picture as {_others(row, rows)}" for rows in groups for row in rows}
    text = f"{pictures(sum(map(len, groups)))} in {_groups(len(groups))} are the same, pixel for pixel"
    return Found(list(told), text, told, [_group(case, rows, "the same, pixel for pixel") for rows in groups])


def _of_kind(kind: str):
    def find(case: Case) -> Found | None:
        pairs = [pair for pair in case.chart.pairs if pair.kind == kind and pair.first in case.by_pixels and pair.second in case.by_pixels]
        pairs = [pair for pair in pairs if not case.chart.is_kept(kind, (pair.first, pair.second))]
        if not pairs:
            return None
        keys = list(dict.fromkeys(key for pair in pairs for key in (pair.first, pair.second)))
        at = {key: i for i, key in enumerate(keys)}
        why = {key: pair.told for pair in pairs for key in (pair.first, pair.second)}
        groups, told = [], {}
        for family in families(len(keys), [(at[pair.first], at[pair.second]) for pair in pairs]):
            rows = [row for i in family for row in case.by_pixels[keys[i]]]
            groups.append(_group(case, rows, why[keys[family[0]]]))
            told |= {row.file: f"looks like {_others(row, rows)}: {why[row.pixels]}" for row in rows}
        text = f"{pictures(len(told))} in {_groups(len(groups))} are {_WORDS[kind]}"
        return Found(list(told), text, told, groups)

    return find


def _group(case: Case, rows: list[Row], why: str) -> dict[str, Any]:
    """A group with its proposal: keep the largest, of equal size the clearly sharpest, then a captioned one,
    then the one with the shortest name (copies are called "x (copy)"), then the first.
    """

    def worth(row: Row) -> tuple[int, float, bool, int]:
        measured = case.chart.measured.get(row.pixels)
        return row.width * row.height, -round(measured["blur"] if measured else 1.0, 1), bool(case.caption_of[row.file]), -len(row.source)

    return {"files": [row.file for row in rows], "best": max(rows, key=worth).file, "why": why}


def _others(row: Row, rows: list[Row]) -> str:
    names = [other.file for other in rows if other.file != row.file]
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _groups(num: int) -> str:
    return "1 group" if num == 1 else f"{num:,} groups"


CHECKS = (
    Check(
        "exact",
        "Identical pictures",
        "The same pixels more than once weigh double in training and teach nothing new. Copies stay on one side of the split in any case.",
        20,
        _exact,
        ("copies", "keep"),
        reads_captions=True,
    ),
    Check(
        "near",
        "Near duplicates",
        "Scaled, recompressed, brightened, slightly cropped or written-on copies, told by a perceptual hash "
        "(pHash) and a small print of the "
        "picture; what counts as near is set by how far apart the pictures of this dataset usually are. They "
        "stay on one side of the split.",
        20,
        _of_kind("near"),
        ("review", "copies", "keep"),
        reads_captions=True,
    ),
    Check(
        "turned",
        "Turned or mirrored copies",
        "The same picture turned by a quarter, a half, or mirrored. Sometimes meant so (a left and a right arrow): look, then decide.",
        6,
        _of_kind("turned"),
        ("review", "keep"),
        reads_captions=True,
    ),
    Check(
        "alike",
        "Look-alikes",
        "Pictures that the embedded image tower can hardly tell apart (cosine of at least 0.985), although their pixels differ.",
        8,
        _of_kind("alike"),
        ("review", "keep"),
        reads_captions=True,
    ),
)
