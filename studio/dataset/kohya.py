"""Folders as kohya's trainers name them: `10_sks dog` holds pictures that are trained on ten times as often, of a subject and its class."""

import re
from collections.abc import Iterable
from math import gcd
from pathlib import Path

from studio.dataset.sources import Picture
from studio.errors import printable

MAX_REPEATS = 999
_NAME = re.compile(r"(\d{1,3})_(.*\S)")
_CLASS_FOLDERS = {"reg", "regs", "regularization", "regularisation", "reg_images"}


def repeats_of(path: Path) -> tuple[int, str]:
    """(how often the picture `path` counts, what its folder is called besides); (1, "") where the folder is none of kohya's."""
    found = _NAME.fullmatch(path.parent.name)
    if not found or not int(found[1]):
        return 1, ""
    return int(found[1]), " ".join(printable(found[2]).replace("_", " ").split())


def is_class_picture(path: Path) -> bool:
    """Whether `path` lies among kohya's regularisation pictures: `reg/1_dog`."""
    return _NAME.fullmatch(path.parent.name) is not None and path.parent.parent.name.casefold() in _CLASS_FOLDERS


def proposal(pictures: Iterable[Picture]) -> dict[str, str]:
    """{"trigger", "class_noun"} where all pictures lie in folders of one subject, such as "sks dog"; else nothing."""
    words = {repeats_of(each.path)[1] for each in pictures if each.shot is None and not is_class_picture(each.path)}
    parts = next(iter(words)).split() if len(words) == 1 else []
    return {"trigger": parts[0], "class_noun": " ".join(parts[1:])} if 2 <= len(parts) <= 4 else {}


def shared_out(repeats: list[int]) -> list[int]:
    """`repeats` in lowest terms: where all count alike, each counts once."""
    divisor = gcd(*repeats) if repeats else 1
    return [each // max(1, divisor) for each in repeats]
