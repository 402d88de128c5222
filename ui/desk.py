"""What routes and tabs share: the workspace, and the helpers that work on it for this process."""

import os
from contextlib import suppress
from dataclasses import dataclass, field

from studio.dataset.views import Views
from studio.errors import StudioError
from studio.jobs.datasets.checkups import create_checkup
from studio.jobs.datasets.readings import Readings
from studio.jobs.errands import Errands
from studio.jobs.resident_client import Resident
from studio.jobs.runs.metrics import LiveRuns
from studio.store import Workspace
from ui.imports import Imports


@dataclass
class Desk:
    """One studio process at one workspace; whatever lasts lies in the workspace, not here."""

    workspace: Workspace
    is_local: bool = True  # bound to a loopback address, without strangers
    has_login: bool = False
    resident: Resident = field(init=False)
    imports: Imports = field(init=False)
    views: Views = field(init=False)
    live: LiveRuns = field(init=False)
    errands: Errands = field(init=False)
    readings: Readings = field(init=False)

    def __post_init__(self) -> None:
        self.resident = Resident(self.workspace)
        self.imports = Imports(self.workspace, self.check_soon)
        self.views = Views(self.workspace)
        self.live = LiveRuns(self.workspace)
        self.errands = Errands(self.workspace)
        self.readings = Readings(self.workspace)

    def warm(self) -> None:
        """Have slow imports done before they are needed; DOMAIN_STUDIO_SPARE=0 does without, where memory is short."""
        if os.environ.get("DOMAIN_STUDIO_SPARE", "1") != "0":
            self.resident.warm()

    def check_soon(self, dataset: str) -> None:
        """Have the doctor look over a dataset into which pictures have come; DOMAIN_STUDIO_CHECK=0 leaves that to who asks for it."""
        if os.environ.get("DOMAIN_STUDIO_CHECK", "1") == "0":
            return
        with suppress(StudioError, OSError):  # nobody has asked for it; it can be asked for
            checkup, is_new = create_checkup(self.workspace, dataset)
            if is_new:
                self.resident.look(checkup.id)

    def close(self) -> None:
        """End what must not outlive this process; runs do."""
        for part in (self.resident, self.imports, self.views, self.errands, self.readings):
            part.close()
