"""Facts about a picture (modality, plane, bands …) and the captions that templates make of them."""

import re

from studio.errors import StudioError, printable

Facts = dict[str, str | int | float]
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")


def fill(template: str, facts: Facts) -> str:
    """`template` with `{field}` from `facts`; a part in [brackets] is left out unless all its fields are known.

    A field that is not known and not in brackets leaves nothing behind.
    """

    def optional(match: re.Match) -> str:
        return match[1] if all(str(facts.get(name, "")) for name in _FIELD.findall(match[1])) else ""

    text = _FIELD.sub(lambda match: str(facts.get(match[1], "")), _OPTIONAL.sub(optional, template))
    return " ".join(text.split()).strip(" ,;")


def check_template(template: str, known: set[str]) -> None:
    """StudioError where `template` names a field that is none of `known`."""
    strange = sorted(set(_FIELD.findall(template)) - known)
    if strange:
        raise StudioError(f"caption template: {{{printable(strange[0])[:40]}}} is not known: use {', '.join(sorted(known))}")
