"""The Export screen: from a run to a file that other programs read, verified before it is offered."""

from ui.desk import Desk
from ui.frame import widget


def build(desk: Desk) -> None:
    """The screen; what can be chosen is asked for when it is shown."""
    widget("export_view")
