"""Captions by the captioner as a person writes them: one click, what else it may be, what it does not know, and back."""

import shutil

import pytest

from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.rows import open_dataset
from tests.ui.browser import wait_until

NAMES = ("airplane", "anchor", "banana", "bell", "bicycle", "bus", "castle", "crown", "fire", "key")
SLOW_S = 300  # until the process for captions has started on a busy machine


@pytest.fixture(scope="module")
def icons(studio):
    folder = studio.workspace.root / "given"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
    return create_dataset(studio.workspace, "icons", [folder])


def test_one_click_captions_what_it_knows_and_it_can_be_undone(studio, new_page, icons):
    page = new_page(f"{studio.url}/?dataset=icons")
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    tools, file = page.locator(".dataset-tools"), icons.rows[0].file
    page.locator(f".card[data-file='{file}'] textarea").fill("by hand")
    tools.get_by_role("button", name="Caption all").click()
    told = tools.locator(".captioned")
    wait_until(lambda: "Wrote" in told.inner_text() or "outside" in told.inner_text(), "the outcome", SLOW_S)

    def written():
        dataset = open_dataset(studio.workspace, "icons")
        return {row.file: dataset.caption(row) for row in dataset.rows if dataset.caption(row)}

    assert written()[file] == "by hand" and "1 picture has a caption already" in told.inner_text()
    count = len(written()) - 1
    assert count and f"Wrote {count} caption" in told.inner_text()
    chosen = next(name for name in written() if name != file)
    card = page.locator(f".card[data-file='{chosen}']")
    wait_until(lambda: card.locator("textarea").input_value() == written()[chosen], "captions appear without a reload")
    assert card.locator(".said summary").inner_text().startswith("embedded, ") and "edited" not in card.locator(".badges").inner_text()
    card.locator(".said summary").click()
    other = card.locator(".choices button").first
    words = other.locator("span").first.inner_text()
    other.click()
    wait_until(lambda: written()[chosen] == words, "another choice is taken")
    if count < len(NAMES) - 1:
        told.get_by_role("button", name="Fill them by a template").click()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Template for empty captions"
    page.get_by_text("Changes that can be undone").click()
    page.get_by_role("button", name=f"Undo: Wrote {count} caption").click()
    wait_until(lambda: written() == {file: "by hand", chosen: words}, "the captions are gone, but for those changed since")


def test_only_the_selected_ones_and_what_is_wrong_is_said(studio, new_page, icons):
    page = new_page(f"{studio.url}/?dataset=icons")
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    page.locator(".card .thumb").nth(3).click(modifiers=["Control"])
    page.get_by_role("button", name="Caption 1 selected").wait_for()
    shutil.move(studio.workspace.datasets / "icons", studio.workspace.root / "away")
    try:
        page.get_by_role("button", name="Caption 1 selected").click()
        wait_until(lambda: "no dataset is called" in page.locator(".captioned").inner_text(), "the problem")
        assert page.get_by_role("button", name="Caption 1 selected").is_enabled()
    finally:
        shutil.move(studio.workspace.root / "away", studio.workspace.datasets / "icons")
