"""Compare, as a person uses it: sample, look in six ways, go back in history, take a picture away and bring its settings back."""

import contextlib
import json
import urllib.error
import urllib.request

import pytest

from studio.jobs.draw.drawings import create_drawing, list_drawings, read_drawing
from studio.jobs.draw.restore import read_png_settings
from studio.jobs.processes import supervisor
from studio.jobs.runs.create import Request, create_run
from tests.fixtures.tiny import images
from tests.ui.browser import drop, open_tab, shows, wait_until

SETTINGS = ["train.steps=4", "train.batch_size=2", "method.rank=4", "method.lr=0.05", "train.snapshot_every=2", "train.early_stop=false"]
SETTINGS += ["preview.every=2", "preview.steps=2", 'preview.prompts=["a red disc", "a blue bar"]', "evaluate.num_timesteps=2"]


@pytest.fixture(scope="module")
def run(studio, tiny_base):
    """A finished run of a few steps, with snapshots, scores and previews."""
    from studio.dataset.intake import create_dataset

    create_dataset(studio.workspace, "shapes", [images(studio.workspace.root / "given", 10)])
    made = create_run(studio.workspace, Request("shapes", base=tiny_base, settings=SETTINGS))
    process = supervisor.start(made)
    for _ in supervisor.follow(made, process):
        pass
    assert made.status()["state"] == "finished", (made.folder / "log.txt").read_text()
    return made


@pytest.fixture()
def compare(studio, run, new_page):
    """A page at Compare, showing this run."""

    def at(**options):
        page = new_page(f"{studio.url}/?tab=compare&run={run.id}", **options)
        page.wait_for_selector(".compare-view[data-state=ready]")
        page.wait_for_selector(".compare-view .pane")
        page.get_by_role("radio", name="Wipe").click()  # an earlier test may have left a strip, and Sample would draw another
        return page

    return at


def view(page):
    return page.locator(".compare-view")


def sample(page, workspace, **fields):
    """Fill in fields by their names, press Sample, and wait for the new pictures."""
    for name, value in ({"count": 1} | fields).items():
        page.locator(f"#compare-{name}").locator("input, textarea").first.fill(str(value))
    before = view(page).get_attribute("data-drawing")
    page.get_by_role("button", name="Sample", exact=True).click()
    return shown_after(page, workspace, before)


def shown_after(page, workspace, before):
    def new():
        problem = page.locator(".compare-view .line.problem")
        assert not problem.is_visible(), problem.inner_text()
        shown = view(page).get_attribute("data-drawing")
        return shown if shown != before and view(page).get_attribute("data-state") == "ready" else None

    return read_drawing(workspace, wait_until(new, "the new pictures"))


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


def mean_difference(drawing):
    import numpy as np
    from PIL import Image

    base, adapted = (np.asarray(Image.open(drawing.pictures / p.file), np.float64) for p in drawing.result()["pictures"])
    return float(np.abs(adapted - base).mean() / 255)


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


def controls(page):
    named = ("Seed", "Count", "Steps", "Guidance scale", "Negative prompt", "Sampler", "Size", "Adapter 1", "Snapshot")
    values = {name: page.locator("#compare-side").get_by_label(name, exact=True).first.input_value() for name in named}
    values["Prompt"] = page.get_by_role("textbox", name="Prompt", exact=True).input_value()
    return values | {"Strength": page.locator("#compare-strength-1 input[type=number]").input_value()}


def choose(page, label, option):
    page.locator("#compare-side").get_by_label(label, exact=True).first.click()
    page.locator("ul [role=option]", has_text=option).click()


def test_history_restores_every_setting_and_a_picture_brings_its_own(compare, studio, run, tmp_path):
    page = compare()
    choose(page, "Sampler", "euler")
    choose(page, "Size", "24 × 16")
    choose(page, "Snapshot", "step 2")
    page.locator("#compare-strength-1 input[type=number]").fill("0.75")
    page.locator("#compare-strength-1 input[type=number]").press("Tab")
    first = sample(page, studio.workspace, prompt="ein Würfel <b>", negative="no", seed=11, steps=2, guidance=1.5)
    request, wanted = first.request(), controls(page)
    assert (request.adapters[0].run, request.adapters[0].snapshot, request.adapters[0].strength) == (run.id, 2, 0.75)
    assert (request.sampler, request.width, request.height, request.guidance) == ("euler", 24, 16, 1.5)

    second = sample(page, studio.workspace, prompt="else", negative="", seed=12, steps=3, guidance=2)
    wait_until(lambda: controls(page) != wanted)
    assert len(list_drawings(studio.workspace)) >= 2
    page.locator(f".history-item[data-id='{first.id}'] .restore").click()
    wait_until(lambda: view(page).get_attribute("data-drawing") == first.id, "the first drawing")
    wait_until(lambda: controls(page) == wanted)
    page.reload()
    wait_until(lambda: view(page).get_attribute("data-drawing") == first.id, "the first drawing after a reload")
    wait_until(lambda: controls(page) == wanted)

    with page.expect_download() as download:
        page.get_by_role("link", name="adapted").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == f"{run.id}-step2-seed11-strength0.75.png"
    assert read_png_settings(path)["request"]["prompt"] == "ein Würfel <b>"
    assert str(studio.workspace.root).encode() not in path.read_bytes()

    page.locator(f".history-item[data-id='{second.id}'] .restore").click()
    wait_until(lambda: view(page).get_attribute("data-drawing") == second.id, "the second drawing")
    page.locator(".compare-view input[type=file]").set_input_files(path)
    wait_until(lambda: controls(page) == wanted, "the settings of the picture")


