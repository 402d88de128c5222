"""Seconds from nothing to a first adapter: a fresh workspace, a demo, `train --preset quick`, as typed on the command line.

Nothing is compared but the held-out loss: `held_out_ratio` is adapted over base on pictures the run has not seen, the
geometric mean over pictures. `phases_s` are seconds after the train command began. Without --base the embedded model is adapted.

    python tests/bench/first_adapter.py [--rounds N] [--demo NAME] [--base FOLDER] [--set KEY=VALUE]...
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, parser, report

from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run
from studio.store import Workspace, read_json

TARGET_S = 300.0
PHASES = {"loaded": "base_loaded", "cached": "cached", "started": "base_measured_and_drawn", "step": "first_step", "finished": "finished"}


def studio(workspace: Workspace, *args: str) -> tuple[dict[str, Any], float]:
    """(the answer, seconds) of a command of the studio; its own words where it fails."""
    command = [sys.executable, "-m", "studio.cli", *args, "--workspace", str(workspace.root), "--json"]
    began = time.time()
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    if ended.returncode:
        sys.exit(ended.stdout)
    return json.loads(ended.stdout.splitlines()[-1]), time.time() - began


def phases(events: list[dict[str, Any]], began: float) -> dict[str, float]:
    """Seconds from `began` to the first event of each phase."""
    times: dict[str, float] = {}
    for event in events:
        if event["kind"] in PHASES:
            times.setdefault(PHASES[event["kind"]], round(event["time"] - began, 2))
    return times


def first_adapter(root: Path, demo: str, options: list[str]) -> dict[str, Any]:
    """One story in a fresh workspace below `root`."""
    workspace = Workspace.at(root)
    _, dataset_s = studio(workspace, "dataset", "new", "demo", "--demo", demo)
    began = time.time()
    answer, train_s = studio(workspace, "train", "--dataset", "demo", "--preset", "quick", *options)
    run = Run(workspace.runs / answer["run"])
    events, _ = read_events(run.events)
    chosen = read_json(run.folder / "scores.json")["chosen"]
    score = chosen["held_out"] or {}
    return {
        "total_s": dataset_s + train_s,
        "dataset_s": dataset_s,
        "train_s": train_s,
        "phases_s": phases(events, began),
        "steps": answer["steps"],
        "steps_s": sum(e["seconds"] for e in events if e["kind"] == "step"),
        "previews": sum(e["kind"] == "preview" for e in events),
        "chosen_step": chosen["step"],
        "held_out_ratio": math.exp(score["log_ratio"]) if score else None,
        "better_on": [score["num_better"], score["num_images"]] if score else None,
        "peak_gib": events[-1].get("peak_memory_gib"),
    }


def main() -> None:
    line = parser(__doc__, 1)
    line.add_argument("--demo", default="brain-mri", metavar="NAME")
    line.add_argument("--base", default="", metavar="FOLDER", help="another base model than the embedded one")
    line.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="a setting of the run")
    asked = line.parse_args()
    options = [part for setting in asked.settings for part in ("--set", setting)]
    options += ["--base", str(Path(asked.base).resolve())] if asked.base else []
    stories = []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as place:
            stories.append(first_adapter(Path(place), asked.demo, options))
    median = sorted(stories, key=lambda story: story["total_s"])[(len(stories) - 1) // 2]
    totals = [round(story["total_s"], 1) for story in stories]
    report(what="first_adapter", demo=asked.demo, rounds=asked.rounds, cores=os.cpu_count(), **median, totals_s=totals, target_s=TARGET_S)


if __name__ == "__main__":
    main()
