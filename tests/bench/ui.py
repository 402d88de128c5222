"""The studio as a process: how soon it answers, what it holds, how it bears a large dataset and ten pages that watch a training.

`start_s` is from the command to the first page (median); `memory_mib` after every tab's first requests. The grid is filled with
--pictures pictures through the upload route. For polling, ten pages' worth of requests (for the status and the run) run beside a
real training on the embedded model, in blocks without, with, without, … : the slowdown is the median quotient of neighbouring
blocks, of the run's own step times; on shared machines it needs many long blocks.

    python tests/bench/ui.py [--rounds N] [--pictures N] [--pages N] [--visible N] [--blocks N] [--block-s S]
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, Client, ask, parser, report

from studio.jobs.runs.events import read_events
from studio.store import Workspace
from tests.fixtures.tiny import images
from tests.ui.browser import Studio, wait_until

PORT = 7990
TABS = ("datasets", "runs", "drawings", "exports", "models", "status")


def start_seconds(workspace: Path) -> float:
    """Seconds from the command until the first page has been answered."""
    began = time.perf_counter()
    words = ["ui", "--no-browser", "--port", str(PORT), "--workspace", str(workspace)]
    process = subprocess.Popen([sys.executable, "-m", "studio.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                if ask("/", PORT)[0] == 200:
                    return time.perf_counter() - began
            except OSError:
                time.sleep(0.02)
    finally:
        process.terminate()
        process.wait()


def fill(client: Client, pictures: list[Path]) -> dict[str, float]:
    """Upload pictures as the page does, and have them read; seconds of both."""
    began = time.perf_counter()
    made = client.json("/studio/imports", "POST", {"dataset": None, "name": "many"})["id"]
    waiting = list(pictures)

    def send() -> None:
        while waiting:
            path = waiting.pop()
            status, data, _ = ask(f"/studio/imports/{made}/files?name={path.name}", client.port, "PUT", path.read_bytes())
            assert status < 400, data[:300]

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    sent = time.perf_counter()
    client.json(f"/studio/imports/{made}/finish", "POST", {})
    state = wait_until(lambda: (s := client.json(f"/studio/imports/{made}"))["state"] in ("finished", "failed") and s, "the import", 900)
    assert state["state"] == "finished", state
    return {"upload_s": sent - began, "read_s": time.perf_counter() - sent, "dataset": state["dataset"]}


class Pages:
    """Pages that watch a run: each asks for the status and for what is new in the run, once a second, hidden ones each five seconds."""

    def __init__(self, client: Client, run: str, number: int, visible: int) -> None:
        self._client, self._run, self.times, self._ended = client, run, [], threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(i / number, 1 if i < visible else 5)) for i in range(number)]

    def __enter__(self) -> "Pages":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, offset: float, every: float) -> None:
        cursor = 0
        self._ended.wait(offset * every)
        while not self._ended.wait(every):
            self.times.append(self._client.seconds("/studio/status"))
            status, data, seconds = ask(f"/studio/runs/{self._run}/live?after={cursor}", self._client.port)
            assert status == 200, data[:300]
            cursor = json.loads(data)["cursor"]
            self.times.append(seconds)


def watch_training(studio: Studio, client: Client, pages: tuple[int, int], blocks: int, block_s: float) -> dict[str, float]:
    """p95 of the answers while a run trains, and how much slower its steps are than without pages."""
    client.json("/studio/datasets/demo", "POST", {"demo": "brain-mri"})
    words = [
        "train",
        "--dataset",
        "brain-mri",
        "--set",
        "train.steps=100000",
        "--set",
        "preview.every=0",
        "--set",
        "train.snapshot_every=100000",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "studio.cli", *words, "--workspace", str(studio.workspace.root)], stdout=subprocess.PIPE
    ) as follower:
        run = follower.stdout.readline().decode().split()[-1]
        path = studio.workspace.runs / run / "events.jsonl"
        wait_until(lambda: any(e["kind"] == "step" and e["step"] > 20 for e in read_events(path)[0]), "the first steps", 120)
        medians, times = [], []
        for block in range(blocks):
            began = time.time()
            if block % 2:
                with Pages(client, run, *pages) as watching:
                    time.sleep(block_s)
                times += watching.times
            else:
                time.sleep(block_s)
            steps = [e["seconds"] for e in read_events(path)[0] if e["kind"] == "step" and began + 1 < e["time"] < began + block_s]
            medians.append(statistics.median(steps))
        client.json(f"/studio/runs/{run}/stop", "POST", {})
        follower.wait()
    ratios = [medians[i] / ((medians[i - 1] + medians[i + 1]) / 2) for i in range(1, len(medians) - 1, 2)]
    return {
        "answers": len(times),
        "p50_ms": 1000 * statistics.median(times),
        "p95_ms": 1000 * statistics.quantiles(times, n=20)[-1],
        "slowdown_percent": 100 * (statistics.median(ratios) - 1),
        "step_s": statistics.median(medians),
    }


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--pictures", type=int, default=2000)
    arguments.add_argument("--pages", type=int, default=10)
    arguments.add_argument("--visible", type=int, default=1, help="of the pages; a browser shows one")
    arguments.add_argument("--blocks", type=int, default=9, help="odd: without, with, without, …")
    arguments.add_argument("--block-s", type=float, default=15)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as root:
        starts = [start_seconds(Path(root) / "start") for _ in range(chosen.rounds)]
        figures: dict[str, Any] = {"start_s": statistics.median(starts), "start_s_all": [round(s, 2) for s in starts]}
        studio = Studio(Workspace.at(Path(root) / "busy").root).start()
        client, memory = Client(studio), psutil.Process(studio.process.pid).memory_info
        try:
            client.seconds("/")
            for area in TABS:
                client.seconds(f"/studio/{area}")
            figures["memory_mib"] = memory().rss / 2**20
            pictures = sorted(images(Path(root) / "given", chosen.pictures, captions=False).glob("*.png"))
            figures |= fill(client, pictures)
            name = figures.pop("dataset")
            first = [client.seconds(f"/studio/datasets/{name}?offset={offset}&limit=60") for offset in range(0, chosen.pictures, 60)]
            figures |= {"grid_page_ms": 1000 * statistics.median(first), "grid_page_ms_worst": 1000 * max(first)}
            figures["memory_mib_after_import"] = memory().rss / 2**20
            figures |= watch_training(studio, client, (chosen.pages, chosen.visible), chosen.blocks, chosen.block_s)
            figures["memory_mib_at_the_end"] = memory().rss / 2**20
        finally:
            studio.stop()
    report(**figures)


if __name__ == "__main__":
    main()
