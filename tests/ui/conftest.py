"""Fixtures for the screens: a running studio per module, a fresh page per test that fails on any error of a script."""

import pytest

from tests.fixtures.tiny import tiny_sd
from tests.ui.browser import EXPECTED, FLAGS, PATIENCE_S, Studio, find_browser


@pytest.fixture(scope="session")
def chromium():
    """One real browser for all stories."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: python launch.py test installs it")
    path = find_browser()
    if not path:
        pytest.skip("no Chromium or Chrome here: install one, or name it in DOMAIN_STUDIO_BROWSER")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A running studio on an empty workspace: `.url`, `.workspace`, `.restart()`, `.kill()`."""
    running = Studio(tmp_path_factory.mktemp("workspace")).start()
    yield running
    if running.process.poll() is None:
        running.stop()
    assert "Traceback" not in running.log(), running.log()[-3000:]


@pytest.fixture(scope="module")
def tiny_base(studio):
    """A tiny Stable Diffusion in the workspace's models folder; its name there."""
    tiny_sd(studio.workspace.models / "tiny")
    return "tiny"


@pytest.fixture()
def new_page(chromium):
    """Make pages: new_page(url, width=1280, height=800, dark=False, **context options); any script error fails the test.

    `ready` is what a page shows once it can be used.
    """
    contexts, errors = [], []

    def make(url, width=1280, height=800, dark=False, ready=".status-strip[data-state=ready]", **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options)
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" and not EXPECTED.search(line.text) else None)
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_selector(ready)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture()
def page(studio, new_page):
    """A fresh page of the studio, at its first tab."""
    return new_page(studio.url)
