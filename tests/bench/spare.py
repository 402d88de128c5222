"""How soon a run's first training step comes after the click: with a spare process at hand, and without.

A small dataset on the embedded base, everything encoded beforehand; both ways in turn, medians of the rounds.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from common import num_threads, parser, report

from studio.dataset.intake import create_dataset
from studio.jobs.processes import supervisor
from studio.jobs.processes.supervisor import spawn
from studio.jobs.runs.create import Request, create_run
from studio.store import Workspace
from tests.fixtures.tiny import images

SETTINGS = ["train.steps=2", "preview.every=0", "evaluate.num_timesteps=1"]
READY_S = 60


def first_step_s(workspace: Workspace, log: Path, with_spare: bool) -> float:
    """Seconds from starting a run to its first step."""
    spare = spawn("studio.jobs.spare", log=log, talking=True) if with_spare else None
    if spare:
        _wait_idle(spare.pid)
    run = create_run(workspace, Request("shapes", preset="quick", settings=SETTINGS))
    began = time.monotonic()
    process = supervisor.start(run, spare)
    while not (run.events.exists() and b'"kind": "step"' in run.events.read_bytes()):
        if process.poll():
            raise RuntimeError((run.folder / "log.txt").read_text())
        time.sleep(0.01)
    seconds = time.monotonic() - began
    process.wait()
    return seconds


def _wait_idle(pid: int) -> None:
    """Until a process has done its imports: it uses no more processor time."""
    import psutil

    process, last, deadline = psutil.Process(pid), -1.0, time.monotonic() + READY_S
    while time.monotonic() < deadline:
        used = sum(process.cpu_times()[:2])
        if used == last and used > 1:
            return
        last = used
        time.sleep(1)


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    import statistics

    workspace = Workspace.at(root / "workspace")
    create_dataset(workspace, "shapes", [images(root / "pictures", 12)])
    seconds: dict[str, list[float]] = {"plain": [], "spare": []}
    first_step_s(workspace, root / "log.txt", False)  # encodes the pictures
    for _ in range(rounds):
        for way, taken in seconds.items():
            taken.append(round(first_step_s(workspace, root / "log.txt", way == "spare"), 2))
    return {"seconds": seconds, **{f"{way}_median_s": statistics.median(taken) for way, taken in seconds.items()}}


def main() -> None:
    rounds = parser(__doc__, 5).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        report(what="spare", threads=num_threads(), **measure(Path(place), rounds))


if __name__ == "__main__":
    main()
