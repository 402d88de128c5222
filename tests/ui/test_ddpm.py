"""A base without text on the screens: nothing asks for words that it would not read."""

import re

import pytest

from studio.dataset.intake import create_dataset
from studio.jobs.draw.drawings import read_drawing
from tests.fixtures.tiny import images, tiny_ddpm
from tests.ui.browser import open_tab, shows, wait_until
from tests.ui.training import finished_run, form, press_train, set_advanced

SAID = ("prompt", "negative", "guidance")
ASKING = re.compile("/gradio_api/(run|queue)/")


@pytest.fixture(scope="module")
def shapes(studio, tiny_base):
    tiny_ddpm(studio.workspace.models / "pixels")
    return create_dataset(studio.workspace, "shapes", [images(studio.workspace.root / "given", 12)])


def _choose_base(page, name):
    form(page).get_by_label("Base", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()


def _methods(page):
    return form(page).locator("#train-recipe label").all_inner_texts()


def _visible(page):
    return [name for name in SAID if page.locator(f"#compare-{name}").is_visible()]


def test_a_late_answer_about_another_base_does_no_harm(studio, shapes, new_page):
    """Two questions cross: what is known of the form last is not what it says, and it goes on."""
    page, held, is_slow = new_page(f"{studio.url}/?tab=train&dataset=shapes"), [], True
    page.wait_for_selector(".train-note[data-state=ready]")
    page.route(ASKING, lambda route: held.append(route) if is_slow else route.continue_())
    page.evaluate("window.studio.askAgain()")
    wait_until(lambda: held or page.wait_for_timeout(50), "the question about the first base")
    is_slow = False
    _choose_base(page, "Starter pixel")
    wait_until(
        lambda: form(page).get_by_label("DDPM LoRA").is_visible() and form(page).get_by_label("DDPM LoRA").is_checked(), "its methods"
    )
    with page.expect_response(ASKING):
        for route in held:
            route.continue_()
    form(page).get_by_label("DDPM full").check()
    wait_until(lambda: "every weight" in form(page).locator("#train-recipe").inner_text(), "what this method does")
    wait_until(lambda: {name[:4] for name in _methods(page)} == {"DDPM"}, "the methods of this base alone")


def test_what_another_screen_chose_is_taken_though_more_was_chosen_and_typed_before_the_answer(studio, shapes, new_page):
    create_dataset(studio.workspace, "others", [images(studio.workspace.root / "more", 2)])
    page, held, is_slow = new_page(f"{studio.url}/?tab=train&dataset=shapes"), [], True
    page.wait_for_selector(".train-note[data-state=ready]")
    page.route(ASKING, lambda route: held.append(route) if is_slow else route.continue_())
    page.evaluate("window.studio.place.open('train', { dataset: 'others' })")
    page.evaluate("window.studio.place.open('train', { base: 'pixels' })")
    form(page).get_by_label("Name", exact=True).fill("mine")
    wait_until(lambda: len(held) >= 2 or page.wait_for_timeout(50), "both questions")
    is_slow = False
    for route in held:
        route.continue_()
    wait_until(lambda: form(page).get_by_role("combobox", name="Base").input_value() == "pixels", "the base")
    wait_until(lambda: form(page).get_by_label("DDPM LoRA").is_visible(), "its methods")
    wait_until(lambda: form(page).get_by_role("combobox", name="Dataset").input_value().startswith("others"), "the dataset")
    assert form(page).get_by_label("Name", exact=True).input_value() == "mine"


def test_from_the_pixel_base_to_pictures_without_a_word(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=train&dataset=shapes")
    page.wait_for_selector(".train-note[data-state=ready]")
    assert "LoRA" in _methods(page) and "DDPM LoRA" not in _methods(page)
    shows(form(page).locator("#train-recipe"), "Not on this base: DDPM LoRA", "only for DDPM (pixels, no text)")
    form(page).get_by_label("Preview prompts").wait_for()
    _choose_base(page, "Starter pixel")
    wait_until(lambda: {name[:4] for name in _methods(page)} == {"DDPM"}, "the methods of this base alone")
    wait_until(lambda: form(page).get_by_label("DDPM LoRA").is_checked(), "the first of them")
    _choose_base(page, "pixels")
    wait_until(lambda: not form(page).get_by_label("Preview prompts").is_visible(), "no prompts asked for")
    shows(form(page).locator("#train-recipe"), "reads no text")
    set_advanced(page, train__steps="6", train__batch_size="4", train__snapshot_every="3", preview__every="3", preview__steps="2")
    for name in ("preview-negative", "preview-guidance", "data-caption_dropout", "method-text_encoder"):
        wait_until(lambda name=name: page.locator(f"#set-{name}").count() == 0 or not page.locator(f"#set-{name}").is_visible())
    run = finished_run(studio, page, press_train)
    assert run.spec().base.source.endswith("pixels") and run.spec().preview.prompts == [""] * 4
    shows(page.locator(".live-run .previews"), "seed 8")

    page.locator(".live-run").get_by_role("button", name="Compare").click()
    page.wait_for_selector(".compare-view[data-state=ready] .pane")
    wait_until(lambda: _visible(page) == [], "nothing that asks for words")
    about = page.locator(".compare-view .about").inner_text()
    assert "guidance" not in about and "prompt" not in about and "seed 7" in about
    page.get_by_role("button", name="Sample", exact=True).click()
    page.wait_for_selector(".compare-view[data-state=ready][data-drawing]:not([data-drawing^=preview])")
    request = read_drawing(studio.workspace, page.locator(".compare-view").get_attribute("data-drawing")).request()
    assert (request.prompt, request.guidance, request.sampler) == ("", 1.0, "ddim")

    page.locator("#compare-run-1 input").click()
    page.get_by_role("option", name="none: the base alone").click()
    wait_until(lambda: _visible(page) == list(SAID), "the starter, which reads text")

    open_tab(page, "Export")
    page.get_by_text("No other program has a layout").wait_for()
    open_tab(page, "Dataset")
    page.wait_for_selector(".dataset-grid[data-state=ready] [data-file] textarea")  # captions stay: other bases read them
