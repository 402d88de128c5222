"""The Dataset screen as a person uses it: drop, look, write captions, remove, undo, take out."""

import io
import re
import zipfile
from urllib.parse import parse_qs

import pytest

from studio.dataset.rows import list_datasets, open_dataset
from studio.trash import list_trash
from tests.fixtures.tiny import images
from tests.ui.browser import drop, look_again, open_tab, shows, wait_until

HOSTILE = "a ${console.error(1)} {{value}} <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def forty(studio):
    """Forty pictures outside the studio, without captions."""
    return sorted(images(studio.workspace.root / "camera", 40, size_px=64, captions=False).glob("*.png"))


def card(page, number):
    return page.locator(".dataset-grid .card").nth(number)


def place(page):
    return {key: value[0] for key, value in parse_qs(page.evaluate("location.search.slice(1)")).items()}


def opened(page, total):
    """Wait until the grid shows a dataset of so many pictures."""
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    wait_until(lambda: page.locator(".dataset-grid .counts").inner_text().startswith(f"{total} image"), f"{total} images")


@pytest.fixture
def made(studio, new_page, forty):
    """A page with a dataset of ten pictures of its own open; (page, dataset)."""
    page = new_page(studio.url)
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    drop(page, "body", forty[:10])
    opened(page, 10)
    yield page, open_dataset(studio.workspace, place(page)["dataset"])


def test_dropped_pictures_become_a_dataset_and_what_was_not_taken_is_named(studio, page, forty, tmp_path):
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    bad = tmp_path / "<img src=x onerror=alert(1)>.png"
    bad.write_bytes(b"not a picture")
    drop(page, "#tab-dataset-button, [role=tab]", [*forty, bad])
    opened(page, 40)
    summary = page.locator(".dataset-import")
    wait_until(lambda: "Added 40 pictures to pictures." in summary.inner_text(), "the summary")
    shows(summary, "<img src=x onerror=alert(1)>.png holds text")
    wait_until(lambda: page.locator(".counts").inner_text().startswith("40 images · 35 train · 5 held out · 0 with caption · readiness "))
    wait_until(lambda: place(page)["dataset"] == "pictures")
    wait_until(lambda: page.locator("#dataset-picker input").input_value() == "pictures", "the picker")
    page.wait_for_function("[...document.querySelectorAll('.card img')].slice(0, 5).every(i => i.complete && i.naturalWidth === 64)")
    assert len(open_dataset(studio.workspace, "pictures").rows) == 40
    page.get_by_role("button", name="Train an adapter").wait_for()
    page.get_by_role("button", name="Train an adapter").click()
    wait_until(lambda: place(page).get("tab") == "train" and place(page)["dataset"] == "pictures", "the Train tab")


