"""Compare, as a person uses it: sample, look in six ways, go back in history, take a picture away and bring its settings back."""

import contextlib
import json

import pytest

from studio.jobs.draw.drawings import create_drawing
from tests.ui.browser import open_tab, shows, wait_until
from tests.ui.comparing import mean_difference, sample, shown_after, view


def clip(page):
    """How much of the width is still base, in percent of the stage's picture."""
    return page.evaluate(
        """() => {
            const layer = document.querySelector('.compare-view .layer.adapted');
            return 100 * parseFloat(layer.style.clipPath.match(/([\\d.]+)px\\)$/)[1]) / parseFloat(layer.style.width);
        }"""
    )


def test_the_wipe_is_there_before_any_click(compare):
    page = compare()
    wait_until(lambda: page.get_by_role("textbox", name="Prompt", exact=True).input_value() == "a red disc")
    wait_until(lambda: [page.locator(".pane .chip").nth(i).inner_text() for i in (0, 1)][0] == "base")
    assert page.locator(".pane img").evaluate_all("all => all.map(i => i.naturalWidth)") == [16, 16]
    wait_until(lambda: page.locator(".film .frame").count() == 2)  # a pair for each preview prompt


def test_sample_and_wipe_by_key_mouse_and_touch(compare, studio):
    page = compare()
    drawing = sample(page, studio.workspace, prompt="a green square", seed=3, steps=2, count=2)
    assert (drawing.request().prompt, drawing.request().seed, drawing.request().count) == ("a green square", 3, 2)
    assert round(clip(page)) == 50
    slider = page.get_by_label("Wipe between base and adapted")
    slider.focus()
    for key, expected in (("ArrowRight", 51), ("End", 100), ("Home", 0)):
        page.keyboard.press(key)
        assert round(clip(page)) == expected
    box = page.locator(".pane .layer.base").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert abs(clip(page) - 70) < 2
    page.locator(".compare-view .stage").focus()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: page.locator(".film .frame").nth(1).get_attribute("aria-pressed") == "true")
    shows(page.locator(".compare-view .about"), "seed 4")
    wait_until(lambda: page.locator(".pane .layer.adapted img").get_attribute("alt") == "adapted, seed 4")


def test_touch_moves_the_wipe(compare):
    page = compare(width=390, has_touch=True)
    box = page.locator(".pane .layer.base").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert abs(clip(page) - 25) < 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_two_fingers_zoom_all_panes_alike(compare):
    page = compare(width=390, has_touch=True)
    page.get_by_role("radio", name="Side by side").click()
    box, session = page.locator(".compare-view .pane").first.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind, *apart):
        points = [{"x": x + d, "y": y, "id": i} for d in apart for i, d in ((0, -d), (1, d))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = page.locator(".pane .layer").evaluate_all("all => all.map(l => l.offsetWidth)")
    touch("touchStart", 10)
    for apart in (16, 24, 32, 40):
        touch("touchMove", apart)
    touch("touchEnd")
    after = page.locator(".pane .layer").evaluate_all("all => all.map(l => l.offsetWidth)")
    assert before[0] == before[1] and after[0] == after[1] > 2.5 * before[0], (before, after)
    assert page.evaluate("visualViewport.scale") == 1, "the page itself stays"


def test_zoom_and_pan_are_linked_side_by_side(compare):
    page = compare()
    page.get_by_role("radio", name="Side by side").click()
    box = page.locator(".pane").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)

    def places():
        return page.locator(".pane .layer").evaluate_all("all => all.map(l => [l.style.left, l.style.top, l.style.width].join(' '))")

    before = places()
    for _ in range(6):
        page.mouse.wheel(0, -100)
    wait_until(lambda: places() != before, "the zoom")
    assert len(places()) == 2 and len(set(places())) == 1
    wait_until(lambda: page.locator(".pane .layer.pixelated").count() == 2)
    zoomed = places()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6, steps=3)
    page.mouse.up()
    assert places() != zoomed and len(set(places())) == 1
    page.locator(".pane").first.dblclick()
    assert places() == before
    page.keyboard.press("+")
    assert places() != before
    page.keyboard.press("0")
    assert places() == before


