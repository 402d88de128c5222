"""Facts about a picture (modality, plane, bands …) and the captions that templates make of them."""

import re
from collections.abc import Collection

from studio.errors import StudioError, printable

Facts = dict[str, str | int | float]
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")
SYNONYMS = {"region": ("body_part",), "view": ("projection", "plane")}  # what templates may call facts that have no such name


def fill(template: str, facts: Facts) -> str:
    """`template` with `{field}` from `facts`; a part in [brackets] is left out unless all its fields are known.

    A field that is not known and not in brackets leaves nothing behind.
    """

    def optional(match: re.Match) -> str:
        return match[1] if all(value_of(facts, name) for name in _FIELD.findall(match[1])) else ""

    text = _FIELD.sub(lambda match: value_of(facts, match[1]), _OPTIONAL.sub(optional, template))
    return " ".join(text.split()).strip(" ,;")


def value_of(facts: Facts, name: str) -> str:
    """The fact `name` as text, else the first for which it is another word; "" where none is known."""
    return next(filter(None, (str(facts.get(each, "")) for each in (name, *SYNONYMS.get(name, ())))), "")


def synonyms(known: Collection[str]) -> set[str]:
    """The other words for what is `known`."""
    return {name for name, others in SYNONYMS.items() if not set(others).isdisjoint(known)}


def check_template(template: str, known: set[str]) -> None:
    """StudioError where `template` names a field that is none of `known`, or is no template at all."""
    strange = sorted(set(_FIELD.findall(template)) - known - synonyms(known))
    if strange:
        raise StudioError(f"caption template: {{{printable(strange[0])[:40]}}} is not known: use {', '.join(sorted(known))}")
    check_partners(template, "caption template")


def check_partners(template: str, what: str, way_out: str = "") -> None:
    """StudioError, which begins with `what`, where a brace or a bracket has no partner, or one bracket lies in another."""
    if set("{}") & set(_FIELD.sub("", template)):
        raise StudioError(f"{what}: a brace has no partner: write {{name}} for a field{way_out}")
    if set("[]") & set(_OPTIONAL.sub("", template)):
        raise StudioError(f"{what}: a bracket has no partner, or one lies in another: write [, {{name}}] for a part that may be missing")