def test_dropping_anywhere_on_this_screen_restores(compare, studio, tmp_path):
    page = compare()
    drawing = sample(page, studio.workspace, seed=21, steps=1)
    page.get_by_label("Seed", exact=True).fill("1")
    drop(page, "body", [drawing.pictures / "01.png"])
    wait_until(lambda: page.get_by_label("Seed", exact=True).input_value() == "21", "the seed of the picture")
    strange = tmp_path / "strange.png"
    strange.write_bytes((studio.workspace.root / "given" / "000.png").read_bytes())
    drop(page, "body", [strange])
    problem = page.locator(".compare-view .line.problem")
    problem.wait_for()
    shows(problem, "does not say how it was made")
    wait_until(lambda: page.locator(".pane img").count() == 2)  # what was shown is still there


def test_a_dropped_adapter_is_tried(compare, studio, run):
    from studio.jobs.export.exporting import export_run

    page = compare()
    file = studio.workspace.root / "mine.safetensors"
    export_run(studio.workspace, run, "kohya", None, file)
    page.locator(".compare-view input[type=file]").set_input_files(file)
    wait_until(lambda: "mine.safetensors" in page.get_by_label("Adapter 1", exact=True).input_value(), "the adapter in its row")
    drawing = sample(page, studio.workspace, seed=3, steps=2)
    assert drawing.request().adapters[0].file and mean_difference(drawing) > 0


def test_two_adapters_alone_and_together(compare, studio):
    page = compare()
    page.get_by_role("button", name="+ add an adapter").click()
    page.locator("#compare-run-2").wait_for()
    alone = sample(page, studio.workspace, steps=1)
    assert [p.adapter for p in alone.result()["pictures"]] == [None, 0, 1]
    page.get_by_role("radio", name="all together").click()
    together = sample(page, studio.workspace, steps=1)
    assert [p.kind for p in together.result()["pictures"]] == ["base", "adapted"]
    page.get_by_role("button", name="Remove adapter 2").click()
    page.locator("#compare-run-2").wait_for(state="hidden")


def test_what_is_wrong_is_said_and_the_pictures_stay(compare, studio):
    page = compare()
    before = len(list_drawings(studio.workspace))
    pictures = page.locator(".pane img").count()
    page.locator("#compare-steps input").fill("9999")
    page.get_by_role("button", name="Sample", exact=True).click()
    problem = page.locator(".compare-view .line.problem")
    problem.wait_for()
    shows(problem, "steps")
    wait_until(lambda: page.locator(".pane img").count() == pictures > 0)
    assert len(list_drawings(studio.workspace)) == before


def test_enter_samples_the_dice_rolls_and_delete_can_be_undone(compare, studio):
    page = compare()
    drawing = sample(page, studio.workspace, steps=1)
    page.get_by_role("button", name="Random seed").click()
    wait_until(lambda: page.locator("#compare-seed input").input_value() != str(drawing.request().seed), "another seed")
    page.get_by_role("textbox", name="Prompt", exact=True).press("Enter")
    assert shown_after(page, studio.workspace, drawing.id).request().seed != drawing.request().seed
    item = page.locator(f".history-item[data-id='{drawing.id}']")
    item.hover()
    item.locator(".bin").click()
    item.wait_for(state="detached")
    page.get_by_role("button", name="Undo").click()
    item.wait_for()


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


def call(studio, method, path, body=None, kind="application/json"):
    """(status, JSON answer) of one of our routes."""
    request = urllib.request.Request(studio.url + path, body, {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/studio/drawings", {"steps": -1}),
        ("POST", "/studio/drawings", {"adapters": [{"run": "../x"}]}),
        ("POST", "/studio/drawings", {"prompt": "${7*7}", "surprise": 1}),
        ("GET", "/studio/drawings/..%2f..%2fruns", None),
        ("GET", "/studio/drawings/00000001-ffffff", None),
        ("GET", "/studio/drawings/00000001-ffffff/pictures/..%2frequest.json", None),
        ("DELETE", "/studio/drawings/nothing", None),
        ("GET", "/studio/drawings?limit=100000000", None),
        ("GET", "/studio/drawings/options?run=nothing", None),
        ("POST", "/studio/drawings/restore?name=x.png", b""),
        ("POST", "/studio/drawings/restore?name=x.png", b"GIF89a and more"),
        ("POST", "/studio/drawings/restore?name=x.safetensors", b"\xff" * 8 + b"{"),
    ],
)
def test_wrong_requests_are_told_in_one_line(studio, method, path, body):
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    code, told = call(studio, method, path, data)
    assert 400 <= code < 500 and ("error" in told or "detail" in told), told
    assert "\n" not in json.dumps(told) and not list((studio.workspace.root / "dropped").glob(".tmp-*"))


def test_what_is_typed_before_the_screen_is_filled_stays(studio, run, new_page):
    page, held = new_page(f"{studio.url}/?tab=runs&run={run.id}"), []
    is_slow = True
    page.route("**/gradio_api/run/**", lambda route: held.append(route) if is_slow else route.continue_())
    open_tab(page, "Compare")
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    wait_until(lambda: held or page.wait_for_timeout(50), "the question of a screen that opens")
    prompt.fill("typed early")
    is_slow = False
    for route in held:
        route.continue_()
    page.wait_for_selector(".compare-view[data-state=ready]")
    wait_until(lambda: page.locator("#compare-run-1 input").input_value() == run.id and prompt.input_value() == "typed early")