def test_difference_is_measured_and_hidden_while_held(compare, studio):
    page = compare()
    drawing = sample(page, studio.workspace, seed=3, steps=2)
    page.get_by_role("radio", name="Difference").click()
    mean = float(wait_until(lambda: page.locator(".compare-view .stage").get_attribute("data-mean"), "the heat map"))
    assert mean == pytest.approx(mean_difference(drawing), abs=1e-4) and mean > 0
    shows(page.locator(".legend"), f"{100 * mean:.2f} %")
    page.get_by_role("button", name="Hold: base").focus()
    page.keyboard.down(" ")
    page.locator(".pane .layer.base img").wait_for()
    page.keyboard.up(" ")
    page.locator(".pane canvas").wait_for()


def test_strips_are_drawn_on_demand_and_scrubbed(compare, studio, run):
    page = compare()
    first = sample(page, studio.workspace, seed=5, steps=1)
    page.get_by_role("radio", name="Strength strip").click()
    page.get_by_role("button", name="Draw the strip").click()
    strip = shown_after(page, studio.workspace, first.id)
    assert strip.request().strip == "strength" and strip.request().seed == 5
    labels = page.locator(".film.strip .frame .mono").all_inner_texts()
    assert labels == ["base", "0.25", "0.5", "0.75", "1", "1.25", "1.5"]
    page.get_by_label("Strength", exact=True).and_(page.locator(".scrub")).focus()
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: page.locator(".pane .chip").inner_text() == "strength 0.75")
    page.get_by_role("radio", name="Checkpoints").click()
    page.get_by_role("button", name="Draw the strip").click()
    shown_after(page, studio.workspace, strip.id)
    wait_until(lambda: page.locator(".film.strip .frame .mono").all_inner_texts() == ["base", "2", "4"])
    shows(page.locator(".film.strip small").first, "%")
    page.get_by_role("radio", name="Grid").click()
    page.get_by_role("button", name="Open step 4", exact=False).click()
    wait_until(lambda: view(page).get_attribute("data-view") == "wipe")


def test_progress_is_told_in_words_and_can_be_cancelled(studio, run, new_page):
    """The process that draws is this test: it says what it does in the drawing's folder, as the real one does."""
    drawing = create_drawing(studio.workspace, {"adapters": [{"run": run.id}], "prompt": "<img src=x onerror=alert(1)> ${7*7}"})
    drawing.write_status("drawing", done=1, total=4, progress=0.25, note="run parked")
    page = new_page(f"{studio.url}/?tab=compare&drawing={drawing.id}")
    page.wait_for_selector(".compare-view[data-state=busy]")
    progress = page.locator(".compare-view .progress")
    wait_until(lambda: "the run holds meanwhile" in progress.inner_text() and "1/4" in progress.inner_text(), "the words")
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    wait_until(lambda: prompt.input_value() == drawing.request().prompt, "its prompt")
    progress.get_by_role("button", name="Cancel").click()
    wait_until(lambda: drawing.cancelled, "the wish to cancel")
    drawing.write_status("cancelled")
    wait_until(lambda: page.locator(".compare-view .line").inner_text() == "Cancelled.", "that it is cancelled")
    drawing.cancel_file.unlink()  # of another that nobody has cancelled, and whose process died
    status = drawing.status() | {"state": "drawing", "started": 1.0}
    (drawing.folder / "status.json").write_text(json.dumps(status))
    line = page.locator(".compare-view .line")

    def clicked_again():
        page.locator(f".history-item[data-id='{drawing.id}'] .restore").click()  # the list may just be drawn anew below the click
        with contextlib.suppress(AssertionError):
            wait_until(lambda: "sample again" in line.inner_text(), "the line", 10)
        return "sample again" in line.inner_text()

    wait_until(clicked_again, "that it was interrupted")


def test_without_an_adapter_the_next_step_is_named_and_the_base_can_be_drawn(tmp_path, new_page):
    from tests.ui.browser import Studio

    empty = Studio(tmp_path / "empty").start()
    try:
        page = new_page(f"{empty.url}/?tab=compare")
        page.wait_for_selector(".compare-view[data-state=empty]")
        shows(view(page), "train an adapter first")
        page.get_by_role("button", name="Go to Train").click()
        wait_until(lambda: page.get_by_role("tab", selected=True).inner_text() == "Train", "the Train tab")
        open_tab(page, "Compare")
        drawing = sample(page, empty.workspace, prompt="a red apple", steps=2)
        assert [p.kind for p in drawing.result()["pictures"]] == ["base"]
    finally:
        empty.stop()