def test_captions_are_saved_when_left_and_never_run(made):
    page, dataset = made
    box = card(page, 0).locator("textarea")
    box.fill(HOSTILE)
    card(page, 1).locator("textarea").focus()
    card(page, 0).and_(page.locator("[data-caption=saved]")).wait_for()
    assert dataset.caption(dataset.rows[0]) == HOSTILE
    card(page, 1).locator("textarea").fill("x" * 2**16)
    page.keyboard.press("Control+Enter")
    wait_until(lambda: "cut at 8 KiB" in card(page, 1).inner_text(), "the cut is said")
    page.reload()
    opened(page, 10)
    wait_until(lambda: box.input_value() == HOSTILE)
    wait_until(lambda: card(page, 0).locator("img").get_attribute("alt") == HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    shows(card(page, 0), "edited")
    shows(card(page, 2), "no caption")


def test_a_caption_that_cannot_be_saved_stays_and_is_saved_later(studio, made):
    page, dataset = made
    studio.kill()
    try:
        card(page, 0).locator("textarea").fill("written in vain?")
        card(page, 1).locator("textarea").focus()
        wait_until(lambda: "Not saved: The studio does not answer" in card(page, 0).inner_text(), "the failure is said")
    finally:
        studio.start()
    page.reload()
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    wait_until(lambda: card(page, 0).locator("textarea").input_value() == "written in vain?")
    card(page, 0).locator("textarea").focus()
    card(page, 1).locator("textarea").focus()
    wait_until(lambda: dataset.caption(dataset.rows[0]) == "written in vain?", "saved at last")


def test_selected_pictures_are_removed_and_come_back(made, studio):
    page, dataset = made
    card(page, 2).locator(".thumb").click(modifiers=["Control"])
    card(page, 5).locator(".thumb").click(modifiers=["Shift"])
    page.get_by_role("toolbar", name="Selected pictures").get_by_text("4 selected").wait_for()
    card(page, 0).locator(".thumb").focus()
    page.keyboard.press("Space")
    told = page.get_by_role("toolbar", name="Selected pictures")
    told.get_by_text("5 selected", exact=True).wait_for()
    page.get_by_placeholder("Search captions and names").fill(dataset.rows[9].source)
    told.get_by_text("5 selected, 5 of them not in view").wait_for()
    told.get_by_role("button", name="Select all 1").wait_for()
    page.get_by_placeholder("Search captions and names").fill("")
    told.get_by_text("5 selected", exact=True).wait_for()
    page.get_by_role("button", name="Remove", exact=True).click()
    opened(page, 5)
    page.locator(".studio-toast").get_by_role("button", name="Undo").click()
    opened(page, 10)
    assert open_dataset(studio.workspace, dataset.root.name).rows == dataset.rows
    card(page, 9).locator(".thumb").click(modifiers=["Control"])
    page.keyboard.press("Delete")
    opened(page, 9)
    page.reload()
    opened(page, 9)
    page.get_by_text("Changes that can be undone").click()
    page.get_by_role("button", name="Undo: Removed 1 picture").click()
    opened(page, 10)


def test_a_rectangle_drawn_with_the_mouse_selects(made):
    page, _ = made
    first, last = (card(page, i).bounding_box() for i in (0, 1))
    told = page.get_by_role("toolbar", name="Selected pictures")

    def draw(start, end):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=5)
        page.mouse.up()

    middle = (first["x"] + first["width"] / 2, first["y"] + 60)
    draw(middle, (last["x"] + 30, last["y"] + 90))
    told.get_by_text("2 selected").wait_for()
    assert page.locator("dialog").count() == 0 and page.locator(".lasso").count() == 0, "the press on a picture was no click"
    third = card(page, 2).bounding_box()
    page.keyboard.down("Shift")
    draw((third["x"] + third["width"] / 2, third["y"] + 60), (third["x"] + third["width"] / 2 + 20, third["y"] + 80))
    page.keyboard.up("Shift")
    told.get_by_text("3 selected").wait_for()
    draw((last["x"] - 6, last["y"] + 20), (last["x"] + 30, last["y"] + 40))
    told.get_by_text("1 selected").wait_for()
    card(page, 0).locator(".thumb").click()
    page.get_by_role("dialog").wait_for()


def test_a_dropped_folder_is_read_to_the_bottom(studio, page, tmp_path):
    """A real drop, as the browser itself hands it out: the folder's name becomes the dataset's."""
    (tmp_path / "dropped scans" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "dropped scans" / ".hidden").mkdir()
    given = sorted(images(tmp_path / "given", 6, captions=False).glob("*.png"))
    for i, place_of in enumerate(("", "", "deep", "deep/er", "deep/er", ".hidden")):
        given[i].rename(tmp_path / "dropped scans" / place_of / given[i].name)
    (tmp_path / "dropped scans" / "deep" / "er" / (given[3].stem + ".txt")).write_text("from the depth")
    session, where = page.context.new_cdp_session(page), {"x": 600, "y": 400}
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(tmp_path / "dropped scans")], "dragOperationsMask": 1}
        session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    wait_until(lambda: place(page).get("dataset"), "the dataset is opened")
    opened(page, 5)
    dataset = open_dataset(studio.workspace, place(page)["dataset"])
    assert dataset.name == "dropped scans" and sorted(dataset.caption(r) for r in dataset.rows) == ["", "", "", "", "from the depth"]


