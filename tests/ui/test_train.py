"""The Train screen, as a person uses it: choose, train, watch, come back, stop, go on, make it again."""

import json
import re

import pytest

from studio.jobs.runs.folders import Run, list_runs
from tests.ui.browser import address, open_tab, shows, wait_until
from tests.ui.training import SMALL_NAMES, choose, field_of, finished_run, form, press_train, set_advanced

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> ${document.title='taken'} {{value}}"


def live(page, state=None):
    """The live view, when it shows a run (in this state)."""
    page.wait_for_selector(f".live-run[data-state=ready]{f'[data-run-state={state}]' if state else ''}")
    return page.locator(".live-run")


def step(page):
    found = re.search(r"step\s+(\d+)/", page.locator(".live-run .facts").inner_text())
    return int(found[1]) if found else 0


def shown_run(page):
    return page.locator(".live-run").get_attribute("data-run")


def test_an_empty_studio_says_what_to_do(studio, new_page):
    if list_runs(studio.workspace):
        pytest.skip("needs to be first")
    page = new_page(f"{studio.url}/?tab=train")
    page.wait_for_selector(".live-run[data-state=empty]")
    shows(page.locator(".live-run"), "No runs yet")
    page.locator(".live-run").get_by_role("button", name="Go to Dataset").click()
    wait_until(lambda: "tab=dataset" in address(page), "the Dataset screen")


def test_at_most_eight_controls_are_visible_and_the_cost_is_told_before_the_click(train):
    left = form(train)
    labels = ["Dataset", "Base", "Method", "Preset", "Preview prompts", "Name"]
    visible = [e for e in left.locator("input:not([type=radio]), textarea, fieldset, button").all() if e.is_visible()]
    assert len(visible) <= 8, [e.get_attribute("id") or e.inner_text() for e in visible]
    for label in labels:
        left.get_by_text(label, exact=True).first.wait_for()
    wait_until(lambda: re.search(r"(Under|About) .* · .* GiB of memory · .* on disk", train.locator(".train-note").inner_text()))
    presets = train.locator("#train-preset").inner_text()
    assert all(re.search(rf"{p} (≈|under) ", presets) for p in ("Quick", "Balanced", "Thorough")), presets


def test_what_is_typed_while_an_answer_is_under_way_stays(train):
    """The studio may be slow: an answer to what the form said before never undoes what was done since."""
    held, asking = [], re.compile("/gradio_api/(run|queue)/")
    base, steps = form(train).get_by_label("Base", exact=True), field_of(train, "train.steps")
    set_advanced(train, train__seed="5")
    wait_until(lambda: "1 changed" in train.locator("#train-advanced").inner_text(), "what was changed, counted")
    is_slow = True
    train.route(asking, lambda route: held.append(route) if is_slow else route.continue_())
    form(train).get_by_label("Thorough").check()
    wait_until(lambda: held or train.wait_for_timeout(50), "the question what follows from the preset")
    base.click()
    train.get_by_role("option", name="Starter", exact=True).click()
    form(train).get_by_label("Preview prompts").fill("typed early")
    set_advanced(train, train__steps="77", train__snapshot_every="11")
    is_slow = False
    for route in held:
        route.continue_()
    wait_until(lambda: "3 changed" in train.locator("#train-advanced").inner_text(), "what was changed, counted")
    wait_until(lambda: base.input_value() == "Starter" and form(train).get_by_label("Thorough").is_checked())
    wait_until(lambda: form(train).get_by_label("Preview prompts").input_value() == "typed early")
    wait_until(lambda: steps.input_value() == "77" and field_of(train, "train.snapshot_every").input_value() == "11")
    train.get_by_role("button", name="Reset to the preset").click()
    wait_until(lambda: steps.input_value() not in ("", "77"), "the preset's steps")
    wait_until(lambda: field_of(train, "train.seed").input_value() != "5")


