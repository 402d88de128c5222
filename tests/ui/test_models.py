"""The Models screen: what is there, what it is good for, and places to look in, in a real browser."""

import shutil

import pytest

from studio.model_places import model_places
from tests.fixtures.kept_runs import write_safetensors
from tests.ui.browser import address, open_tab, wait_until

CHECKPOINT = {"model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3], "cond_stage_model.transformer.text_model.x": [4, 4]}


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
        assert words in card.inner_text(), words
    assert "fits" in _card(page, tiny_base).inner_text()
    card.get_by_role("button", name="Model card").click()
    dialog = page.get_by_role("dialog")
    assert "# The embedded base model" in dialog.inner_text()
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
    assert "Dream <img src=x" in dream.inner_text() and "MIT ${console" in dream.inner_text()
    assert page.locator(".models-list img").count() == 0
    assert "adapter (LoRA)" in _card(page, "style.safetensors").inner_text()
    assert "can run code" in _card(page, "old.ckpt").inner_text()
    assert _card(page, "old.ckpt").get_by_role("button").count() == 0
    assert page.get_by_label("Folder or file to add").input_value() == ""
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
        assert page.get_by_label("Folder or file to add").input_value() == path and model_places(studio.workspace) == []


def test_a_place_that_has_gone_is_said(studio, shelf, new_page):
    page = _open(studio, new_page)
    page.get_by_label("Folder or file to add").fill(str(shelf))
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name=f"Remove {shelf}").wait_for()
    shutil.rmtree(shelf)
    page.get_by_role("button", name="Look again").click()
    page.locator(".models-list .places", has_text="it is gone").wait_for()
    assert _card(page, "starter").count() == 1


def test_routes_refuse_what_is_not_theirs(studio, page):
    for method, path, body in (
        ("POST", "/studio/models/places", "{}"),
        ("POST", "/studio/models/places", '{"path": 3}'),
        ("POST", "/studio/models/places", '{"path": "/tmp", "more": 1}'),
        ("DELETE", "/studio/models/places", '{"path": "/nobody/added/this"}'),
        ("GET", "/studio/models/..%2F..%2Fetc/card", None),
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
