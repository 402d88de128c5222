"""Folders as kohya's trainers name them: `10_sks dog` holds pictures that are trained on ten times as often, of a subject and its class."""

import re
from collections.abc import Iterable
from math import gcd
from pathlib import Path

from studio.dataset.sources import Picture
from studio.errors import printable

_NAME = re.compile(r"(\d{1,3})_(.*\S)")
_CLASS_FOLDER = re.compile(r"regs?|reg[ _-]?(?:images|imgs?|data|dir|pics|folder)|regulari[sz]ation(?:[ _-]?(?:images|imgs?|data|dir))?")


def repeats_of(picture: Picture) -> tuple[int, str]:
    """(how often a picture counts, what its folder is called besides); (1, "") where none of its folders is named as kohya's."""
    found = _NAME.fullmatch(_folder(picture).name)
    if not found or not int(found[1]):
        return 1, ""
    return int(found[1]), " ".join(printable(found[2]).replace("_", " ").split())


def is_class_picture(picture: Picture) -> bool:
    """Whether a picture lies among kohya's regularisation pictures: `reg/1_dog`, or deeper."""
    folder = _folder(picture)
    return _NAME.fullmatch(folder.name) is not None and _CLASS_FOLDER.fullmatch(folder.parent.name.casefold()) is not None


def _folder(picture: Picture) -> Path:
    """The nearest folder above a picture that is named as kohya's, no further than what was given; else its own."""
    above = list(picture.path.parents)[: picture.label.count("/") + 1]
    return next((folder for folder in above if _NAME.fullmatch(folder.name)), picture.path.parent)


def proposal(pictures: Iterable[Picture]) -> dict[str, str]:
    """{"trigger", "class_noun"} where all pictures lie in folders of one subject, such as "sks dog"; else nothing."""
    words = {repeats_of(each)[1] for each in pictures if each.shot is None and not is_class_picture(each)}
    parts = next(iter(words)).split() if len(words) == 1 else []
    return {"trigger": parts[0], "class_noun": " ".join(parts[1:])} if 2 <= len(parts) <= 4 else {}


def shared_out(repeats: list[int]) -> list[int]:
    """`repeats` in lowest terms: where all count alike, each counts once."""
    divisor = gcd(*repeats) if repeats else 1
    return [each // max(1, divisor) for each in repeats]
