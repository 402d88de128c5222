"""Captions by a template, behind the interface of the captioners: made of what is known of each picture, which is not looked at."""

from collections.abc import Sequence
from pathlib import Path

from studio.dataset.captioners.base import Ask, Facts, Suggestion
from studio.dataset.rows import Row
from studio.dataset.templates import check, template

BATCH = 256
FACTS = Facts("template", prompt="template", sees="facts", licence="none: there is no model")


class Template:
    """A captioner without a model: its prompt is the template."""

    batch = BATCH

    def caption(self, pictures: Sequence[Row], ask: Ask) -> list[Suggestion]:
        """One caption per row; "" and why where nothing that the template names is known of the picture."""
        ask.alive()
        write = template(ask.prompt, ask.fields, ask.trigger)
        return [Suggestion(text, reason="" if text else "nothing that the template names is known of it") for text in map(write, pictures)]

    def unload(self) -> None:
        """Nothing to give back."""


def check_ask(ask: Ask) -> None:
    """StudioError in one line where the template cannot be written by."""
    check(ask.prompt, ask.fields, ask.trigger)


def load(folder: Path | None = None) -> Template:
    """It has no folder."""
    return Template()