def test_changes_of_many_captions_are_previewed_applied_and_undone(made):
    page, dataset = made
    tools = page.locator(".dataset-tools")
    tools.locator("select[aria-label=Captioner]").select_option(label="template")
    tools.get_by_role("textbox", name="Template").fill("a shape")
    tools.get_by_role("button", name="Preview template").click()
    tools.get_by_text("10 of 10 captions change").wait_for()
    tools.get_by_role("button", name="Caption all").click()
    wait_until(lambda: dataset.caption(dataset.rows[9]) == "a shape", "the template")
    wait_until(lambda: card(page, 9).locator("textarea").input_value() == "a shape", "the grid follows")
    tools.get_by_label("Trigger word").fill("brainmri")
    tools.get_by_role("button", name="Add to captions that lack it").click()
    tools.locator("ins", has_text="brainmri, a shape").first.wait_for()
    tools.get_by_role("button", name="Change 10").click()
    wait_until(lambda: dataset.caption(dataset.rows[0]) == "brainmri, a shape", "the trigger word")
    card(page, 1).locator(".thumb").click(modifiers=["Control"])
    tools.get_by_label("Find", exact=True).fill("SHAPE")
    tools.get_by_label("Replace with").fill("<b>form</b>")
    tools.get_by_role("button", name="Preview find and replace").click()
    tools.get_by_text("1 of 1 captions changes").wait_for()
    tools.get_by_role("button", name="Change 1", exact=True).click()
    wait_until(lambda: dataset.caption(dataset.rows[1]) == "brainmri, a <b>form</b>", "find and replace")
    page.locator(".studio-toast", has_text="find and replace").get_by_role("button", name="Undo").click()
    wait_until(lambda: dataset.caption(dataset.rows[1]) == "brainmri, a shape", "undo")
    page.reload()
    wait_until(lambda: tools.get_by_label("Trigger word").input_value() == "brainmri", "the trigger word is kept")


def test_filters_words_and_the_large_view(made):
    page, dataset = made
    page.get_by_role("radio", name="Held out").click()
    wait_until(lambda: page.locator(".card").count() == len(dataset.held_out_rows), "the held-out ones")
    wait_until(lambda: place(page)["filter"] == "held_out")
    page.get_by_role("radio", name="All").click()
    page.get_by_label("Search captions and names").fill("007")
    wait_until(lambda: page.locator(".card").count() == 1, "the search")
    page.get_by_label("Search captions and names").fill("")
    wait_until(lambda: page.locator(".card").count() == 10, "all again")
    card(page, 0).locator(".thumb").click()
    large = page.get_by_role("dialog", name="Large picture")
    page.wait_for_function("document.querySelector('.lightbox-picture').naturalWidth === 64")
    page.keyboard.press("ArrowRight")
    large.get_by_text("2 of 10").wait_for()
    page.keyboard.press("Escape")
    large.wait_for(state="detached")


def test_files_may_be_dropped_on_any_screen_pasted_and_chosen(made, studio, forty):
    page, dataset = made
    open_tab(page, "Models")
    drop(page, "body", forty[10:12])
    summary = page.locator(".dataset-import")
    wait_until(lambda: f"Added 2 pictures to {dataset.name}" in summary.inner_text(), "dropped on Models")
    summary.get_by_role("button", name="Show").click()
    opened(page, 12)
    data = list(forty[12].read_bytes())
    page.evaluate(
        """bytes => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([new Uint8Array(bytes)], 'image.png', {type: 'image/png'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, cancelable: true, clipboardData}));
        }""",
        data,
    )
    opened(page, 13)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add images").click()
    chooser.value.set_files([str(f) for f in forty[13:15]])
    opened(page, 15)
    drop(page, "body", forty[:3])
    wait_until(lambda: "Nothing new" in summary.inner_text() and "3 files were not taken" in summary.inner_text(), "known ones are said")


def test_a_folder_brings_its_name_and_captions(studio, page, tmp_path):
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    images(tmp_path / "my scans" / "inner", 3)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(str(tmp_path / "my scans"))
    opened(page, 3)
    dataset = open_dataset(studio.workspace, "my-scans")
    assert dataset.name == "my scans" and dataset.caption(dataset.rows[1]) == "a green square"


def test_another_screen_may_claim_what_is_dropped(studio, page, forty):
    before = len(list_datasets(studio.workspace))
    page.evaluate("window.addEventListener('studio:files', e => { window.claimed = e.detail.files.length; e.preventDefault(); })")
    drop(page, "body", forty[:1])
    assert page.evaluate("window.claimed") == 1
    page.wait_for_timeout(500)
    assert len(list_datasets(studio.workspace)) == before and page.locator(".dataset-import").count() == 0


