"""Captions by the captioner as a person writes them: one click, what else it may be, what it does not know, and back."""

import shutil

import pytest

from studio.dataset.intake import DEMOS, create_dataset
from studio.dataset.rows import open_dataset
from tests.ui.browser import shows, wait_until

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

    shows(told, "1 picture has a caption already")
    assert written()[file] == "by hand"
    count = len(written()) - 1
    shows(told, f"Wrote {count} caption")
    assert count
    chosen = next(name for name in written() if name != file)
    card = page.locator(f".card[data-file='{chosen}']")
    wait_until(lambda: card.locator("textarea").input_value() == written()[chosen], "captions appear without a reload")
    wait_until(
        lambda: card.locator(".said summary").inner_text().startswith("embedded, ") and "edited" not in card.locator(".badges").inner_text()
    )
    card.locator(".said summary").click()
    other = card.locator(".choices button").first
    words = other.locator("span").first.inner_text()
    other.click()
    wait_until(lambda: written()[chosen] == words, "another choice is taken")
    if count < len(NAMES) - 1:
        told.get_by_role("button", name="Fill them by a template").click()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Template"
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


def add_folder(page, tools, wrong, place):
    """A folder without captioners is refused; one with a captioner is found and chosen."""
    tools.get_by_role("button", name="Add a captioner").click()
    dialog = page.get_by_role("dialog", name="Captioners")
    dialog.get_by_label("Folder").fill(str(wrong))
    dialog.get_by_role("button", name="Add folder").click()
    wait_until(lambda: "no captioner's config.json" in dialog.get_by_role("alert").inner_text(), "what is wrong with a wrong folder")
    dialog.get_by_label("Folder").fill(str(place))
    dialog.get_by_role("button", name="Add folder").click()
    wait_until(lambda: "Florence-2 · florence" in dialog.inner_text(), "the folder is found")
    dialog.get_by_role("button", name="Close").click()
    wait_until(lambda: tools.get_by_label("Detail").input_value() == "detailed", "the one that was added is chosen")


def caption_by_qwen(tools, text):
    """All captions written by a model that does as it is told."""
    tools.locator("select[aria-label=Captioner]").select_option(label="Qwen-VL · small-qwen")
    tools.get_by_label("Domain").select_option("medical")
    prompt = tools.get_by_role("textbox", name="Prompt", exact=True)
    wait_until(lambda: "no diagnosis" in prompt.input_value())
    prompt.fill("axial brain")
    wait_until(lambda: tools.get_by_label("Domain").input_value() == "own words")
    tools.get_by_label("Longest caption in tokens").fill("6")
    tools.get_by_label("Which captions are written").select_option("overwrite")
    tools.get_by_role("button", name="Caption all").click()
    wait_until(lambda: "Wrote 3 captions (Qwen-VL)" in tools.locator(".captioned").inner_text(), "the captions", SLOW_S)
    wait_until(lambda: text.input_value() != "anchor, flat style", "they appear without a reload")


def pick_versions(page, tools, card):
    """One version of one picture, an edit that stays, then a source for all; `card` shows what it came with."""
    text, generated = card.locator("textarea"), card.locator("textarea").input_value()
    wait_until(lambda: card.locator(".said summary").inner_text() == "qwen_vl")
    card.locator(".thumb").click()
    versions = page.locator(".versions li")
    wait_until(lambda: versions.count() == 2, "both versions")
    shows(versions.nth(0), generated)
    wait_until(lambda: versions.nth(1).locator("mark").count() == 3)
    versions.nth(1).get_by_role("button", name="Use").click()
    wait_until(lambda: "used" in versions.nth(1).inner_text(), "the other one is used")
    page.keyboard.press("Escape")
    wait_until(lambda: text.input_value() == "anchor, flat style", "also on its card")
    text.fill("brainmri by hand")
    text.press("Control+Enter")
    wait_until(lambda: "Saved" in card.inner_text(), "an edit")
    tools.get_by_label("Which captions are written").select_option("recaption")
    tools.get_by_role("button", name="Caption all").click()
    wait_until(lambda: "1 picture has a caption already" in tools.locator(".captioned").inner_text(), "the edit stays", SLOW_S)
    wait_until(lambda: text.input_value() == "brainmri by hand")
    tools.get_by_label("Versions by").select_option("file")
    tools.get_by_role("button", name="Use for all").click()
    wait_until(lambda: text.input_value() == "anchor, flat style", "all are as they came")


