"""The Export screen: a verified file for other programs, with nothing personal in it unless ticked."""

import hashlib
import json
import shutil

import pytest

from studio.jobs.draw.judgements import read_verdict
from studio.jobs.processes import supervisor
from studio.jobs.runs.create import Request, create_run
from tests.fixtures.runs import dataset
from tests.ui.browser import address, shows, wait_until

SECRETS = ("zanzibar", "geheimrun", "quixotic", "heimlich")  # trigger word, run, prompt, dataset
SETTINGS = [
    "train.steps=6", "train.batch_size=2", "train.snapshot_every=3", "method.rank=4", "method.lr=0.05", "evaluate.num_timesteps=2",
    'preview.prompts=["a quixotic disc"]', "preview.steps=1", "method.targets=attention+feed_forward+conv",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(studio, tiny_base):
    """A finished run with planted words everywhere."""
    data = dataset(studio.workspace, studio.workspace.root / "camera", name="heimlich")
    data.about["trigger"] = "zanzibar"
    data.save()
    made = create_run(studio.workspace, Request("heimlich", tiny_base, name="geheimrun <b>x</b> ${y}", settings=SETTINGS))
    assert supervisor.start(made).wait(120) == 0
    return made


def _open(studio, new_page, run="", **options):
    page = new_page(f"{studio.url}/?tab=export" + (f"&run={run}" if run else ""), **options)
    page.wait_for_selector(".export-view:not([data-state=loading])")
    return page


def _export(page):
    page.get_by_role("button", name="Export", exact=True).click()
    page.wait_for_selector(".export-view .out[data-export=finished]")
    with page.expect_download() as caught:
        page.locator(".export-view .download").click()
    return caught.value


def test_without_a_run_there_is_a_sentence_and_a_way(studio, new_page):
    page = _open(studio, new_page)
    shows(page.locator(".export-view .empty"), "No finished run yet")
    page.get_by_role("button", name="Go to Train").click()
    wait_until(lambda: "tab=train" in address(page), "the Train tab")


def test_an_adapter_is_judged_and_the_card_says_what_was_found(studio, new_page, run):
    page = new_page(f"{studio.url}/?tab=train&run={run.id}")
    panel = page.locator(".live-run .judged")
    shows(panel, "does it copy trained pictures")
    panel.get_by_role("button", name="Judge this adapter").click()
    pairs = panel.locator(".pairs li")
    wait_until(lambda: pairs.count() == 8, "the nearest pairs")
    said = panel.locator(".answer").inner_text()
    assert said and panel.locator(".found > .findings li").count() == 4
    wait_until(lambda: all(panel.locator(".pairs img").evaluate_all("all => all.map(i => i.naturalWidth > 0)")), "all three of each")
    panel.get_by_role("button", name="All 32").click()
    wait_until(lambda: pairs.count() == 32, "all pairs")
    pairs.nth(1).get_by_role("button").click()
    large = page.locator(".studio-lightbox figcaption")
    shows(large, "adapted, seed")
    page.keyboard.press("ArrowRight")
    shows(large, "trained: ")
    page.keyboard.press("Escape")
    page.reload()
    shows(panel, said)
    found = read_verdict(run)
    assert found["text"] == said
    page.goto(f"{studio.url}/?tab=export&run={run.id}")
    shows(page.locator(".export-view .form"), said)
    _export(page)
    page.get_by_text("Model card").click()
    shows(page.locator(".export-view pre"), found["findings"][1]["text"])


def test_the_file_loads_in_a_fresh_pipeline_and_changes_what_it_draws(studio, new_page, run, tmp_path):
    import numpy
    import torch
    from diffusers import StableDiffusionPipeline

    page = _open(studio, new_page, run.id)
    form = page.locator(".export-view .form")
    wait_until(lambda: page.get_by_label("Run", exact=True).input_value() == run.id)
    shows(form, "Recommended: step", "Why: ")
    shows(form.locator("[data-layout=kohya]"), "ComfyUI, A1111/Forge, InvokeAI, diffusers")
    shows(form.locator(".licence"), "OpenRAIL")
    download = _export(page)
    out = page.locator(".export-view .out")
    shows(out.locator(".verified"), "layers, max difference")
    assert download.suggested_filename.startswith("geheimrun-b-x-b-y-step") and download.suggested_filename.endswith(".safetensors")
    file = tmp_path / "adapter.safetensors"
    download.save_as(file)
    shows(out.locator(".sha"), hashlib.sha256(file.read_bytes()).hexdigest())

    pipe = StableDiffusionPipeline.from_pretrained(studio.workspace.models / "tiny", local_files_only=True, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    call = {"latents": torch.ones(1, 4, 8, 8), "num_inference_steps": 2, "width": 16, "height": 16, "output_type": "np"}
    before = pipe("a red disc", **call).images
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    assert numpy.abs(pipe("a red disc", **call).images - before).max() > 1 / 255


def test_nothing_personal_goes_along_unless_ticked(studio, new_page, run, tmp_path):
    page = _open(studio, new_page, run.id)
    form, out = page.locator(".export-view .form"), page.locator(".export-view .out")
    for word in SECRETS:
        shows(form, word)  # what a tick would add is shown before
    assert form.locator("input[type=checkbox]:checked").count() == 0
    _export(page).save_as(tmp_path / "plain")
    for summary in out.locator("summary").all():
        summary.click()
    card, table = out.locator("pre").inner_text(), out.locator("table").inner_text()
    assert "pictures to train on" in card and "modelspec.architecture" in table
    for word in (*SECRETS, str(studio.workspace.root)):
        assert word.encode() not in (tmp_path / "plain").read_bytes() and word not in card + table, word
    for box in form.locator("input[type=checkbox]").all():
        box.check()
    _export(page).save_as(tmp_path / "ticked")
    for summary in out.locator("summary").all():
        summary.click()
    card = out.locator("pre").inner_text()
    for word in (*SECRETS, "<b>x</b> ${y}"):
        assert word in card
    data = (tmp_path / "ticked").read_bytes()
    said = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert said["modelspec.trigger_phrase"] == "zanzibar" and said["modelspec.title"] == "geheimrun <b>x</b> ${y}"
    assert b"quixotic" not in data and page.locator(".export-view b").count() == 0


def test_a_snapshot_as_a_folder_and_the_list_of_earlier_ones(studio, new_page, run):
    page = _open(studio, new_page, run.id)
    page.get_by_label("Snapshot").select_option("3")
    page.locator(".export-view [data-layout=peft]").click()
    download = _export(page)
    assert download.suggested_filename.endswith("-step3.zip")
    earlier = page.locator(".export-view .earlier")
    wait_until(lambda: "step3.zip" in earlier.inner_text(), "the list")
    before = earlier.locator("li").count()
    earlier.get_by_role("button", name="Delete").first.click()
    wait_until(lambda: earlier.locator("li").count() == before - 1, "one less")
    page.get_by_role("button", name="Undo").click()
    wait_until(lambda: earlier.locator("li").count() == before, "and back")
    page.reload()
    wait_until(lambda: page.locator(".export-view .earlier li").count() == before, "after a reload")


def test_what_goes_wrong_is_said_where_one_looks(studio, new_page, run):
    page = _open(studio, new_page, "0099-gone")
    shows(page.locator(".export-view .form"), "no such run")
    wait_until(lambda: page.get_by_label("Run", exact=True).input_value() == run.id)
    adapter = run.folder / "adapter.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:1000])
    try:
        page.get_by_role("button", name="Export", exact=True).click()
        page.wait_for_selector(".export-view .out[data-export=failed]")
        shows(page.locator(".export-view .out [role=alert]"), "not a whole .safetensors file")
    finally:
        adapter.write_bytes(whole)
    shutil.rmtree(studio.workspace.root / "exports" / ".tmp-x", ignore_errors=True)


@pytest.mark.parametrize("path", ["/studio/exports/..%2f..%2fstatus.json", "/studio/exports/x/file", "/studio/exports/%00/file"])
def test_strange_ids_are_one_line(studio, path):
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as caught:
        studio.get(path)
    assert caught.value.code in (400, 404) and b"Traceback" not in caught.value.read()
