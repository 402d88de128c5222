"""The live view in a real browser: how busy a page is that watches a run, and how soon a long run is shown.

A run of 5,000 steps gets ten more each second; `busy_percent` is the share of time in which the page's main thread worked (tasks of
the browser's own accounting), `idle_percent` the same for a page at another tab. `open_s` is from the click on a link to a run of
100,000 steps until its curve is drawn, first and again; `answer_s` and `answer_kib` are the route's part of it.

    python tests/bench/chart.py [--seconds S] [--steps N] [--rounds N]
"""

import http.client
import json
import math
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import parser, report
from playwright.sync_api import Page, sync_playwright

from studio.dataset.intake import create_dataset
from studio.jobs.runs.events import EventLog
from studio.jobs.runs.folders import Run, make_run
from studio.models.bases import find_base
from studio.recipes import Choice, resolve
from studio.store import Workspace
from tests.fixtures.tiny import images
from tests.ui.browser import FLAGS, Studio, find_browser

POINTS, PER_SECOND = 5000, 10


def make(workspace: Workspace, steps: int, written: int) -> Run:
    """A run folder that claims to train in this very process, with so many steps written."""
    data = create_dataset(workspace, f"shapes {steps}", [images(workspace.root / f"given-{steps}", 8)])
    run = make_run(workspace, resolve(Choice(data, find_base("starter"), name=f"{steps} steps", settings=[f"train.steps={steps}"])))
    lines = (json.dumps(_step(s)) for s in range(1, written + 1))
    run.events.write_text("\n".join(lines) + "\n")
    return run


def _step(step: int) -> dict[str, Any]:
    loss = 0.1 + math.exp(-step / 2000) + 0.1 * math.sin(step * 12.9898) ** 2
    return {"kind": "step", "time": round(time.time(), 3), "step": step, "loss": loss, "grad_norm": 1.0, "lr": 1e-3, "seconds": 0.1}


def grow(run: Run, first: int, ended: threading.Event) -> None:
    """Ten steps a second, as a training process writes them."""
    log, step = EventLog(run.events), first
    while not ended.wait(1 / PER_SECOND):
        step += 1
        values = {k: v for k, v in _step(step).items() if k not in {"kind", "time"}}
        log.emit("step", **values)
        if step % 50 == 0:
            run.write_status("running")


def busy_percent(page: Page, seconds: float) -> float:
    """The share of time in which the page's main thread had something to do."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def worked() -> float:
        return next(m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")

    began, before = time.perf_counter(), worked()
    page.wait_for_timeout(1000 * seconds)
    return 100 * (worked() - before) / (time.perf_counter() - began)


def open_seconds(page: Page, run: Run) -> float:
    """From choosing a run until its curve is drawn."""
    return page.evaluate(
        """run => new Promise(resolve => {
            const began = performance.now(), canvas = document.querySelector('.live-run .curves canvas');
            window.studio.place.set({ run });
            (function look() {
                if (document.querySelector('.live-run').dataset.run === run && canvas.getAttribute('aria-label').includes('at step')) {
                    requestAnimationFrame(() => requestAnimationFrame(() => resolve((performance.now() - began) / 1000)));
                } else requestAnimationFrame(look);
            })();
        })""",
        run.id,
    )


def ask(studio: Studio, run: Run) -> tuple[float, float]:
    """(seconds, KiB) of a whole answer about a run."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", int(studio.url.rpartition(":")[2]))
    connection.request("GET", f"/studio/runs/{run.id}/live")
    size = len(connection.getresponse().read())
    connection.close()
    return time.perf_counter() - began, size / 1024


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--seconds", type=float, default=15)
    arguments.add_argument("--steps", type=int, default=100_000)
    chosen = arguments.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root, sync_playwright() as playwright:
        workspace = Workspace.at(Path(root) / "workspace")
        long, short = make(workspace, chosen.steps, chosen.steps), make(workspace, 2 * POINTS, POINTS)
        long.write_status("stopped")
        short.write_status("running")
        ended = threading.Event()
        writer = threading.Thread(target=grow, args=(short, POINTS, ended))
        writer.start()
        studio = Studio(workspace.root).start()
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{studio.url}/?tab=train&run={short.id}")
            page.wait_for_selector(".live-run[data-state=ready]")
            page.wait_for_timeout(3000)
            figures["busy_percent"] = statistics.median(busy_percent(page, chosen.seconds) for _ in range(chosen.rounds))
            page.get_by_role("tab", name="Models").click()
            page.wait_for_timeout(3000)
            figures["idle_percent"] = busy_percent(page, chosen.seconds)
            page.get_by_role("tab", name="Train").click()
            page.wait_for_timeout(2000)
            figures["open_s"] = open_seconds(page, long)
            open_seconds(page, short)
            figures["open_again_s"] = open_seconds(page, long)
            figures["answer_s"], figures["answer_kib"] = ask(studio, long)
        finally:
            ended.set()
            writer.join()
            browser.close()
            studio.stop()
    report(**figures)


if __name__ == "__main__":
    main()
