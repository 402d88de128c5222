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

from studio.store import Workspace

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
EXPECTED = re.compile(r"Failed to load resource|Manifest|favicon|preload", re.IGNORECASE)  # the browser's own remarks


def find_browser() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    named = os.environ.get("DOMAIN_STUDIO_BROWSER")
    found = [named, *map(shutil.which, NAMES), *PLACES]
    return next((path for path in found if path and Path(path).exists()), None)


class Studio:
    """The studio as its own process on a workspace of its own."""

    def __init__(self, workspace: Path, *options: str, **env: str) -> None:
        self.workspace = Workspace.at(workspace)
        self._options, self._env = options, env
        self.program = ["-m", "studio.cli"]
        self.process: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> "Studio":
        """Start it and wait until it answers; again on the same port after a restart."""
        port = self.url.rpartition(":")[2] or "0"
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
                self.url = found.group()
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
            code = self.process.wait(20)
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


def address(page: Any) -> str:
    """Where the page is; asked of the page, for `page.url` is as it was when the browser was last spoken with."""
    return page.evaluate("location.href")


def wait_until(check: Any, what: str, seconds: float = PATIENCE_S) -> Any:
    """The first true answer of `check`, asked again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:g} s in vain: {what}")
