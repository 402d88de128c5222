"""What a setting is: a pydantic field with its title, help, unit and bounds; what a group of them takes, and what is wrong with one."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from studio.errors import StudioError


class Settings(BaseModel):
    """A group of settings; unknown names are errors, and true is no number."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and "bool" not in str(cls.model_fields[info.field_name].annotation):
            raise StudioError("must be a number or text, not true or false")
        return value


def setting(
    default: Any,
    title: str,
    description: str,
    *,
    unit: str = "",
    advanced: bool = True,
    personal: bool = False,
    needs_text: bool = False,
    **bounds: Any,
) -> Any:
    """A pydantic field that carries all a form, a help text and a docs table need.

    What is `personal` goes into no exported file; what `needs_text` is not there for base models that read none.
    """
    told = {"unit": unit, "advanced": advanced, "personal": personal, "needs_text": needs_text}
    return Field(default, title=title, description=description, json_schema_extra=told, **bounds)


def explain(error: ValidationError) -> str:
    """The first problem of a pydantic error as `setting: what is wrong (is …)`."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(p) for p in first["loc"] if not isinstance(p, int)).replace("methods.", "method.")
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to ")[0]
    message = message.partition(", got ")[0].replace("a valid integer", "an integer").replace("a valid number", "a number")
    given = first.get("input")
    shown = "" if isinstance(given, dict) else f" (is {str(given)[:60]!r})"
    return f"{place or 'settings'}: {message}{shown}"
