"""The Models screen: what is there, what it is good for, and places to look in, in a real browser."""

import os
import shutil

import pytest

from studio.models.places import model_places
from tests.fixtures.kept_runs import write_safetensors
from tests.fixtures.shelf import mixed_shelf
from tests.ui.browser import address, open_tab, shows, wait_until

CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3],
    "cond_stage_model.transformer.text_model.x": [4, 4],
    "first_stage_model.x": [4, 4],
}


@pytest.fixture()
def shelf(studio, tmp_path):
    """A folder of models that no studio knows yet."""
    (studio.workspace.root / "models.json").unlink(missing_ok=True)
    titles = {"modelspec.title": "Dream <img src=x onerror=console.error(1)>", "modelspec.license": "MIT ${console.error(2)}"}
    write_safetensors(tmp_path / "checkpoints" / "dream.safetensors", CHECKPOINT, titles)
    write_safetensors(tmp_path / "style.safetensors", {"lora_unet_x.lora_down.weight": [4, 8]})
    (tmp_path / "old.ckpt").write_bytes(b"x")
    return tmp_path


def _open(studio, new_page, **options):
    page = new_page(f"{studio.url}/?tab=models", **options)
    page.wait_for_selector(".models-list[data-state=ready]")
    return page


def _card(page, source):
    return page.locator(f".models-list .card[data-model='{source}']")


def test_the_embedded_model_is_told_and_trained_on(studio, tiny_base, new_page):
    page = _open(studio, new_page)
    card = _card(page, "starter")
    for words in ("Domain Studio starter", "Stable Diffusion", "MB", "Apache-2.0", "needs about", "fits"):
        shows(card, words)
    shows(_card(page, tiny_base), "fits")
    card.get_by_role("button", name="Model card").click()
    dialog = page.get_by_role("dialog")
    shows(dialog, "# The embedded base model")
    dialog.get_by_role("button", name="Close").click()
    for source, label in ((tiny_base, tiny_base), ("starter", "Starter")):
        _card(page, source).get_by_role("button", name="Train on").click()
        wait_until(lambda: "tab=train" in address(page), "the Train tab")
        wait_until(lambda label=label: page.get_by_role("combobox", name="Base").input_value() == label, f"{label} as the base")
        open_tab(page, "Models")


def test_a_folder_is_added_looked_through_and_forgotten(studio, shelf, new_page):
    page = _open(studio, new_page)
    page.get_by_label("Folder or file to add").fill(str(shelf))
    page.get_by_label("Folder or file to add").press("Enter")
    dream = _card(page, "dream.safetensors")
    dream.wait_for()
    shows(dream, "Dream <img src=x", "MIT ${console")
    assert page.locator(".models-list img").count() == 0
    shows(_card(page, "style.safetensors"), "adapter (LoRA)")
    shows(_card(page, "old.ckpt"), "can run code")
    assert _card(page, "old.ckpt").get_by_role("button").count() == 0
    wait_until(lambda: page.get_by_label("Folder or file to add").input_value() == "")
    page.get_by_role("button", name=f"Remove {shelf}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    dream.wait_for(state="detached")
    assert model_places(studio.workspace) == [] and (shelf / "old.ckpt").exists()


def test_a_place_that_cannot_be_is_said_where_it_was_typed(studio, shelf, new_page):
    page = _open(studio, new_page)
    for path, words in (
        ("", "give the folder"),
        ("relative/path", "whole path"),
        ("/no/such <b>place</b>", "nothing is there"),
        ("/" + "x" * 300, "too long"),
        (str(shelf / "old.ckpt"), "can run code"),
    ):
        page.get_by_label("Folder or file to add").fill(path)
        page.get_by_role("button", name="Add", exact=True).click()
        wait_until(lambda words=words: words in page.locator(".models-list .wrong").inner_text(), words)
        wait_until(lambda path=path: page.get_by_label("Folder or file to add").input_value() == path)
        assert model_places(studio.workspace) == []


def test_a_place_that_has_gone_is_said(studio, shelf, new_page):
    page = _open(studio, new_page)
    page.get_by_label("Folder or file to add").fill(str(shelf))
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name=f"Remove {shelf}").wait_for()
    shutil.rmtree(shelf)
    page.get_by_role("button", name="Look again").click()
    page.locator(".models-list .places", has_text="it is gone").wait_for()
    wait_until(lambda: _card(page, "starter").count() == 1)


