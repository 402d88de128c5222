"""Choosing among methods in the browser: a duel that fills its board, pictures from the same seeds, advice that fills the form."""

import re

import pytest

from studio.jobs.draw.drawings import list_drawings
from studio.jobs.processes.supervisor import stop
from studio.jobs.runs.folders import list_runs
from tests.ui.browser import address, shows, unfold, wait_until


@pytest.fixture(autouse=True)
def all_ended(studio):
    yield
    for run in list_runs(studio.workspace):
        if run.lives():
            stop(run)


def _dialog(page):
    page.get_by_role("button", name="Duel", exact=True).click()
    page.wait_for_selector(".duel .recipe")
    return page.locator(".duel")


def test_a_duel_fills_its_board(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=runs")
    dialog = _dialog(page)
    start, note = dialog.get_by_role("button", name="Start duel"), dialog.locator(".note")
    wait_until(lambda: "Choose two recipes" in note.inner_text(), "what is missing")
    assert start.is_disabled()
    dialog.locator("select[name=base]").select_option("tiny")
    for name in ("LoRA", "Textual inversion"):
        dialog.locator(".recipe", has=page.locator("strong", has_text=name)).get_by_role("checkbox").first.check()
    wait_until(lambda: "samples in" in note.inner_text(), "the budget")
    start.click()
    page.wait_for_selector(".runs-board[data-state=ready]")
    runs = list_runs(studio.workspace)
    wait_until(lambda: f"runs={runs[0].id}%2C{runs[1].id}" in address(page))
    assert [r.spec().recipe for r in runs] == ["lora", "textual-inversion"]
    assert len({r.spec().train.steps for r in runs}) == len({r.spec().train.batch_size for r in runs}) == 1
    heads = page.locator(".runs-board thead a")
    wait_until(lambda: heads.all_inner_texts() == ["shapes duel LoRA", "shapes duel Textual inversion"], "both runs as columns")
    state = page.locator(".runs-board tr", has=page.locator("th", has_text="State")).locator("td")
    wait_until(lambda: "running" in state.first.inner_text() and "queued" in state.nth(1).inner_text(), "one at work, one waiting")
    wait_until(lambda: page.locator(".runs-board canvas").is_visible() and page.locator(".board-matrix img").count(), "curves and pictures")
    shows(page.locator(".runs-board > .notes"), "Still going")
    for run in runs:
        wait_until(lambda run=run: not run.lives() or run.last_step() > 3, "some steps")
        if run.lives():
            stop(run)
    wait_until(lambda: {"stopped"} == set(state.all_inner_texts()), "the end, without a reload")
    _draw_from_the_same_seeds(studio, page)


def _draw_from_the_same_seeds(studio, page):
    page.get_by_role("button", name="Draw from the same seeds").click()
    page.get_by_label("Prompts, one per line").fill("a red disc\na blue bar")
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Draw", exact=True).click()
    images_shown = page.locator(".board-matrix img")
    wait_until(
        lambda: "/drawings/" in (images_shown.last.get_attribute("src") or "") and images_shown.count() == 6, "2 prompts, base and 2 runs"
    )
    sources = images_shown.evaluate_all("all => all.map(i => i.src)")
    page.reload()
    wait_until(lambda: images_shown.evaluate_all("all => all.map(i => i.src)") == sources, "the same pictures after a reload")
    assert len(list_drawings(studio.workspace)) == 2 and len(set(sources)) == 6


def test_a_duel_about_a_subject_can_be_started_as_soon_as_it_is_named(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=runs", width=1280, height=640)
    dialog = _dialog(page)
    for name in ("lora", "dreambooth-lora"):
        dialog.locator(f"input[value={name}]").check()
    start, note = dialog.get_by_role("button", name="Start duel"), dialog.locator(".note")
    shows(note, "Class noun")
    dialog.locator("input[name=noun]").click()
    page.keyboard.type("shape")
    wait_until(lambda: start.is_enabled(), "a button that waits for nothing more, while the cursor is in the field")
    shows(note, "samples in")
    for element in (start, note):
        box = element.bounding_box()
        assert 0 <= box["y"] and box["y"] + box["height"] <= 640, box


def test_a_duel_that_cannot_be_says_why(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=runs")
    before = len(list_runs(studio.workspace))
    ask = """body => fetch('/studio/duel', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)})
        .then(async answer => [answer.status, await answer.text()])"""
    here = {"dataset": "shapes", "recipes": ["lora", "pivotal"]}
    changes = [{"recipes": ["lora"]}, {"recipes": ["lora", "lora"]}, {"recipes": ["lora", "nothing"]}, {"recipes": "lora"}]
    changes += [{"dataset": "x"}, {"base": "/etc"}, {"preset": "slow"}, {"more": 1}]
    answers = [page.evaluate(ask, body) for body in ({}, *(here | change for change in changes))]
    assert all(400 <= status < 500 and "error" in text and "--" not in text for status, text in answers), answers
    assert "named twice" in answers[2][1] and len(list_runs(studio.workspace)) == before


def test_advice_fills_the_form(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=train&dataset=shapes&help=methods")
    page.locator(".method-cards .card").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector(".train-note[data-state=ready]")
    page.get_by_role("link", name="About these methods").press("Enter")
    wait_until(lambda: "Hu et al." in page.locator(".method-cards .card").inner_text(), "the card of the chosen method")
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Pivotal tuning").check()
    page.get_by_role("link", name="Not sure?").click()
    dialog = page.locator(".advisor")
    shows(dialog, "For shapes on starter")
    dialog.get_by_label("A style").check()
    dialog.get_by_label("Memory").fill("-1")
    dialog.get_by_role("button", name="Advise").click()
    wait_until(lambda: dialog.locator(".result").inner_text() == "")
    dialog.get_by_label("Memory").fill("0.62")
    dialog.get_by_role("button", name="Advise").click()
    dialog.locator(".result li").first.wait_for()
    shows(dialog, "LoRA, preset balanced")
    wait_until(lambda: dialog.locator(".result .source", has_text="DSF").count())
    dialog.get_by_role("button", name="Use this").click()
    form = page.locator("#train-form")
    for name in ("LoRA", re.compile("^Balanced")):
        wait_until(lambda name=name: form.get_by_role("radio", name=name, exact=True).is_checked(), f"{name}, as advised")
    wait_until(lambda: "changed" in page.locator("#train-advanced").inner_text(), "that settings were changed")
    unfold(page, "#train-advanced")
    page.get_by_role("button", name="Reset to the preset").wait_for()
    unfold(page, "#set-train")
    part = page.locator("#set-train-micro_batch").locator("input, textarea").first
    part.wait_for()
    wait_until(lambda: part.input_value() in {"1", "2", "4", "8"})
