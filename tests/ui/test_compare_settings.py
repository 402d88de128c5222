"""Compare: settings come back from the history, a picture or an adapter that is dropped; what is typed or wrong loses nothing."""

from studio.jobs.draw.drawings import list_drawings
from studio.jobs.draw.restore import read_png_settings
from tests.ui.browser import drop, open_tab, shows, wait_until
from tests.ui.comparing import controls, mean_difference, sample, shown_after, view


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
