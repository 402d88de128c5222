"""TIFF stacks: pages of grey values of one size, as microscopes write them, shown as slices in one range of values. No extra is needed."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.dataset.pixels import Unreadable
from studio.dataset.readers.base import Choices, Scan, Set, Take, window_range
from studio.dataset.readers.grey import is_empty, percentiles, picture, strange_values, to_levels

TITLE = "a TIFF stack"
EXTRA = ""
CAPTION = "slice {slice} of {slices}"
FIELDS = frozenset({"slice", "slices", "position"})
LIMIT = ""
SUBJECT = "s"
MAX_PAGES, NUM_MEASURED = 5000, 8
_MAGIC = re.compile(rb"II[*+]\0|MM\0[*+]")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def recognise(name: str, head: bytes) -> bool:
    """Whether this is a TIFF file; `survey` then tells stacks from single pictures."""
    return _MAGIC.match(head) is not None


def survey(path: Path, salt: str) -> dict[str, Any] | None:
    """How many slices there are; None where a file is no stack of grey pages of one size, or cannot be read: it is a picture then."""
    try:
        stack = _open(path, path.stat().st_mtime_ns)
        num, pages = stack.n_frames, set()
        if not 1 < num <= MAX_PAGES:
            return None
        for i in range(num):
            stack.seek(i)
            pages.add((stack.size, stack.mode))
    except Exception:
        return None
    (size, mode), *others = pages
    if others or not mode.startswith(("L", "I", "F")) or mode in {"LA", "LAB"}:
        return None
    key = hashlib.blake2b(str(path).encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16)
    return {"subject": key.hexdigest(), "num": num, "size": list(size), "is_deep": mode != "L"}


@lru_cache(maxsize=1)
def _open(path: Path, changed_ns: int) -> Any:
    """An open stack, kept for its next page; too large pages are refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=["TIFF"])


def gather(surveyed: Sequence[tuple[Any, dict[str, Any]]]) -> list[Set]:
    """One set per stack."""
    return [
        Set(
            reader="stack",
            title="stack",
            about=f"{head['num']} slices of {head['size'][0]}x{head['size'][1]} px",
            files=[file],
            heads=[head],
            subject=head["subject"],
            num=head["num"],
            choices=("window", "every", "skip_empty") if head["is_deep"] else ("every", "skip_empty"),
        )
        for file, head in surveyed
    ]


def measured(found: Set, choices: Choices) -> list[tuple[Any, dict[str, Any]]]:
    """Some of the slices, evenly, where their values are deeper than 8 bits and the window is not given in numbers."""
    head = found.heads[0]
    if not head["is_deep"] or window_range(choices.window):
        return []
    share = (0.0, 100.0) if choices.window == "full" else (choices.low / 2, 100 - (100 - choices.high) / 2)
    step = max(1, head["num"] // NUM_MEASURED)
    return [(found.files[0], {"page": page, "measure": share}) for page in range(step // 2, head["num"], step)[:NUM_MEASURED]]


def plan(found: Set, choices: Choices, ranges: list[list[list[float]]]) -> list[Take]:
    """Every n-th slice."""
    num = found.heads[0]["num"]
    if ranges:
        low, high = min(each[0][0] for each in ranges), max(each[0][1] for each in ranges)
        how = "all its values" if choices.window == "full" else "by percentiles of its stack"
        shown = {"range": (low, high), "said": f"values {low:g} to {high:g} shown, {how}"}
    else:
        given = window_range(choices.window) if found.heads[0]["is_deep"] else None
        shown = {"range": given or (0.0, 255.0), "said": f"window {choices.window}" if given else ""}
    return [
        Take(
            found.files[0],
            f"stack {found.number} slice {page + 1:04d}",
            {"page": page, "skip_empty": choices.skip_empty, **shown},
            {"slice": page + 1, "slices": num, "position": round(page / (num - 1), 2)},
            block=10 * page // num,
        )
        for page in range((choices.every - 1) // 2, num, choices.every)
    ]


def read(path: Path, ask: dict[str, Any]) -> Scan:
    """One slice, or its percentiles. Unreadable where it is damaged."""
    stack = _open(path, path.stat().st_mtime_ns)
    try:
        stack.seek(ask["page"])
        values = np.asarray(stack)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"is damaged in this slice ({type(error).__name__}): copy or export it again") from None
    if "measure" in ask:
        return Scan(ranges=[percentiles(values, *ask["measure"])])
    levels = to_levels(values, *ask["range"])
    if stack.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and stack.mode != "L":  # Pillow itself turns 8 bits round
        levels = 255 - levels
    return Scan(picture(levels), [*filter(None, [ask["said"]]), *strange_values(values)], bool(ask["skip_empty"]) and is_empty(levels))
