"""Which method an adapter file is of, with the settings under which that method takes in the whole file."""

from pathlib import Path
from typing import Any

from studio import registry
from studio.errors import StudioError
from studio.families.base import Card
from studio.families.signatures import identify
from studio.spec import MethodSpec


def describe_file(path: Path, card: Card) -> MethodSpec:
    """The settings; StudioError, by the method that the file is of, where it cannot be read; pydantic's error for odd numbers in it."""
    errors: dict[str, StudioError] = {}
    for key in registry.METHODS:
        method: Any = registry.method(key)
        try:
            return method.Spec(**method.describe(path, card))
        except StudioError as error:
            errors[key] = error
    kind = identify(path)
    own = kind.adapter.kind.lower() if kind.adapter else ""
    if kind.adapter and own not in errors:
        raise StudioError(f"{path}: this is {kind.words()}, a kind that is not read here: use a LoRA, LoHa or LoKr")
    raise errors.get(own) or next(iter(errors.values()))