def test_the_story_of_a_run(studio, train, new_page):
    """Live, on two pages, over a reload and a killed studio; stopped, resumed, stopped."""
    form(train).get_by_label("Preview prompts").fill(f"a red disc\n{HOSTILE}")
    form(train).get_by_label("Preview prompts").blur()
    set_advanced(train, **SMALL_NAMES, train__steps="100000")
    press_train(train)
    live(train, "running")
    run = shown_run(train)
    wait_until(lambda: f"run={run}" in address(train))
    wait_until(lambda: train.locator(".live-run .head").bounding_box()["y"] >= 0, "what the button began, though the form was scrolled")
    wait_until(lambda: step(train) > 5, "steps")
    seen = step(train)
    wait_until(lambda: step(train) > seen, "more steps")
    wait_until(lambda: "loss" in (train.locator(".live-run .curves canvas").get_attribute("aria-label") or ""), "a curve")
    label = train.locator(".live-run .curves canvas").get_attribute("aria-label")
    wait_until(lambda: train.locator(".live-run .curves canvas").get_attribute("aria-label") != label, "a curve that moves")
    train.wait_for_selector(".live-run img[alt^='base: a red disc']")
    train.wait_for_selector(".live-run img[alt^='step 40: <img src=x']")
    wait_until(
        lambda: train.locator(".live-run .previews tbody th").nth(1).inner_text().startswith("<img src=x onerror"), "text stays text"
    )
    assert train.title() == "Domain Studio"
    wait_until(lambda: train.locator(".live-run img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 0)"), "pictures")

    second = new_page(f"{studio.url}/?tab=train", dark=True)
    live(second, "running")
    wait_until(lambda: shown_run(second) == run, "another page shows what goes on")
    train.reload()
    live(train, "running")
    wait_until(lambda: shown_run(train) == run)

    studio.kill()
    try:
        train.wait_for_selector(".live-run[data-state=error]")
        shows(train.locator(".live-run"), "does not answer")  # beside other notes, where something has been measured
        assert Run(studio.workspace.runs / run).lives()
    finally:
        studio.start()
    live(train, "running")
    seen = step(train)
    wait_until(lambda: step(train) > seen, "the run went on and is shown")

    train.locator(".live-run").get_by_role("button", name="Stop", exact=True).click()
    live(train, "stopped")
    live(second, "stopped")
    wait_until(lambda: train.locator(".live-run .verdict").inner_text().startswith("Stopped at step "))
    stopped_at = step(train)
    train.locator(".live-run").get_by_role("button", name="Resume").click()
    live(train, "running")
    wait_until(lambda: step(train) > stopped_at, "it goes on from there")
    shows(train.locator(".live-run .happened"), "Training goes on from step")


def test_a_run_finishes_with_a_verdict_and_is_cloned_and_extended(studio, train):
    set_advanced(train, **SMALL_NAMES, train__steps="45", train__seed="3", method__rank="2")
    wait_until(lambda: "8 changed" in train.locator("#train-advanced").inner_text(), "what was changed, counted")
    form(train).get_by_role("textbox", name="Name", exact=True).fill("short one")
    press_train(train)
    live(train, "finished")
    view = train.locator(".live-run")
    wait_until(lambda: view.locator(".verdict").inner_text().startswith("Adapter ready."))
    for button in ("Compare", "Export", "Extend", "Clone"):
        view.get_by_role("button", name=button, exact=True).wait_for()
    first = Run(studio.workspace.runs / shown_run(train))
    assert first.spec().name == "short one" and first.spec().train.seed == 3
    train.reload()
    live(train, "finished")

    view.get_by_role("button", name="Clone").click()
    wait_until(lambda: form(train).get_by_role("textbox", name="Name", exact=True).input_value() == "short one", "the name")
    press_train(train)
    wait_until(lambda: shown_run(train) != first.id, "the clone")
    clone = Run(studio.workspace.runs / shown_run(train))
    assert clone.spec().model_dump() == first.spec().model_dump()
    live(train, "finished")
    assert clone.adapter.read_bytes() == first.adapter.read_bytes(), "the same settings make the same bytes"

    view.get_by_role("button", name="Extend").click()
    note = train.locator(".train-note")
    wait_until(lambda: f"Continues from run {clone.id}" in note.inner_text(), "where it continues from")
    note.get_by_role("button", name="Start from the base instead").click()
    wait_until(lambda: "Continues from" not in note.inner_text(), "dismissed")
    view.get_by_role("button", name="Extend").click()
    wait_until(lambda: f"Continues from run {clone.id}" in note.inner_text(), "where it continues from")
    set_advanced(train, train__steps="12")
    press_train(train)
    wait_until(lambda: shown_run(train) != clone.id, "the extension")
    live(train, "finished")
    extended = Run(studio.workspace.runs / shown_run(train))
    assert extended.spec().start_from and (extended.folder / extended.spec().start_from).read_bytes() == clone.adapter.read_bytes()


def test_a_new_word_is_learned_compared_and_exported(studio, train):
    """The settings follow the method, the prompts carry the word, and the file is the word's own."""
    set_advanced(train, **SMALL_NAMES, train__steps="20", method__rank="4")
    form(train).get_by_label("Textual inversion").check()
    wait_until(lambda: not field_of(train, "method.rank").is_visible(), "the settings of LoRA gone")
    prompts = form(train).get_by_label("Preview prompts")
    wait_until(lambda: "<shapes>" in prompts.input_value(), "prompts with the new word")
    field_of(train, "method.token").wait_for()
    wait_until(lambda: field_of(train, "method.token").input_value() == "<shapes>")
    set_advanced(train, method__num_vectors="40")
    wait_until(lambda: "Vectors (Method)" in train.locator(".train-note").inner_text(), "what is wrong")
    set_advanced(train, method__num_vectors="3")
    wait_until(lambda: train.locator(".train-note[data-state=ready]").count(), "a form that is right")
    run = finished_run(studio, train, press_train)
    assert run.spec().methods[0].num_vectors == 3 and run.spec().recipe == "textual-inversion"
    train.locator(".live-run").get_by_role("button", name="Compare").click()
    train.wait_for_selector(".compare-view[data-state=ready]")
    train.get_by_role("button", name="Sample", exact=True).click()
    train.wait_for_selector(".compare-view[data-state=ready][data-drawing]:not([data-drawing^=preview])")
    open_tab(train, "Export")
    train.get_by_role("button", name="Export", exact=True).click()
    train.get_by_text("✓ Verified").wait_for()
    shows(train.locator(".export-view"), "3/3 vectors")
    wait_until(lambda: train.locator("a.download").get_attribute("download") == "shapes.safetensors")


