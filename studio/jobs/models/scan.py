"""Looking through all places for models in a process of its own: `python -m studio.jobs.models.scan ROOT`, a JSON line for each model."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from studio import quiet
from studio.errors import StudioError
from studio.jobs.models.listing import EMBEDDED, detail_models
from studio.jobs.processes.talking import Say, carry_out
from studio.models.places import model_places
from studio.store import Workspace, read_json, write_json

NOT_YET = "not looked through yet"
SECONDS = 60.0  # for walking through all places; headers are read afterwards


def shelf(workspace: Workspace) -> dict[str, Any]:
    """What the last look found, {"models", "places", "memory"}, with the places of now; before the first one the embedded models alone."""
    found = None
    with contextlib.suppress(StudioError, KeyError, TypeError):
        value = read_json(_file(workspace))
        found = value if isinstance(value["models"], list) and isinstance(value["places"], list) else None
    found = found or detail_models(workspace, only=EMBEDDED)
    looked = {place["path"]: place for place in found["places"]}
    places = [looked.get(str(p), {"path": str(p), "models": 0, "note": NOT_YET}) for p in model_places(workspace)]
    return found | {"places": places}


def _file(workspace: Workspace) -> Path:
    return workspace.cache / "models.json"


def main(root: Path) -> int:
    """Look, tell how far it is, keep what was found."""
    quiet.silence()
    return carry_out(lambda _, say: _look(Workspace.at(root), say))


def _look(workspace: Workspace, say: Say) -> dict[str, Any]:
    """Look through all places; what was found is kept for `shelf`."""
    found = detail_models(workspace, lambda done, total, name: say(done=done, total=total, note=name), seconds=SECONDS)
    write_json(_file(workspace), found)
    return {"state": "finished", "text": f"{len(found['models'])} models and other files"}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
