"""The dataset as a whole: its files, its split, how much there is of it, and what does not belong."""

from studio.dataset.alike import equal_pairs, families
from studio.dataset.doctor.base import Case, Check, Found, pictures
from studio.dataset.doctor.pairs import index_pairs
from studio.dataset.split import MIN_TESTABLE

FEW = 8


def _damaged(case: Case) -> Found | None:
    here = {row.file for row in case.dataset.rows}
    told = {file: reason for file, reason in case.chart.damaged.items() if file in here}
    return Found(list(told), f"{pictures(len(told))} changed or lost on the disk since import", told) if told else None


def _skipped(case: Case) -> Found | None:
    num = len(case.dataset.skipped)
    told = {each.file: each.reason for each in case.dataset.skipped}
    return Found([], f"{num} {'file was' if num == 1 else 'files were'} not taken at import", told) if num else None


def _noted(case: Case) -> Found | None:
    told = {row.file: row.note for row in case.dataset.rows if "upright" in row.note}
    return Found(list(told), f"{pictures(len(told))} turned upright as the camera says: look whether that is right", told) if told else None


def _strangers(case: Case) -> Found | None:
    rows = [row for pixels in case.chart.strangers for row in case.by_pixels.get(pixels, [])]
    told = {row.file: "unlike all the others, by the embedded image tower" for row in rows}
    return Found(list(told), f"{pictures(len(told))} unlike all the rest", told) if told else None


def _marked(case: Case) -> Found | None:
    rows = [row for pixels in case.chart.marked for row in case.by_pixels.get(pixels, [])]
    told = {row.file: f"a mark that others carry, too, {case.chart.mark_place}" for row in rows}
    return Found(list(told), f"{pictures(len(told))} carry the same mark {case.chart.mark_place}", told) if told else None


def _leaks(case: Case) -> Found | None:
    """Pictures that show the same, or belong to one named group, on both sides of the split."""
    rows = case.dataset.rows
    pixels = [row.pixels for row in rows]
    pairs = [*equal_pairs(pixels), *equal_pairs([row.group or None for row in rows]), *index_pairs(pixels, case.chart.pairs)]
    told = {}
    for family in families(len(rows), pairs):
        if len({rows[i].split for i in family}) > 1:
            told |= {rows[i].file: f"{'held out' if rows[i].split == 'held_out' else 'trained on'}, its kin is not" for i in family}
    return (
        Found(list(told), f"{pictures(len(told))} of groups that lie on both sides of the split: held-out scores flatter", told)
        if told
        else None
    )


def _split(case: Case) -> Found | None:
    num, num_held = len(case.dataset.rows), len(case.dataset.held_out_rows)
    if num > 1 and num_held == num:
        return Found([], "every picture is held out: nothing is left to train on")
    return Found([], "nothing is held out, so no claim about unseen pictures") if num > 1 and not num_held else None


def _weak(case: Case) -> Found | None:
    num, num_held = len(case.dataset.rows), len(case.dataset.held_out_rows)
    if num == 1:
        return Found([], "only one picture: nothing can be held out, so no claim about unseen pictures")
    if 0 < num_held < MIN_TESTABLE:
        held = "1 held-out picture" if num_held == 1 else f"{num_held} held-out pictures"
        return Found([], f"{held}: a comparison on so few is weak, {MIN_TESTABLE} allow a test")
    return None


def _few(case: Case) -> Found | None:
    num = len(case.dataset.rows)
    return Found([], f"only {pictures(num)}: {FEW} or more make a domain") if 0 < num < FEW else None


CHECKS = (
    Check(
        "damaged",
        "Changed on the disk",
        "The picture file is not the one that was imported any more, or is gone.",
        20,
        _damaged,
        ("exclude",),
    ),
    Check(
        "skipped",
        "Not taken at import",
        "Files that could not be read, each with its reason. They are where they were, untouched.",
        3,
        _skipped,
        ("forget",),
        True,
    ),
    Check(
        "leak",
        "Leaks across the split",
        "Copies, or pictures of one group (patient, scene), are trained on and held out at once, so the held-out score is too good.",
        25,
        _leaks,
        ("split", "keep"),
    ),
    Check(
        "outlier",
        "Strangers",
        "Far from their nearest others in the space of the embedded image tower, measured against how far those usually are.",
        10,
        _strangers,
        ("exclude", "keep"),
    ),
    Check(
        "watermark",
        "The same mark",
        "A line of letters at one place in many pictures, found by averaging their fine detail, or any mark that some carry at one place,"
        " found by comparing it: also where it is too faint to be seen in one. The model would draw it. Crop it away, or paint a mask over"
        " it: masked parts are left out of training.",
        10,
        _marked,
        ("exclude", "keep"),
    ),
    Check(
        "turned_upright", "Turned upright", "The camera noted how it was held, and the picture was turned. Only told.", 0, _noted, ("keep",)
    ),
    Check(
        "split",
        "Held out",
        "The held-out pictures are the only ones that can tell learning from copying.",
        10,
        _split,
        ("split", "within"),
        True,
    ),
    Check(
        "weak_split",
        "Few held out",
        "The score of a run rests on the held-out pictures; from five on, better on all of them is no chance (sign test, p = 0.031).",
        6,
        _weak,
        (),
        True,
    ),
    Check("few", "Few pictures", "More pictures help more than any setting.", 10, _few, (), True),
)
