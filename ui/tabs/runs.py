"""The Runs screen: every run in a table, chosen ones side by side."""

from ui.desk import Desk
from ui.frame import widget


def build(desk: Desk) -> None:
    """The screen; the table asks for its rows itself."""
    widget("runs_table")