def test_a_demo_is_one_click_away(studio, page):
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    page.locator(".dataset-grid").get_by_role("button", name="Brain MRI").first.click()
    opened(page, 75)
    wait_until(lambda: "axial T1" in card(page, 0).locator("textarea").input_value())
    late = []
    page.route("**/studio/datasets/*?offset=60*", lambda route: route.continue_() if late else late.append(route))
    page.get_by_role("button", name="Next", exact=True).click()
    wait_until(lambda: late or page.wait_for_timeout(50), "the question for the second page")
    look_again(page)
    wait_until(lambda: page.locator(".card").count() == 15, "the second page, although another look overtakes its first answer")
    late[0].continue_()
    page.wait_for_timeout(200)
    wait_until(lambda: page.locator(".card").count() == 15)


def test_rename_export_delete_and_bring_back(made, studio):
    page, dataset = made
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name").fill("<b>Scans</b>")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    wait_until(lambda: page.locator("#dataset-picker input").input_value() == "<b>Scans</b>", "the new name")
    page.locator("#dataset-export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download zip").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert len(archive.namelist()) == 20 and archive.testzip() is None
    out = studio.workspace.root / f"out-{dataset.root.name}"
    page.get_by_role("textbox", name="Folder").fill(str(out))
    page.get_by_role("button", name="Copy to folder").click()
    page.get_by_text(f"Written to {out}").wait_for()
    assert len(list(out.iterdir())) == 20
    page.get_by_role("button", name="Copy to folder").click()
    page.get_by_role("alert").filter(has_text="exists already").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close", exact=True).click()
    page.locator("#dataset-delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    wait_until(lambda: "dataset" not in place(page), "nothing is open")
    assert not dataset.root.exists() and list_trash(studio.workspace)[0]["title"] == "<b>Scans</b>"
    page.locator(".studio-toast").get_by_role("button", name="Undo").click()
    opened(page, 10)
    wait_until(dataset.root.exists, "the folder is back")


def test_two_browsers_see_each_other_and_lose_nothing(made, new_page, studio):
    page, dataset = made
    other = new_page(f"{studio.url}/?dataset={dataset.root.name}")
    opened(other, 10)
    card(other, 0).locator("textarea").fill("theirs")
    card(other, 1).locator("textarea").focus()
    wait_until(lambda: dataset.caption(dataset.rows[0]) == "theirs", "theirs is saved")
    look_again(page)
    wait_until(lambda: card(page, 0).locator("textarea").input_value() == "theirs", "the other page follows")
    card(page, 1).locator("textarea").fill("mine")
    card(page, 1).locator(".thumb").focus()
    wait_until(lambda: dataset.caption(dataset.rows[1]) == "mine", "mine is saved")
    for each in (page, other):
        card(each, 2).locator(".thumb").click(modifiers=["Control"])
    for each in (page, other):
        each.get_by_role("button", name="Remove", exact=True).click()
    opened(page, 9)
    opened(other, 9)
    wait_until(lambda: "removed in another window" in other.locator("#studio-toasts").inner_text(), "the second press is told")


def test_a_dataset_that_is_gone_or_damaged_is_said_where_one_looks(made, studio):
    page, dataset = made
    away = dataset.root.with_name(".away")
    dataset.root.rename(away)
    look_again(page)
    alert = page.locator(".dataset-grid").get_by_role("alert")
    wait_until(lambda: re.search("no dataset is called|not here any more", alert.first.inner_text()), "the reason")
    away.rename(dataset.root)
    opened(page, 10)  # seen without looking again
    (dataset.root / "dataset.json").write_text("{")
    look_again(page)
    wait_until(lambda: "is damaged" in alert.first.inner_text(), "the damage")


def test_five_hundred_at_once_and_cancel(studio, new_page, tmp_path):
    page = new_page(studio.url)
    page.wait_for_selector(".dataset-grid[data-state=empty]")
    files = sorted(images(tmp_path / "many", 500, captions=False).glob("*.png"))
    drop(page, "body", files)
    opened(page, 500)
    wait_until(lambda: page.locator(".card").count() == 60)
    panel = page.locator(".dataset-import")
    panel.get_by_role("button", name="Close").click()
    more = sorted(images(tmp_path / "more", 300, size_px=128, captions=False).glob("*.png"))
    drop(page, "body", more)
    panel.get_by_role("button", name="Cancel").click()
    wait_until(lambda: "Cancelled: nothing was added." in panel.inner_text(), "cancelled")
    wait_until(lambda: not list((studio.workspace.root / "incoming").iterdir()), "the space is free")
    wait_until(lambda: len(open_dataset(studio.workspace, place(page)["dataset"]).rows) == 500)
