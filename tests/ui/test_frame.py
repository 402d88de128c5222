"""The frame: what every screen shares, in a real browser."""

import json
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from studio.jobs.runs.folders import make_run
from studio.models.bases import find_base
from studio.recipes import Choice, resolve
from tests.fixtures.tiny import images
from tests.ui.browser import ROOT, address, open_tab, settle, shows, wait_until

TABS = ["Dataset", "Train", "Compare", "Runs", "Export", "Models"]


def _tab(page):
    return page.get_by_role("tab", selected=True).inner_text()


def test_six_tabs_in_the_order_of_the_work(page):
    wait_until(lambda: [t.inner_text() for t in page.get_by_role("tab").all()] == TABS)
    assert _tab(page) == "Dataset"
    wait_until(lambda: page.locator(".status-strip .strip").inner_text() == "Idle. Drop images anywhere to start.")
    page.get_by_role("button", name="Log out").wait_for(state="hidden")


def test_every_tab_opens_and_is_told_in_the_address(page):
    for label in TABS[1:]:
        open_tab(page, label)
        wait_until(lambda label=label: parse_qs(urlsplit(address(page)).query).get("tab") == [label.lower()], f"?tab={label.lower()}")


def test_a_deep_link_opens_its_tab(studio, new_page):
    page = new_page(studio.url + "/?tab=models")
    wait_until(lambda: _tab(page) == "Models", "the tab of the address")
    page.reload()
    wait_until(lambda: _tab(page) == "Models", "the tab of the address after a reload")


def test_a_strange_tab_in_the_address_does_no_harm(studio, new_page):
    page = new_page(studio.url + "/?tab=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&run=../../etc")
    assert _tab(page) == "Dataset"


def test_keys_change_tabs_and_tell_the_shortcuts(page):
    page.keyboard.press("4")
    wait_until(lambda: _tab(page) == "Runs", "key 4")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    shows(dialog, "move the wipe")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


@pytest.mark.parametrize("dark", [False, True])
def test_dark_and_light_follow_the_system_and_can_be_chosen(studio, new_page, dark):
    page = new_page(studio.url, dark=dark)

    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    wait_until(lambda: background() == ("rgb(13, 17, 23)" if dark else "rgb(246, 247, 249)"), f"dark={dark}")
    page.get_by_role("button", name="Switch between dark and light").click()
    wait_until(lambda: background() == ("rgb(246, 247, 249)" if dark else "rgb(13, 17, 23)"), "the other look")
    page.reload()
    page.wait_for_selector(".status-strip[data-state=ready]")
    wait_until(lambda: background() == ("rgb(246, 247, 249)" if dark else "rgb(13, 17, 23)"), "the chosen look after a reload")


def test_nothing_is_loaded_from_the_network(studio, new_page):
    page = new_page(studio.url)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_selector(".status-strip[data-state=ready]")
    for label in TABS:
        open_tab(page, label)
        page.wait_for_timeout(300)
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert len(asked) > 20
    assert hosts == {"127.0.0.1"}, hosts


def test_a_page_at_rest_asks_for_no_frames(page):
    """A page may watch a run for hours, on the machine that trains."""
    page.evaluate(
        """() => {
            const frame = window.requestAnimationFrame;
            window.frames_asked = 0;
            window.requestAnimationFrame = act => { window.frames_asked += 1; return frame(act); };
        }"""
    )

    def asked_in_half_a_second():
        page.evaluate("window.requestAnimationFrame(() => { window.frames_asked = 1; })")
        page.wait_for_timeout(500)
        return page.evaluate("window.frames_asked")

    wait_until(lambda: 1 <= asked_in_half_a_second() <= 4, "rest; thirty, where something never stops")


def test_copies_on_the_page_are_the_browsers_own(page):
    """Texts and numbers are handed back as they are, which is a quarter of the work of an answer; all else is copied, or refused."""
    told = page.evaluate(
        """() => {
            const values = ['a', 1, true, null, undefined, 2n], rows = [{a: [1]}, new Date(5)], [row, date] = structuredClone(rows);
            const refused = [() => 1, Symbol('s')].map(v => { try { structuredClone(v); } catch (e) { return e.name; } });
            const buffer = new ArrayBuffer(8);
            structuredClone(buffer, {transfer: [buffer]});
            const isOne = values.every(v => Object.is(structuredClone(v), v));
            return [isOne, row !== rows[0], row.a !== rows[0].a, row.a[0], date.getTime(), ...refused, buffer.byteLength];
        }"""
    )
    assert told == [True, True, True, 1, 5, "DataCloneError", "DataCloneError", 0]


@pytest.mark.parametrize("label", [t.lower() for t in TABS])
def test_nothing_is_wider_than_the_page(studio, new_page, label):
    """On a telephone from the start, and on a screen whose window is drawn larger and smaller again."""
    page = new_page(f"{studio.url}/?tab={label}", width=390)
    page.wait_for_timeout(500)
    for width in (390, 1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_status_strip_tells_only_what_is_true(studio, page, tiny_base):
    """A run that claims to run, but whose process is gone, is not shown as running."""
    from studio.dataset.intake import create_dataset

    data = create_dataset(studio.workspace, "frame", [images(studio.workspace.root / "given", 4)])
    run = make_run(studio.workspace, resolve(Choice(data, find_base(tiny_base, studio.workspace))))
    (run.folder / "status.json").write_text(json.dumps({"state": "running", "pid": 1, "started": 1.0, "boot": "another"}))
    page.wait_for_timeout(1500)
    wait_until(lambda: page.locator(".status-strip .strip").inner_text() == "Idle. Drop images anywhere to start.")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=ROOT)
    try:
        import psutil

        run.write_status("running", psutil.Process(process.pid))
        strip = page.locator(".status-strip .strip")
        wait_until(lambda: run.id in strip.inner_text(), "the run")
        shows(strip, "step 0/")
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: "Idle" in strip.inner_text(), "the truth about a killed process")


def test_a_workspace_that_is_gone_is_said(studio, page):
    away = studio.workspace.root.with_name("moved-away")
    studio.workspace.root.rename(away)
    try:
        alert = page.locator(".status-strip .strip [role=alert]")
        alert.wait_for()
        shows(alert, "is gone", "--workspace")
    finally:
        if studio.workspace.root.exists():
            studio.workspace.root.rename(studio.workspace.root.with_name("empty"))
        away.rename(studio.workspace.root)
    wait_until(lambda: "Idle" in page.locator(".status-strip .strip").inner_text(), "the workspace is back")


def test_a_script_that_does_not_come_is_said_in_its_place(studio, new_page):
    page = new_page(studio.url)
    page.route("**/dataset_grid.js", lambda route: route.abort())
    page.reload()
    page.locator("#dataset-grid", has_text="did not answer").wait_for()
    page.wait_for_selector(".status-strip[data-state=ready]")  # the rest is there


def test_a_studio_that_is_gone_is_said_and_found_again(studio, new_page):
    page = new_page(studio.url)
    page.wait_for_function("() => !document.querySelector('.studio-widget[data-state=loading]')")  # its scripts are all there
    studio.kill()
    try:
        wait_until(lambda: "does not answer" in page.locator(".status-strip .strip").inner_text(), "the studio is gone")
    finally:
        studio.start()
    wait_until(lambda: "Idle" in page.locator(".status-strip .strip").inner_text(), "the studio is back")
