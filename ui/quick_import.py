"""Imports Gradio without the half of its start that helps nobody here.

While it is imported, Gradio parses the source of each of its components to write a `.pyi` file beside it (editors read those; they came
with the package). For classes that are in no file it skips this, so it is told that for its own: `inspect.getfile` raises OSError for
them, only meanwhile. That halves the time of the import, and nothing is written into the installed packages.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any


def import_gradio() -> Any:
    """The module `gradio`."""
    honest: Callable[[Any], str] = inspect.getfile

    def getfile(thing: Any) -> str:
        if inspect.isclass(thing) and thing.__module__.partition(".")[0] == "gradio":
            raise OSError("not now")
        return honest(thing)

    inspect.getfile = getfile
    try:
        return importlib.import_module("gradio")
    finally:
        inspect.getfile = honest
