"""The whole way, as a person goes it: pictures in, captions, training, comparing, a file that works elsewhere."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from studio.dataset.rows import open_dataset
from studio.jobs.runs.folders import list_runs
from tests.fixtures import forks
from tests.fixtures.tiny import images
from tests.ui.browser import Studio, address, drop, open_tab, unfold, wait_until

LONG_S = 400  # of the embedded model, on two cores that others use too
BOX = "Wipe between base and adapted"
SHORT = """
from studio import recipes
whole = recipes._read
def short(name):
    recipe = whole(name)
    for base in recipe["bases"].values():
        base["presets"]["quick"] *= 0.05
        base.setdefault("settings", {}).update({"train.snapshot_every": 12, "evaluate.num_timesteps": 4})
        base["settings"].update({"preview.every": 6, "preview.steps": 4})
    return recipe
recipes._read = short
from tests.fixtures import forks
if place := "{place}":
    forks.install()
    forks.borrow(place)
from studio.cli import app
app()
"""  # the studio, with a preset that is a twentieth as long, and looks at less; what it starts is forked where that can be


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty pictures without captions, as a camera leaves them."""
    return sorted(images(tmp_path_factory.mktemp("camera"), 40, captions=False).glob("*.png"))


def choose(page, label, option):
    """Choose from a Gradio dropdown as a person does."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option", name=option).first.click()


def test_from_forty_pictures_to_a_file_that_works_elsewhere(studio, page, tiny_base, pictures):
    run = _train_on_dropped_pictures(studio, page, pictures)
    _compare(page, run)
    file = _export(page)
    assert file.stat().st_size > 1000
    _changes_a_fresh_pipeline(studio.workspace.models / "tiny", file)


def _train_on_dropped_pictures(studio, page, pictures):
    drop(page, "body", pictures)
    page.wait_for_selector(".dataset-grid[data-state=ready] [data-file]")
    wait_until(lambda: "40 images" in page.locator(".dataset-grid").inner_text(), "forty pictures")
    name = parse_qs(urlsplit(address(page)).query)["dataset"][0]
    first = page.locator(".dataset-grid [data-file] textarea").first
    first.fill("a drawn shape <b>&</b> ${1+1}")
    first.blur()
    rows = open_dataset(studio.workspace, name)
    wait_until(lambda: "a drawn shape <b>&</b> ${1+1}" in [rows.caption(r) for r in rows.rows], "the caption on disk")
    page.get_by_role("button", name="Train an adapter").click()
    page.locator("#train-base").wait_for()
    choose(page, "Base", "tiny")
    unfold(page, "#train-advanced")
    unfold(page, "#set-train")
    page.locator("#set-train-steps").locator("textarea, input").fill("60")
    page.keyboard.press("Tab")
    wait_until(lambda: "1 changed" in page.locator("#train-advanced").inner_text())
    page.get_by_role("button", name="Train adapter", exact=True).click()
    page.wait_for_selector(".live-run[data-run-state=running]")
    run = list_runs(studio.workspace)[-1]
    wait_until(lambda: run.last_step() > 5, "steps")
    steps = page.locator(".live-run").inner_text()
    wait_until(lambda: page.locator(".live-run").inner_text() != steps, "a live view that moves")
    page.wait_for_selector(".live-run img[src*='previews']")
    page.reload()
    page.wait_for_selector(f".live-run[data-run='{run.id}']")
    wait_until(lambda: run.status()["state"] == "finished", "the run", 240)
    page.wait_for_selector(".live-run[data-run-state=finished]")
    return run


def _compare(page, run):
    page.locator(".live-run").get_by_role("button", name="Compare").click()
    page.wait_for_selector(".compare-view[data-state=ready]")
    wait_until(lambda: parse_qs(urlsplit(address(page)).query)["run"] == [run.id])
    page.get_by_role("button", name="Sample", exact=True).click()
    page.wait_for_selector(".compare-view[data-state=ready][data-drawing]:not([data-drawing^=preview])")
    slider = page.get_by_label(BOX)
    slider.focus()
    before = slider.input_value()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: slider.input_value() != before)


def _export(page):
    open_tab(page, "Export")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_text("Verified").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    return Path(download.value.path()).rename(Path(download.value.path()).with_suffix(".safetensors"))


def _changes_a_fresh_pipeline(base, file):
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)

    def draw():
        generator = torch.Generator().manual_seed(0)
        return pipe("a red disc", num_inference_steps=3, width=16, height=16, generator=generator, output_type="pt").images

    before = draw()
    pipe.load_lora_weights(file.parent, weight_name=file.name, local_files_only=True)
    assert not torch.equal(before, draw())


@pytest.mark.parametrize("length", [pytest.param("whole", marks=pytest.mark.slow), "short"])
def test_five_clicks_from_a_demo_to_a_verified_adapter(tmp_path_factory, new_page, request, length):
    """Nothing typed, nothing chosen: the embedded model, the demo and the preset as they are, or a twentieth as long."""
    studio = Studio(tmp_path_factory.mktemp("five"))
    if length == "whole":
        request.getfixturevalue("plain_starts")
    else:
        studio.program = ["-c", SHORT.replace("{place}", forks.place())]
    studio.start()
    try:
        page = new_page(studio.url)
        page.get_by_role("button", name="Brain MRI").click()
        page.wait_for_selector(".dataset-grid[data-state=ready] [data-file]")
        page.get_by_role("button", name="Train an adapter").click()
        page.get_by_role("button", name="Train adapter", exact=True).click()
        page.wait_for_selector(".live-run img[src*='previews']", timeout=LONG_S * 1000)
        run = list_runs(studio.workspace)[0]
        wait_until(lambda: run.status()["state"] == "finished", "the adapter", LONG_S)
        assert run.read("scores.json", "chosen", "held_out", "num_better") >= 7
        page.locator(".live-run").get_by_role("button", name="Compare").click()
        page.wait_for_selector(".compare-view[data-state=ready]")
        page.get_by_label(BOX).wait_for()
        page.get_by_role("button", name="Export adapter").click()
        page.get_by_text("Verified").first.wait_for()
        told = json.loads(next((studio.workspace.root / "exports").glob("*/result.json")).read_text())
        assert told["layers"] == told["expected"] > 100
    finally:
        studio.stop()