def test_a_double_click_makes_one_run_and_a_second_page_queues(studio, train, new_page):
    other = new_page(f"{studio.url}/?tab=train&dataset=shapes")
    choose(other)
    set_advanced(other, train__steps="10")
    before = {r.id for r in list_runs(studio.workspace)}
    set_advanced(train, **SMALL_NAMES, train__steps="100000")
    press_train(train, clicks=2)
    live(train, "running")
    first = shown_run(train)
    assert {r.id for r in list_runs(studio.workspace)} - before == {first}
    shown = shown_run(other)
    press_train(other)
    wait_until(lambda: shown_run(other) not in (None, first, shown), "a run of its own")
    wait_until(lambda: f"queued behind {first}" in other.locator(".live-run").inner_text(), "it waits")
    train.locator(".live-run").get_by_role("button", name="Stop", exact=True).click()
    live(train, "stopped")
    live(other, "finished")


def test_wrong_values_are_told_beside_the_button_and_nothing_is_lost(studio, train):
    before = len(list_runs(studio.workspace))
    set_advanced(train, train__steps="-5")
    alert = train.locator(".train-note [role=alert]")
    alert.wait_for()
    shows(alert, "Steps (Training): must be greater than or equal to 1")
    press_train(train)
    alert.wait_for()
    wait_until(lambda: field_of(train, "train.steps").input_value() == "-5")
    assert len(list_runs(studio.workspace)) == before
    set_advanced(train, train__steps="7")
    alert.wait_for(state="detached")
    train.get_by_role("button", name="Reset to the preset").click()
    wait_until(lambda: field_of(train, "train.steps").input_value() not in ("7", "-5"), "the preset's steps")


def test_a_run_deleted_while_shown_is_said_calmly(studio, train):
    run = next(r for r in list_runs(studio.workspace) if r.status()["state"] in {"finished", "stopped"})
    page = train
    page.evaluate("run => window.studio.place.set({ run })", run.id)
    wait_until(lambda: shown_run(page) == run.id, "that run")
    away = studio.workspace.root / "kept-elsewhere"
    run.folder.rename(away)
    try:
        page.wait_for_selector(".live-run[data-state=empty]")
        shows(page.locator(".live-run"), f"run {run.id} is gone")
    finally:
        away.rename(run.folder)
    live(page)
    wait_until(lambda: shown_run(page) == run.id, "and shown again when it is back")


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%3Cimg%20src=x%20onerror=alert(1)%3E", "0099-none", "%00"])
def test_a_strange_run_in_the_address_does_no_harm(studio, new_page, name):
    page = new_page(f"{studio.url}/?tab=train&run={name}")
    page.wait_for_selector(".live-run[data-state=empty]")
    view = page.locator(".live-run")
    view.get_by_role("button", name="All runs").wait_for()
    assert view.locator("img[src=x]").count() == 0
    view.get_by_role("button", name="All runs").click()
    wait_until(lambda: "tab=runs" in address(page) and "run=" not in address(page), "the list of runs")


def test_routes_of_runs_give_only_what_is_a_runs(studio, chromium):
    browser = chromium.new_context()
    run = next(r for r in list_runs(studio.workspace) if (r.folder / "previews" / "base").is_dir())
    answers = {
        f"/studio/runs/{run.id}/pictures/previews/base/00.png": 200,
        f"/studio/runs/{run.id}/pictures/previews/base/77.png": 400,
        f"/studio/runs/{run.id}/pictures/spec.json": 400,
        f"/studio/runs/{run.id}/pictures/previews/..%2F..%2Fspec.json": 400,
        f"/studio/runs/{run.id}/spec": 200,
        "/studio/runs/..%2F..%2Fetc/spec": 400,
        "/studio/runs/0099-none/live": 400,
    }
    for path, status in answers.items():
        found = browser.request.get(studio.url + path)
        assert found.status == status or (status == 400 and found.status == 404), (path, found.status)
        if found.status == 400:
            assert found.json()["error"]
    picture = browser.request.get(f"{studio.url}/studio/runs/{run.id}/pictures/previews/base/00.png")
    assert picture.headers["content-type"] == "image/png" and "immutable" in picture.headers["cache-control"]
    rows = json.loads(studio.get("/studio/runs"))
    assert {"run", "state", "method", "held_out", "previews", "has_adapter", "created"} <= rows[0].keys()
    assert [r["run"] for r in rows] == [r.id for r in reversed(list_runs(studio.workspace))]
    refused = browser.request.post(f"{studio.url}/studio/runs/{run.id}/stop", data={}, headers={"Origin": studio.url})
    assert refused.status == 400 and "nothing to stop" in refused.json()["error"]
    browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(studio, shapes, new_page, width):
    page = new_page(f"{studio.url}/?tab=train", width=width)
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    open_tab(page, "Dataset") if width > 900 else None
