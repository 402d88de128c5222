"""Which method an adapter file is of, with the settings under which that method takes in the whole file."""

from pathlib import Path
from typing import Any

from studio import registry
from studio.errors import StudioError
from studio.families.adapter_names import split_end
from studio.families.base import Card
from studio.families.header import read_header
from studio.families.signatures import identify
from studio.families.signs import EMBEDDING
from studio.methods.imports import NOT_CONTINUED, is_weighed
from studio.methods.lora_files import is_dora
from studio.spec import MethodSpec


def describe_file(path: Path, card: Card) -> MethodSpec:
    """The settings; StudioError, by the method that the file is of, where it cannot be read; pydantic's error for odd numbers in it."""
    check_continued(path)
    errors: dict[str, StudioError] = {}
    for key in registry.METHODS:
        method: Any = registry.method(key)
        try:
            return method.Spec(**method.describe(path, card))
        except StudioError as error:
            errors[key] = error
    kind = identify(path)
    own = kind.adapter.kind.lower() if kind.adapter else "textual_inversion" if kind.what == EMBEDDING else ""
    if kind.adapter and own not in errors:
        raise StudioError(f"{path}: this is {kind.words()}, a kind that is not read here: use a LoRA, LoHa or LoKr")
    raise errors.get(own) or next(iter(errors.values()))


def check_continued(path: Path) -> None:
    """StudioError for a file that no method here can go on with, with the way out."""
    if is_foreign(path) and not is_dora(path):
        raise StudioError(f"{path}: this is {identify(path).words()}, {NOT_CONTINUED}")


def is_foreign(path: Path) -> bool:
    """Whether an adapter file is drawn and merged by its formula alone, as no method here makes all that its kind may be; by its header.

    DoRA (continued where `lora_files.is_dora`), differences of weights, LoKr whose small factor is one of two parts, and files in which
    layers are of several kinds.
    """
    names = list(read_header(path).shapes)
    kinds = {split_end(name)[2] for name in names} - {""}
    return len(kinds) > 1 or kinds == {"full difference"} or is_weighed(names) or any("lokr_w1_a" in name for name in names)
