"""Captions that a base does not read to their end are shown cut: on Train for the chosen base, and beside the text on Dataset."""

import shutil

import pytest

from studio.dataset.intake import create_dataset
from tests.fixtures.tiny import images
from tests.ui.browser import address, open_tab, wait_until

LONG = "an axial slice of the upper brain, T1 weighted, " * 12 + "with the last word 😀 <b>never</b>"
MIDDLE = "tree " * 25 + "leaves"  # more than the tiny base reads, letter by letter, less than the embedded one


@pytest.fixture(scope="module")
def words(studio, tiny_base):
    folder = images(studio.workspace.root / "given", 4)
    for name, text in (("001", MIDDLE), ("002", LONG)):
        (folder / f"{name}.txt").write_text(text, "utf-8")
    (folder / "mute").mkdir()
    for i in range(4):
        shutil.copy(folder / f"{i:03}.png", folder / "mute")
    (folder / "mute" / "000.txt").write_text("a tree", "utf-8")
    create_dataset(studio.workspace, "mute", [folder / "mute"])
    shutil.rmtree(folder / "mute")
    return create_dataset(studio.workspace, "words", [folder])


def test_train_shows_each_caption_that_its_base_cuts(studio, words, new_page):
    page = new_page(f"{studio.url}/?tab=train&dataset=words")
    note = page.locator(".train-note .reading[data-state=told]")
    note.get_by_text("1 of 4 captions is longer than starter reads (32 tokens)").wait_for()
    base = page.locator("#train-form").get_by_label("Base", exact=True)
    base.click()
    page.get_by_role("option", name="tiny").click()
    summary = note.get_by_text("2 of 4 captions are longer than tiny reads (77 tokens)")
    summary.wait_for()
    note.locator("s").first.wait_for(state="hidden")
    summary.click()
    cut = note.locator("li", has_text="002.png").locator("s")
    cut.wait_for()
    wait_until(lambda: cut.inner_text().endswith("with the last word 😀 <b>never</b>"))
    wait_until(lambda: note.locator("li").count() == 2)
    page.locator("#train-form").get_by_label("Preview prompts").fill("a tree")
    page.locator("#train-form").get_by_label("Name", exact=True).click()  # the form is asked again
    page.wait_for_timeout(800)
    cut.wait_for()  # the list stays open
    chosen = page.locator("#train-form").get_by_label("Dataset", exact=True)
    chosen.click()
    page.get_by_role("option", name="mute").click()
    note.get_by_text("3 of 4 pictures have no caption.").wait_for()
    note.get_by_role("button", name="Write captions").click()
    page.locator(".dataset-grid[data-state=ready]").get_by_text("3").first.wait_for()
    wait_until(lambda: "tab=dataset" in address(page) and "dataset=mute" in address(page), "its dataset, where captions are written")


def test_the_editor_says_what_the_chosen_base_does_not_read_while_one_types(studio, words, new_page):
    page = new_page(f"{studio.url}/?tab=dataset&dataset=words")
    card = page.locator("article.card", has_text="002.png")
    note = card.locator(".unread-note")
    note.get_by_text("Not read by starter").wait_for()
    wait_until(lambda: note.locator("s").inner_text().endswith("😀 <b>never</b>"))
    other = page.locator("article.card", has_text="001.png")
    other.locator(".unread-note").wait_for(state="hidden")
    panel = page.locator("details.panel", has_text="What is read of the captions")
    panel.locator("> summary").click()
    panel.get_by_text("1 of 4").wait_for()
    panel.get_by_label("Base model the shapes are for").select_option("tiny")
    panel.get_by_text("2 of 4").wait_for()
    other.get_by_text("Not read by tiny").wait_for()
    text = other.get_by_role("textbox")
    text.fill("a short one")
    other.locator(".unread-note").wait_for(state="hidden")
    text.fill(f"{MIDDLE} and more")
    other.locator(".unread-note s", has_text="more").wait_for()
    text.fill("a short one")
    text.blur()
    panel.get_by_text("1 of 4").wait_for()
    open_tab(page, "Train")
