"""The choices for scans and scenes as options of a command: each is declared once, in `readers.base.Choices`."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from studio.dataset.readers.base import Choices, parse_choices


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with an option for each choice; it is called with all of them as `choices`."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in Choices.model_fields if name in kwargs}
        return function(*args, choices=parse_choices(given), **kwargs)

    own = inspect.signature(function).parameters.values()
    run.__signature__ = inspect.Signature([*(p for p in own if p.name != "choices"), *map(_option, Choices.model_fields)])  # type: ignore[attr-defined]
    return run


def _option(name: str) -> inspect.Parameter:
    field = Choices.model_fields[name]
    told = f"{field.title}: {field.description[0].lower()}{field.description[1:]}."
    option = typer.Option(f"--{name.replace('_', '-')}", help=told, rich_help_panel="Scans and scenes")
    if field.annotation is bool:
        option = typer.Option(f"--{name.replace('_', '-')}/--no-{name.replace('_', '-')}", help=told)
    kind = Annotated[field.annotation, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kind)
