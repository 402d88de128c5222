"""The README's pictures, taken from the real studio: the story of the brain MRI demo, from the first screen to the export.

    python tests/bench/screenshots.py [--out FOLDER] [--keep WORKSPACE]

It needs a Chromium or Chrome and about five minutes; everything on the pictures is what the studio really did meanwhile.
"""

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

from common import ROOT
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from tests.ui.browser import FLAGS, Studio, find_browser, open_tab, wait_until

SIZE = {"width": 1280, "height": 800}
PATIENCE_S = 600


class Camera:
    """Takes a screen, or a part of it, in dark or light into a small PNG."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page, self._folder = page, folder

    def take(self, name: str, dark: bool, part: Locator | None = None) -> None:
        toggle = "for (const e of [document.documentElement, document.body]) e.classList.toggle('dark', dark);"
        self._page.evaluate("dark => {" + toggle + " dispatchEvent(new Event('resize')); }", dark)
        self._page.wait_for_timeout(800)
        picture = Image.open(io.BytesIO((part or self._page).screenshot())).convert("RGB")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}-{'dark' if dark else 'light'}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")

    def both(self, name: str, part: Locator | None = None) -> None:
        self.take(name, dark=True, part=part)
        self.take(name, dark=False, part=part)


def story(page: Page, camera: Camera) -> None:
    """The five clicks, with a picture at each stop."""
    camera.both("welcome")
    page.get_by_role("button", name="Brain MRI").click()
    page.wait_for_selector(".dataset-grid[data-state=ready] [data-file]")
    page.wait_for_timeout(1500)
    camera.both("dataset")
    page.get_by_role("button", name="Train an adapter").click()
    page.get_by_role("button", name="Train adapter", exact=True).click()
    page.wait_for_selector(".live-run img[alt*='step']", timeout=PATIENCE_S * 1000)
    wait_until(lambda: len(page.query_selector_all(".live-run img")) >= 8, "two rows of previews", PATIENCE_S)
    camera.both("train")
    page.locator(".live-run").get_by_text("Adapter ready").first.wait_for(timeout=PATIENCE_S * 1000)
    camera.both("finished")
    camera.both("verdict", judged(page))
    page.locator(".live-run").get_by_role("button", name="Compare").click()
    page.wait_for_selector(".compare-view[data-state=ready]", timeout=PATIENCE_S * 1000)
    page.get_by_label("Count", exact=True).fill("4")
    page.get_by_role("button", name="Sample", exact=True).click()
    page.wait_for_selector(".compare-view[data-state=busy]")
    page.wait_for_selector(".compare-view[data-state=ready]:not([data-drawing^=preview])", timeout=PATIENCE_S * 1000)
    page.wait_for_timeout(1000)
    camera.both("compare")
    second_method(page)
    open_tab(page, "Runs")
    page.get_by_role("checkbox", name="Select all shown runs").check()
    page.wait_for_selector(".runs-board[data-state=ready]", timeout=PATIENCE_S * 1000)
    page.wait_for_timeout(2000)
    camera.both("runs")
    page.locator(".runs-board tr.differs").first.evaluate("e => e.closest('.panel').scrollIntoView({ block: 'start' })")
    camera.both("board")
    open_tab(page, "Export")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_text("Verified").first.wait_for(timeout=PATIENCE_S * 1000)
    camera.both("export")
    open_tab(page, "Models")
    page.wait_for_timeout(1500)
    camera.both("models")


def second_method(page: Page) -> None:
    """Another method on the same pictures, to be compared with the first."""
    open_tab(page, "Train")
    page.get_by_label("Textual inversion").check()
    page.get_by_role("button", name="Train adapter", exact=True).click()
    page.wait_for_selector(".live-run[data-run-state=running]", timeout=PATIENCE_S * 1000)
    page.wait_for_selector(".live-run[data-run-state=finished]", timeout=PATIENCE_S * 1000)
    judged(page)


def judged(page: Page) -> Locator:
    """The panel with the verdict on the run that is shown."""
    panel = page.locator(".live-run .judged")
    panel.get_by_role("button", name="Judge this adapter").click()
    panel.locator(".pairs li").first.wait_for(timeout=PATIENCE_S * 1000)
    panel.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    return panel


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=ROOT / "assets" / "pictures" / "screens")
    arguments.add_argument("--keep", type=Path, help="use and keep this workspace")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        studio = Studio(chosen.keep or Path(temporary) / "workspace", OMP_NUM_THREADS="2").start()
        browser: Any = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        try:
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(PATIENCE_S * 1000)
            page.goto(studio.url)
            page.wait_for_selector(".status-strip[data-state=ready]")
            story(page, Camera(page, chosen.out))
        finally:
            browser.close()
            studio.stop()


if __name__ == "__main__":
    main()
