"""Resident memory of a run over 1,000 steps of the tiny model, read every 100 steps: it must not grow.

The run has everything on as by default: events, averaging, held-out scores, previews, snapshots and resume points. The first
200 steps fill caches; growth is counted after them.

    python tests/bench/memory.py [--rounds N]      N times 100 steps
"""

import tempfile
from pathlib import Path
from typing import Any

import psutil
from common import load, num_threads, parser, picture_dataset, report, spec_with

from studio.device import peak_memory_gib
from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import make_run
from studio.jobs.training.hooks import RunHooks
from studio.store import Workspace
from studio.train.loop import train
from tests.fixtures.runs import training
from tests.fixtures.tiny import tiny_sd

EVERY, WARM = 100, 200  # steps
TARGET_GROWTH_MIB = 8.0  # what an allocator may keep without anything growing: the run holds hundreds


class Watch:
    """Passes events on and reads the resident memory every EVERY steps."""

    def __init__(self, log: EventLog) -> None:
        self.log, self.mib, self._process = log, [], psutil.Process()

    def emit(self, kind: str, **values: Any) -> None:
        self.log.emit(kind, **values)
        if kind == "step" and values["step"] % EVERY == 0:
            self.mib.append(round(self._process.memory_info().rss / 2**20, 1))


def measure(root: Path, steps: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    base, workspace = tiny_sd(root / "base"), Workspace.at(root / "workspace")
    dataset, _ = picture_dataset(workspace, root / "pictures")
    settings = [f"train.steps={steps}", "train.batch_size=4", "train.early_stop=false", "method.rank=4"]
    run = make_run(workspace, spec_with(dataset, base, *settings))
    state = training(workspace, dataset, load(base), run.spec(), run.folder)
    watch = Watch(EventLog(run.events))
    hooks = RunHooks(run, state, watch.emit, lambda: False)
    hooks.prepare()
    train(state, hooks, watch.emit)
    warm = watch.mib[WARM // EVERY - 1 :]
    return {
        "steps": state.step,
        "rss_mib": watch.mib,
        "first_mib": watch.mib[0],
        "last_mib": watch.mib[-1],
        "growth_after_warm_up_mib": warm[-1] - warm[0] if warm else None,
        "largest_after_warm_up_mib": max(warm) - warm[0] if warm else None,
        "target_growth_mib": TARGET_GROWTH_MIB,
        "peak_gib": peak_memory_gib(state.parts.device),
    }


def main() -> None:
    rounds = parser(__doc__, 10).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        report(what="memory", threads=num_threads(), **measure(Path(place), rounds * EVERY))


if __name__ == "__main__":
    main()
