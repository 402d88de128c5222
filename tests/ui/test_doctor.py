"""From a messy folder to a clean, split dataset in the browser: the doctor names, a person decides, everything can be undone."""

import re

import pytest
from PIL import Image

from studio.dataset.intake import DEMOS
from studio.dataset.rows import open_dataset
from tests.dataset.messy import SPOILED, fill
from tests.ui.browser import Studio, drop, shows, wait_until


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio that looks over what comes in by itself, as it does for a person."""
    running = Studio(tmp_path_factory.mktemp("workspace"), DOMAIN_STUDIO_CHECK="1").start()
    yield running
    running.stop()
    assert "Traceback" not in running.log(), running.log()[-3000:]


def finding(page, check):
    return page.locator(f".findings li[data-check={check}]")


def score(page):
    return int(page.locator(".doctor .score").inner_text())


def look_at_blurred(page):
    """A finding's pictures are shown, and all again."""
    finding(page, "blurred").get_by_role("button", name="Show").click()
    wait_until(lambda: page.locator(".dataset-grid .card").count() == 1, "the blurred one alone")
    wait_until(lambda: page.locator(".dataset-grid .card .name").inner_text() == "bad blurred.png")
    page.wait_for_function("document.querySelector('.dataset-grid .card').getBoundingClientRect().top < innerHeight")
    wait_until(lambda: page.get_by_role("radio", name="Doctor: blurred").get_attribute("aria-checked") == "true")
    page.get_by_role("radio", name="All").click()


def review_near(page):
    """Groups side by side, decided by keys; two of four are left."""
    finding(page, "near").get_by_role("button", name="Review").click()
    dialog = page.get_by_role("dialog", name="Near duplicates")
    shows(dialog, "1 of 4")
    wait_until(lambda: dialog.locator(".twin").count() == 2)
    shows(dialog.locator(".twin:not(.out)"), "proposal")
    wait_until(lambda: dialog.locator(".twin.out").count() == 1)
    page.keyboard.press("ArrowRight")
    wait_until(lambda: "2 of 4" in dialog.inner_text(), "the second group")
    page.keyboard.press("k")  # keep all of it
    wait_until(lambda: "2 of 3" in dialog.inner_text(), "the next group")
    page.keyboard.press("1")
    page.keyboard.press("1")
    page.keyboard.press("Enter")  # as marked
    wait_until(lambda: "2 of 2" in dialog.inner_text(), "one more decided")
    dialog.locator(".studio-toast.undo").last.get_by_role("button", name="Undo").wait_for()  # within reach while the dialog is open
    page.keyboard.press("Escape")
    wait_until(lambda: "4 pictures in 2 groups" in finding(page, "near").inner_text(), "two groups left")


def split_by_name(page):
    """Held-out pictures are chosen anew, in groups by a part of their names."""
    page.get_by_role("button", name="Split …").click()
    split = page.get_by_role("dialog", name="Split")
    split.get_by_label("Groups by").select_option("name")
    split.get_by_label("Pattern", exact=True).fill("(")
    split.get_by_role("alert").wait_for()
    split.get_by_label("Pattern", exact=True).fill(r"good (\d)")
    wait_until(lambda: "3 named groups" in split.inner_text(), "the preview")
    split.get_by_role("button", name="Split anew").click()
    split.wait_for(state="detached")


def test_a_messy_folder_leaves_as_a_clean_split_dataset(studio, page, tmp_path):
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    drop(page, "body", sorted(fill(tmp_path / "in").iterdir()))
    for check in (*SPOILED, "exact", "near", "turned", "no_caption", "skipped"):
        finding(page, check).wait_for()
    wait_until(lambda: page.locator(".doctor .checking .bar").count() == 0, "what the pictures show, compared unasked", 120)
    wait_until(lambda: "not yet compared" not in page.locator(".doctor").inner_text(), "the findings of what was compared")
    first = score(page)
    counts = page.locator(".counts")
    wait_until(lambda: re.search(rf"readiness {first} ▸ \d+ things to look at", counts.inner_text()), "the same score above the pictures")

    finding(page, "skipped").get_by_role("button", name="Show").click()
    told = page.get_by_role("dialog", name="Not taken at import")
    shows(told, "corrupt.png is cut short", "notes.png holds text")
    told.get_by_role("button", name="Close").click()

    look_at_blurred(page)
    review_near(page)
    finding(page, "borders").get_by_role("button", name="Trim 1").click()
    finding(page, "borders").wait_for(state="detached")
    finding(page, "exact").get_by_role("button", name="Exclude 1 copy").click()
    finding(page, "exact").wait_for(state="detached")
    wait_until(lambda: score(page) > first, "a better score")
    page.locator(".studio-toast.undo").last.get_by_role("button", name="Undo").click()
    finding(page, "exact").wait_for()

    split_by_name(page)
    name = page.evaluate("new URLSearchParams(location.search).get('dataset')")
    dataset = open_dataset(studio.workspace, name)
    tens = {}
    for row in dataset.rows:
        if row.source.startswith("good"):
            tens.setdefault(row.source[5], set()).add(row.split)
    assert len(tens) == 3 and all(len(sides) == 1 for sides in tens.values())
    box = next(row for row in dataset.rows if row.source == "bad borders.png")
    assert box.edit and box.framing.box_px(box.width, box.height)[1] > 20
    assert len([path for path in dataset.root.iterdir() if path.suffix in (".png", ".jpg")]) == len(dataset.rows)


def test_a_check_begins_by_itself_is_followed_and_can_be_stopped(studio, page, tmp_path):
    page.wait_for_selector(".dataset-grid")
    page.goto(f"{studio.url}/?tab=dataset")
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    page.get_by_role("button", name="Load demo").click()
    page.locator(".dataset-dialog [data-demo=icons]").click()
    stop = page.get_by_role("button", name="Stop checking")
    stop.click()  # it has begun by itself
    wait_until(lambda: "Stopped" in page.locator(".doctor .checking").inner_text(), "the end of the check")
    shows(page.locator(".doctor"), "not yet compared")
    page.get_by_role("button", name="Check", exact=True).click()
    wait_until(lambda: "not yet compared" not in page.locator(".doctor").inner_text(), "the whole check", 120)
    assert score(page) >= 94


def test_a_picture_that_lies_on_its_side_is_shown_beside_itself_turned_and_what_is_done_is_undone(studio, page, tmp_path):
    for i, path in enumerate(sorted((DEMOS / "brain-mri").glob("coronal*.png"))[:20]):
        image = Image.open(path).convert("RGB")
        (image.transpose(Image.Transpose.ROTATE_270) if i == 6 else image).save(tmp_path / f"slice {i:02}.png")
    page.goto(f"{studio.url}/?tab=dataset")
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    drop(page, "body", sorted(tmp_path.iterdir()))
    finding(page, "lying").get_by_role("button", name="Review").click()
    dialog = page.get_by_role("dialog", name="Rotated")
    dialog.locator(".turn-row").wait_for()  # one alone
    shows(dialog, "slice 06.png", "counter-clockwise")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # the row, by keyboard alone
    dialog.get_by_role("button", name="Leave 1").wait_for()
    page.keyboard.press("Space")
    dialog.get_by_role("button", name="Turn 1").click()
    finding(page, "lying").wait_for(state="detached")
    name = page.evaluate("new URLSearchParams(location.search).get('dataset')")
    assert [row.source for row in open_dataset(studio.workspace, name).rows if row.framing.turns == 3] == ["slice 06.png"]
    page.locator(".studio-toast.undo").last.get_by_role("button", name="Undo").click()
    finding(page, "lying").wait_for()
