"""What routes and tabs share: the workspace, and the helpers that work on it for this process."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from studio.store import Workspace


@dataclass
class Desk:
    """One studio process at one workspace; whatever lasts lies in the workspace, not here."""

    workspace: Workspace
    is_local: bool = True  # bound to a loopback address, without strangers
    resident: Any = field(init=False, default=None)
    imports: Any = field(init=False, default=None)
    views: Any = field(init=False, default=None)
    live: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        for name, where, kind in (
            ("resident", "studio.jobs.resident_client", "Resident"),
            ("imports", "ui.imports", "Imports"),
            ("views", "studio.dataset.views", "Views"),
            ("live", "studio.jobs.metrics", "LiveRuns"),
        ):
            try:
                setattr(self, name, getattr(import_module(where), kind)(self.workspace))
            except ModuleNotFoundError as error:
                if error.name != where:
                    raise

    def close(self) -> None:
        """End what must not outlive this process; runs do."""
        for part in (self.resident, self.imports, self.views):
            if hasattr(part, "close"):
                part.close()