def look_at_words(page):
    """A word shows its pictures; the class noun is checked and added."""
    words = page.get_by_role("region", name="Words").or_(page.locator("section.words")).first
    wait_until(lambda: words.locator(".word").count() >= 5, "the words")
    wait_until(lambda: words.locator(".word").first.inner_text().split() == ["flat", "3"])
    words.get_by_role("button", name="crown, in 1 caption").click()
    wait_until(lambda: page.locator(".card").count() == 1 and "word=crown" in page.url, "one picture has this word")
    page.get_by_role("button", name="Show also pictures without crown").click()
    wait_until(lambda: page.locator(".card").count() == 3, "all again")
    words.get_by_label("Class noun").fill("crown")
    words.get_by_label("Class noun").press("Tab")
    wait_until(lambda: "2 of 3 captions lack the class noun crown" in words.inner_text(), "the check")
    words.get_by_role("button", name="Show captions without crown").click()
    wait_until(lambda: page.locator(".card").count() == 2, "those that lack it")
    words.get_by_role("button", name="Add crown to captions without it").click()
    wait_until(lambda: "is in all 3 captions" in words.inner_text(), "mended")


def test_a_model_from_a_folder_captions_and_its_words_are_compared_picked_and_counted(studio, new_page, tmp_path):
    from tests.fixtures.tiny_captioners import florence2, qwen_vl

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("anchor", "bell", "crown"):
        shutil.copy(DEMOS / "icons" / f"{name}.png", pictures)
        (pictures / f"{name}.txt").write_text(f"{name}, flat style", "utf-8")
    row = create_dataset(studio.workspace, "versions", [pictures]).rows[0]
    qwen_vl(studio.workspace.root / "captioners" / "small-qwen")
    florence2(tmp_path / "elsewhere" / "florence")
    page = new_page(f"{studio.url}/?dataset=versions")
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    tools, card = page.locator(".dataset-tools"), page.locator(f".card[data-file='{row.file}']")
    text = card.locator("textarea")
    add_folder(page, tools, pictures, tmp_path / "elsewhere")
    caption_by_qwen(tools, text)
    pick_versions(page, tools, card)
    look_at_words(page)
    dataset = open_dataset(studio.workspace, "versions")
    assert [dataset.caption(each) for each in dataset.rows] == ["crown, anchor, flat style", "crown, bell, flat style", "crown, flat style"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A studio whose hub is a server on this machine: a captioner, one that comes slowly, one with code."""
    import http.server
    import threading

    from tests.fixtures.tiny_captioners import blip
    from tests.jobs.models.test_hub import Hub
    from tests.ui.browser import Studio

    root = tmp_path_factory.mktemp("hub")
    blip(root / "some" / "blip")
    shutil.copytree(root / "some" / "blip", root / "some" / "slow-blip")
    (shutil.copytree(root / "some" / "blip", root / "evil" / "blip") / "run.py").write_text("boom")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hub,), {"root": root}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    studio = Studio(tmp_path_factory.mktemp("from-hub") / "workspace", HF_ENDPOINT=f"http://127.0.0.1:{server.server_address[1]}")
    folder = studio.workspace.root / "given"
    folder.mkdir(parents=True)
    shutil.copy(DEMOS / "icons" / "anchor.png", folder)
    create_dataset(studio.workspace, "icons", [folder])
    studio.start()
    yield studio
    studio.stop()
    server.shutdown()


def test_a_captioner_comes_from_the_hub_told_first_followed_stopped_and_chosen(hub, new_page):
    page = new_page(f"{hub.url}/?dataset=icons")
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    tools = page.locator(".dataset-tools")
    tools.get_by_role("button", name="Add a captioner").click()
    dialog = page.get_by_role("dialog", name="Captioners")
    panel = dialog.locator(".hub")
    look = panel.get_by_role("button", name="Look")
    panel.get_by_label("Hub id").fill("evil/blip")
    look.click()
    panel.get_by_text("run.py is a program").wait_for()
    panel.get_by_label("Hub id").fill("some/slow-blip")
    look.click()
    panel.get_by_role("button", name="Fetch it").click()
    panel.get_by_role("button", name="Stop the captioner").wait_for()
    page.keyboard.press("Escape")
    tools.get_by_role("button", name="Add a captioner").click()
    panel.get_by_role("button", name="Stop the captioner").click()
    panel.get_by_text("kept for the next try").wait_for()
    panel.get_by_label("Hub id").fill("some/blip")
    look.click()
    panel.get_by_text("licence apache-2.0").wait_for()
    panel.get_by_role("button", name="Fetch it").click()
    panel.get_by_text("Fetched:").wait_for()
    dialog.get_by_role("button", name="Close").click()
    wait_until(lambda: tools.locator("select[aria-label=Captioner] option:checked").inner_text() == "BLIP · some--blip")
    tools.get_by_label("Longest caption in tokens").fill("6")
    tools.get_by_role("button", name="Caption all").click()
    wait_until(lambda: "Wrote 1 caption (BLIP)" in tools.locator(".captioned").inner_text(), "the caption", SLOW_S)
