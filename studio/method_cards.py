"""The reference card of each recipe: what its method is, who published it when and where, when to use it and when not. No torch here."""

from dataclasses import asdict, dataclass
from typing import Any

from studio.errors import StudioError
from studio.recipes import list_recipes, load_recipe


@dataclass(frozen=True)
class MethodCard:
    """A card as people read it; what the recipe's file does not say is empty."""

    recipe: str
    title: str
    about: str
    what: str
    family: str
    year: int | None
    creators: str
    source: str  # the fundamental publication, whole
    other_names: tuple[str, ...]
    related: tuple[str, ...]  # recipes that are there
    use_when: str
    not_when: str


def read_card(recipe: str) -> MethodCard:
    """The card of a recipe; StudioError naming the known ones where there is no such recipe."""
    known = list_recipes()
    values = load_recipe(recipe)
    told = values.get("card") if isinstance(values.get("card"), dict) else {}
    year = told.get("year")
    return MethodCard(
        recipe=recipe,
        title=values["title"],
        about=values["about"],
        what=_text(told.get("what")) or values["about"],
        family=_text(told.get("family")),
        year=year if isinstance(year, int) and not isinstance(year, bool) else None,
        creators=_text(told.get("creators")),
        source=_text(told.get("source")) or _text(values.get("reference")),
        other_names=_texts(told.get("other_names")),
        related=tuple(r for r in _texts(told.get("related")) if r in known and r != recipe),
        use_when=_text(told.get("use_when")),
        not_when=_text(told.get("not_when")),
    )


def list_cards() -> list[MethodCard]:
    """The cards of all recipes, in the recipes' order."""
    return [read_card(name) for name in list_recipes()]


def find_card(recipe: str) -> MethodCard | None:
    """The card of a recipe, None where it is not there (any more)."""
    try:
        return read_card(recipe)
    except StudioError:
        return None


def for_page(card: MethodCard) -> dict[str, Any]:
    """A card as JSON, its related recipes as {"recipe", "title"}."""
    return asdict(card) | {"related": [{"recipe": name, "title": read_card(name).title} for name in card.related]}


def in_lines(card: MethodCard) -> str:
    """A card for a terminal."""
    rows = [
        ("What", card.what),
        ("Family", card.family),
        ("Year", str(card.year or "")),
        ("Creators", card.creators),
        ("Source", card.source),
        ("Other names", ", ".join(card.other_names)),
        ("Related", ", ".join(card.related)),
        ("Use it when", card.use_when),
        ("Not when", card.not_when),
    ]
    return "\n".join([f"{card.title} ({card.recipe})", *(f"  {name + ':':13}{text}" for name, text in rows if text)])


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(t for t in map(_text, value) if t) if isinstance(value, list) else ()
