"""A real browser and a real studio process, for stories told as a person would live them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from studio.store import Workspace
from tests.fixtures.waiting import wait_until as wait_until  # stories take it from here

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/usr/bin/chromium-headless-shell",
    "/usr/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"]
FLAGS += ["--js-flags=--min-semi-space-size=32"]  # MiB: the rubbish of a story is looked through less often, a twentieth of its work
INERT = "/studio/static/place.js"  # a text of the studio without a script that runs
EXPECTED = re.compile(r"Failed to load resource|Manifest|favicon|preload", re.IGNORECASE)  # the browser's own remarks


def find_browser() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    named = os.environ.get("DOMAIN_STUDIO_BROWSER")
    found = [named, *map(shutil.which, NAMES), *PLACES]
    return next((path for path in found if path and Path(path).exists()), None)


class Studio:
    """The studio as its own process on a workspace of its own."""

    place = ""  # the address of the last one

    def __init__(self, workspace: Path, *options: str, **env: str) -> None:
        self.workspace = Workspace.at(workspace)
        self._options, self._env = options, env
        self.program = ["-m", "studio.cli"]
        self.process: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> "Studio":
        """Start it, where the last one was if that is free: what a browser knows from there it need not load again."""
        port = (self.url or Studio.place).rpartition(":")[2] or "0"
        self._log = open(self.workspace.root / "studio-under-test.log", "a+")  # noqa: SIM115
        words = ["ui", "--no-browser", "--port", port, "--workspace", str(self.workspace.root), *self._options]
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DOMAIN_STUDIO_SPARE": "0",
            "DOMAIN_STUDIO_DEBUG": "1",
            **self._env,
        }
        self.process = subprocess.Popen(
            [sys.executable, *self.program, *words], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        for line in self.process.stdout:
            found = re.search(r"https?://[^\s/]+", line)
            if found and " is at " in line:
                self.url = Studio.place = found.group()
                return self
        raise AssertionError(f"the studio did not start: {self.log()}")

    def log(self) -> str:
        return (self.workspace.root / "studio-under-test.log").read_text()

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._log.close()

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process.stdout.close()
        self._log.close()
        return code

    def restart(self) -> "Studio":
        """Kill it and start it again at the same address."""
        self.kill()
        return self.start()

    def get(self, path: str) -> bytes:
        """What a plain GET answers."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()


class WatchedPage:
    """A page in a browser context of its own, which notes each error of a script and can serve one story after another."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_S * 1000)
        self.page, self.errors = self.context.new_page(), []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, line: Any) -> None:
        if line.type == "error" and not EXPECTED.search(line.text):
            self.errors.append(line.text)

    def is_of(self, url: str) -> bool:
        """Whether `url` is of the studio that the page was at: Chromium mixes up equal scripts of two that one process has seen."""
        return urljoin(url, INERT) == self.page.url

    def begin(self, url: str, size: dict[str, int], look: str, ready: str) -> None:
        """Go to `url`, and wait until it shows `ready`."""
        self.page.set_viewport_size(size)
        self.page.emulate_media(color_scheme=look)
        self.page.goto(url, wait_until="domcontentloaded")
        self.page.wait_for_selector(ready)

    def leave(self) -> bool:
        """Forget all that a story has left; False, and closed, where that cannot be."""
        try:
            self.page.unroute_all(behavior="ignoreErrors")
            for other in self.context.pages:
                if other != self.page:
                    other.close()
            self.page.mouse.move(0, 0)
            self.page.goto(urljoin(self.page.url, INERT), timeout=2000)
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
            self.context.clear_cookies()
        except Exception:  # a studio that is gone, or a page that hangs: the next story gets another
            self.close()
            return False
        self.errors.clear()
        return True

    def close(self) -> None:
        self.context.close()


def drop(page: Any, selector: str, files: Sequence[Path]) -> None:
    """Drop files on an element, as from a file manager."""
    make = "const i = document.createElement('input'); i.type = 'file'; i.multiple = true; i.id = 'to-drop';"
    page.evaluate("() => {" + make + " document.body.append(i); }")
    page.set_input_files("#to-drop", [str(f) for f in files])
    page.evaluate(
        """selector => {
            const input = document.getElementById('to-drop'), data = new DataTransfer();
            for (const file of input.files) data.items.add(file);
            input.remove();
            for (const type of ['dragenter', 'dragover', 'drop'])
                document.querySelector(selector).dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
        }""",
        selector,
    )


def open_tab(page: Any, label: str) -> None:
    """Go to a tab as a person does."""
    page.get_by_role("tab", name=label, exact=True).click()
    settle(page)


def unfold(page: Any, selector: str) -> None:
    """Open what is folded under this selector."""
    page.locator(f"{selector} > button").click()
    settle(page)


def settle(page: Any) -> None:
    """Wait as long as a person would before typing: Gradio fills controls that have just appeared once more, a frame later."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


def look_again(page: Any) -> None:
    """Come back to the page as from another window: it asks at once what it asks every few seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def address(page: Any) -> str:
    """Where the page is; asked of the page, for `page.url` is as it was when the browser was last spoken with."""
    return page.evaluate("location.href")


def shows(locator: Any, *words: str) -> None:
    """Wait until all these words stand there: what an answer fills may come after what another one fills."""
    deadline = time.monotonic() + PATIENCE_S
    while lacking := [word for word in words if word not in (text := locator.inner_text())]:
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {lacking}: {text}"
        time.sleep(0.05)