@pytest.fixture()
def mixed(studio, tiny_base, shelf):
    """The shelf of twenty files, and one adapter for the tiny base as kohya's trainer would have saved it."""
    import torch

    from studio.families import sd
    from studio.methods import lora
    from studio.store import write_tensors

    parts = sd.load(studio.workspace.models / tiny_base, torch.float32, torch.device("cpu"))
    spec = lora.Spec(rank=4, targets="attention")
    adapter = lora.attach(parts, spec, sd.card, 0)
    for i, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)) * 0.1)
    write_tensors(shelf / "mine" / "tiny style.safetensors", lora.export(adapter.state(), spec, "kohya", sd.card))
    return mixed_shelf(shelf / "mixed").parent


def test_a_mixed_folder_is_told_and_an_adapter_is_merged(studio, tiny_base, mixed, new_page, tmp_path):
    page = _open(studio, new_page)
    if not page.get_by_label("Folder or file to add").is_visible():  # folded where an earlier look through places is shown
        page.locator(".models-list .where > summary").click()
    page.get_by_label("Folder or file to add").fill(str(mixed))
    page.get_by_role("button", name="Add", exact=True).click()
    for name, words in (
        ("sdxl.safetensors", "Stable Diffusion XL"),
        ("flux1-dev-fp8.safetensors", "quantised (fp8)"),
        ("style-kohya.safetensors", "What to do: drop it on Compare"),
        ("sdxl_vae.safetensors", "VAE alone"),
        ("cut.safetensors", "not a whole .safetensors"),
        ("flux1-dev-Q4_K_S.gguf", "GGUF"),
        ("model-00001-of-00003.safetensors", "shard 1 of 3"),
    ):
        _card(page, name).wait_for()
        shows(_card(page, name), words)
    sift = page.get_by_role("radiogroup", name="Which models")
    for label, one, other in (
        ("Adapters", "style-kohya.safetensors", "sdxl.safetensors"),
        ("Can be trained on", "sdxl.safetensors", "cut.safetensors"),
        ("Parts of models", "sdxl_vae.safetensors", "style-kohya.safetensors"),
    ):
        sift.get_by_role("radio", name=label).click()
        _card(page, other).wait_for(state="detached")
        _card(page, one).wait_for()
    sift.get_by_role("radio", name="All").click()
    page.get_by_label("Search models").fill("xl vae")
    _card(page, "sdxl.safetensors").wait_for(state="detached")
    _card(page, "sdxl_vae.safetensors").wait_for()
    page.get_by_label("Search models").fill("<no such>")
    page.get_by_text("Nothing here is called “<no such>”").wait_for()
    page.get_by_label("Search models").fill("")
    _card(page, "sd15.safetensors").wait_for()
    shows(_card(page, "sd15.safetensors"), "fits", "needs about")
    panel = page.locator(".models-list .merge")
    panel.get_by_text("Merge adapters").click()
    panel.get_by_role("checkbox", name="tiny style.safetensors").check()
    assert "an adapter (LoRA) for Stable Diffusion" in panel.locator("label", has_text="tiny style.safetensors").inner_text()
    panel.get_by_role("checkbox", name="style-kohya.safetensors").check()
    assert not panel.get_by_role("checkbox", name="tiny style.safetensors").is_checked(), "one goes into a base"
    panel.get_by_role("checkbox", name="tiny style.safetensors").check()
    panel.get_by_label("Strength of tiny style.safetensors").fill("0.8")
    panel.get_by_label("Base", exact=True).select_option(tiny_base)
    panel.get_by_label("Name of the result").fill("Tiny with style")
    panel.get_by_role("button", name="Merge and verify").click()
    panel.get_by_text("verified:").wait_for()
    shows(panel, "layers")
    assert (studio.workspace.models / "tiny-with-style" / "model_index.json").is_file()
    _card(page, "tiny-with-style").get_by_role("button", name="Train on").wait_for()
    panel.get_by_role("button", name="Merge and verify").click()
    panel.get_by_text("something is there already").wait_for()
    if os.environ.get("STUDIO_SHOTS"):
        page.screenshot(path=os.environ["STUDIO_SHOTS"] + "/models.png", full_page=True)


