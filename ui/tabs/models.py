"""The Models screen: the base models on this machine, and where more may lie."""

from ui.desk import Desk
from ui.frame import widget


def build(desk: Desk) -> None:
    """The screen; the list asks for its rows itself."""
    widget("models_list")
