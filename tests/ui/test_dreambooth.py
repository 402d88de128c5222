"""DreamBooth on the screens: the noun is asked for, class pictures come to the Dataset screen, a tuned model is compared and taken away."""

import re

from studio.dataset.class_pictures import list_class_pictures
from studio.dataset.rows import open_dataset
from tests.ui.browser import open_tab, wait_until
from tests.ui.training import SMALL_NAMES, finished_run, form, press_train, set_advanced


def test_a_subject_is_named_learned_and_its_class_pictures_are_seen(studio, train):
    noun = train.locator("#train-noun input, #train-noun textarea")
    noun.wait_for(state="hidden")
    form(train).get_by_label("DreamBooth LoRA").check()
    noun.wait_for()
    wait_until(lambda: "class_noun" in train.locator(".train-note").inner_text().replace(" ", "_").lower(), "what is missing is said")
    noun.fill("disc")
    noun.blur()
    prompts = form(train).get_by_label("Preview prompts")
    wait_until(lambda: "sks disc" in prompts.input_value(), "prompts about the subject")
    set_advanced(train, **SMALL_NAMES, train__steps="10", method__rank="4")
    train.locator("#set-prior-count input, #set-prior-count textarea").fill("5")
    train.locator("#set-prior-steps input, #set-prior-steps textarea").fill("1")
    train.locator("#set-prior-steps input, #set-prior-steps textarea").blur()
    wait_until(lambda: train.locator(".train-note[data-state=ready]").count(), "a form that is right")
    run = finished_run(studio, train, press_train)
    assert run.spec().recipe == "dreambooth-lora" and run.spec().prior.class_noun == "disc" and run.spec().prior.count == 5
    wait_until(lambda: "class pictures drawn: 5" in train.locator(".live-run").inner_text().lower())
    open_tab(train, "Dataset")
    panel = train.get_by_role("region", name="Class pictures")
    panel.get_by_role("button", name="Class picture 1: disc").click()
    train.locator(".studio-lightbox").get_by_text("1 of 5 · disc").wait_for()
    train.keyboard.press("ArrowRight")
    train.locator(".studio-lightbox").get_by_text("2 of 5 · disc").wait_for()
    train.keyboard.press("Escape")
    panel.get_by_role("button", name="Delete 5 of “disc”").click()
    wait_until(lambda: not panel.is_visible(), "they are put away")
    train.get_by_role("button", name="Undo").click()
    panel.wait_for()
    assert len(list_class_pictures(open_dataset(studio.workspace, "shapes"))[0].files()) == 5


def test_a_whole_model_is_tuned_compared_and_taken_away(studio, train):
    form(train).get_by_label("Full fine-tuning").check()
    wait_until(lambda: not train.locator("#set-method-rank").is_visible(), "the settings of LoRA gone")
    set_advanced(train, **SMALL_NAMES, train__steps="10", method__lr="0.002")
    wait_until(lambda: train.locator(".train-note[data-state=ready]").count(), "a form that is right")
    finished_run(studio, train, press_train)
    train.locator(".live-run").get_by_role("button", name="Compare").click()
    train.wait_for_selector(".compare-view[data-state=ready]")
    train.get_by_role("button", name="Sample", exact=True).click()
    train.wait_for_selector(".compare-view[data-state=ready][data-drawing]:not([data-drawing^=preview])")
    open_tab(train, "Export")
    view = train.locator(".export-view")
    view.get_by_label("Rank of the LoRA").wait_for(state="hidden")
    view.locator("[data-layout=extracted] input").check()
    view.get_by_label("Rank of the LoRA").fill("4")
    train.get_by_role("button", name="Export", exact=True).click()
    train.get_by_text("✓ Verified").wait_for()
    wait_until(lambda: "of the tuned model's change of weights" in view.inner_text(), "what the LoRA lacks")
    view.locator("[data-layout=model] input").check()
    train.get_by_role("button", name="Export", exact=True).click()
    wait_until(lambda: re.search(r"(\d+)/\1 tensors", view.inner_text()), "the whole model")
    wait_until(lambda: train.locator("a.download").get_attribute("download").endswith(".zip"))