def test_among_many_adapters_one_is_found_and_places_added_meanwhile_are_looked_through(studio, shelf, new_page, tmp_path):
    layer = "lora_unet_down_blocks_1_attentions_0_proj_in"
    for i in range(12):
        write_safetensors(
            tmp_path / "loras" / f"style {i:02}.safetensors", {f"{layer}.lora_down.weight": [4, 8], f"{layer}.lora_up.weight": [8, 4]}
        )
    page = _open(studio, new_page)
    if not page.get_by_label("Folder or file to add").is_visible():
        page.locator(".models-list .where > summary").click()
    for folder in (tmp_path / "checkpoints", tmp_path / "loras"):  # the second while the first is looked through
        page.get_by_label("Folder or file to add").fill(str(folder))
        page.get_by_label("Folder or file to add").press("Enter")
        wait_until(lambda: page.get_by_label("Folder or file to add").input_value() == "", "the place is taken")
    _card(page, "dream.safetensors").wait_for()
    _card(page, "style 11.safetensors").wait_for()
    panel = page.locator(".models-list .merge")
    panel.get_by_text("Merge adapters").click()
    panel.get_by_role("checkbox", name="style 03.safetensors").check()
    panel.get_by_label("Search adapters").fill("style 07")
    rows = panel.locator("label.row:visible")
    wait_until(lambda: rows.count() == 2, "what is found, and what is chosen")
    shows(panel, "style 03.safetensors", "style 07.safetensors", "Strength")
    panel.get_by_role("button", name="Merge and verify").click()
    panel.get_by_text("say which base model the adapters were made for").wait_for()
    shutil.rmtree(tmp_path / "loras")
    page.get_by_role("button", name="Look again").click()
    wait_until(lambda: panel.get_by_role("checkbox", name="style 03.safetensors").count() == 0, "what is gone is no choice")


def test_a_hub_model_without_a_network_says_so(studio, new_page):
    page = _open(studio, new_page)
    page.locator(".models-list summary", has_text="Get from the hub").click()
    hub = page.locator(".models-list .hub")
    hub.get_by_label("Hub id").fill("no id")
    hub.get_by_role("button", name="Look").click()
    hub.get_by_text("this is no hub id").wait_for()


def test_routes_refuse_what_is_not_theirs(studio, page):
    for method, path, body in (
        ("POST", "/studio/models/places", "{}"),
        ("POST", "/studio/models/places", '{"path": 3}'),
        ("POST", "/studio/models/places", '{"path": "/tmp", "more": 1}'),
        ("DELETE", "/studio/models/places", '{"path": "/nobody/added/this"}'),
        ("GET", "/studio/models/..%2F..%2Fetc/card", None),
        ("POST", "/studio/models/errands/other/stop", "{}"),
        ("POST", "/studio/models/merge", '{"what": "into", "adapters": [], "name": "x"}'),
        ("POST", "/studio/models/merge", '{"what": "eat", "adapters": [{"source": "x"}], "name": "x"}'),
        ("POST", "/studio/models/fetch", '{"id": 3}'),
        ("GET", "/studio/models/0/card", None),
    ):
        status, text = page.evaluate(
            """async ([method, path, body]) => {
                const answer = await fetch(path, {method, body, headers: body ? {'Content-Type': 'application/json'} : {}});
                return [answer.status, await answer.text()];
            }""",
            [method, path, body],
        )
        assert 400 <= status < 500 and "Traceback" not in text, (path, status, text)
