"""Fixtures for the screens: a running studio per module, a fresh page per test that fails on any error of a script."""

import pytest

from studio.dataset.intake import create_dataset
from studio.jobs.processes import supervisor
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import list_runs
from tests.fixtures.tiny import images, tiny_sd
from tests.ui.browser import FLAGS, Studio, WatchedPage, find_browser
from tests.ui.training import choose

COMPARED = ["train.steps=4", "train.batch_size=2", "method.rank=4", "method.lr=0.05", "train.snapshot_every=2", "train.early_stop=false"]
COMPARED += ["preview.every=2", "preview.steps=2", 'preview.prompts=["a red disc", "a blue bar"]', "evaluate.num_timesteps=2"]


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


@pytest.fixture(scope="session")
def idle_pages():
    """Pages that no story is at: in one that is warm the studio is there at half the cost of a new one."""
    return []


@pytest.fixture()
def new_page(chromium, idle_pages):
    """Give pages: new_page(url, width=1280, height=800, dark=False, **context options); any script error fails the test.

    Each is a browser of its own, with nothing stored. `ready` is what a page shows once it can be used.
    """
    given, ours = [], []

    def make(url, width=1280, height=800, dark=False, ready=".status-strip[data-state=ready]", **options):
        while idle_pages and not idle_pages[-1].is_of(url):  # of an earlier studio
            idle_pages.pop().close()
        page = idle_pages.pop() if idle_pages and not options else WatchedPage(chromium, **options)
        (ours if options else given).append(page)
        page.begin(url, {"width": width, "height": height}, "dark" if dark else "light", ready)
        return page.page

    yield make
    errors = [error for page in given + ours for error in page.errors]
    idle_pages += [page for page in given if page.leave()]
    for page in ours:
        page.close()
    assert not errors, errors


@pytest.fixture()
def page(studio, new_page):
    """A fresh page of the studio, at its first tab."""
    return new_page(studio.url)


@pytest.fixture(scope="module")
def shapes(studio, tiny_base):
    """A dataset of twelve pictures, beside the tiny base."""
    return create_dataset(studio.workspace, "shapes", [images(studio.workspace.root / "given", 12)])


@pytest.fixture()
def train(studio, shapes, new_page):
    """A page at the Train screen, the dataset and the tiny base chosen; all runs are ended afterwards."""
    page = new_page(f"{studio.url}/?tab=train&dataset=shapes")
    choose(page)
    yield page
    for run in list_runs(studio.workspace):
        if run.lives():
            supervisor.stop(run)


@pytest.fixture(scope="module")
def run(studio, shapes, tiny_base):
    """A finished run of a few steps, with snapshots, scores and previews."""
    made = create_run(studio.workspace, Request("shapes", base=tiny_base, settings=COMPARED))
    process = supervisor.start(made)
    for _ in supervisor.follow(made, process):
        pass
    assert made.status()["state"] == "finished", (made.folder / "log.txt").read_text()
    return made


@pytest.fixture()
def compare(studio, run, new_page):
    """A page at Compare, showing this run."""

    def at(**options):
        page = new_page(f"{studio.url}/?tab=compare&run={run.id}", **options)
        page.wait_for_selector(".compare-view[data-state=ready]")
        page.wait_for_selector(".compare-view .pane")
        page.get_by_role("radio", name="Wipe").click()  # an earlier test may have left a strip, and Sample would draw another
        return page

    return at
