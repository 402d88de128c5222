"""Crops on the Dataset screen as a person makes them: dragged, turned, seen as trained, undone."""

import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from studio.dataset import removal
from studio.dataset.framing import Edit
from studio.dataset.intake import create_dataset
from studio.dataset.masks import mask_bytes, open_mask
from studio.dataset.reframe import set_edits
from studio.dataset.rows import open_dataset
from studio.jobs.processes.supervisor import start
from studio.jobs.runs.create import Request, create_run
from studio.store import read_tensors, sha256_file
from tests.dataset.corpus import photo
from tests.fixtures.tiny import tiny_ddpm
from tests.ui.browser import PATIENCE_S, shows, wait_until


@pytest.fixture(scope="module")
def wide(studio, tmp_path_factory):
    """A dataset of six pictures of two shapes."""
    folder = tmp_path_factory.mktemp("given")
    for i in range(6):
        photo(i).resize((240, 120) if i % 2 else (160, 160)).save(folder / f"p{i}.png")
    create_dataset(studio.workspace, "wide", [folder])
    return "wide"


def editor(page):
    page.wait_for_selector(".studio-editor[data-state=ready]")
    return page.locator(".studio-editor")


def drag(page, start, end):
    """Drag on the picture from one place to another, as shares of it."""
    box = page.locator(".studio-editor canvas:visible").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def row(studio, number=1):
    return open_dataset(studio.workspace, "wide").rows[number]


def test_a_picture_is_cropped_turned_seen_as_trained_and_taken_back(studio, new_page, wide):
    page = new_page(f"{studio.url}/?dataset=wide")
    page.wait_for_selector(".dataset-grid .card")
    before = sha256_file(open_dataset(studio.workspace, "wide").path(row(studio)))
    page.locator(".dataset-grid .card .thumb").nth(1).click()
    page.get_by_role("button", name="Crop and turn").click()
    dialog = editor(page)
    shows(dialog.locator("aside [role=status]"), "px")
    wait_until(lambda: dialog.locator(".samples img").count() >= 1)
    drag(page, (0.0, 0.0), (0.5, 0.25))
    crop = wait_until(lambda: row(studio).framing.crop, "the crop")
    assert crop[0] == pytest.approx(0.5, abs=0.03) and crop[1] == pytest.approx(0.25, abs=0.05) and crop[2:] == (1, 1)
    drag(page, (0.7, 0.6), (0.9, 0.6))
    wait_until(lambda: row(studio).framing.focus and abs(row(studio).framing.focus[0] - 0.9) < 0.03, "the focal point")
    page.keyboard.press("r")
    wait_until(lambda: row(studio).framing.turns == 1, "the turn")
    wait_until(lambda: "turned by 90°" in dialog.locator("aside [role=status]").inner_text(), "what was decided, in words")
    page.wait_for_function("[...document.querySelectorAll('.samples img')].every(i => i.complete && i.naturalWidth)")
    shown = Image.open(io.BytesIO(studio.get(dialog.locator(".samples img").first.get_attribute("src"))))
    size = dialog.locator(".samples img").first.evaluate("i => [i.naturalWidth, i.naturalHeight]")
    assert list(shown.size) == size, "the samples are those that the studio serves"
    page.get_by_role("button", name="Undo the last change here").click()
    wait_until(lambda: row(studio).framing.turns == 0 and row(studio).framing.crop, "the turn undone")
    page.keyboard.press("Escape")
    page.locator(".dataset-grid .card").nth(1).locator(".chip", has_text="✂").wait_for()
    assert sha256_file(open_dataset(studio.workspace, "wide").path(row(studio))) == before


def test_the_shapes_that_are_trained_are_listed_and_lead_to_the_editor(studio, new_page, wide):
    page = new_page(f"{studio.url}/?dataset=wide", dark=True)
    page.locator("summary", has_text="Shapes and versions that are trained").click()
    shapes = page.locator(".shapes li")
    shapes.first.wait_for()
    counts = [int(text.split(" picture")[0].split()[-1]) for text in shapes.locator("p").all_inner_texts()]
    shows(shapes.first, "cut away")
    assert sum(counts) == 6
    page.wait_for_function("[...document.querySelectorAll('.shapes img')].every(i => i.complete && i.naturalWidth)")
    shapes.locator(".sample").first.click()
    dialog = editor(page)
    dialog.locator("canvas:visible").focus()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: any(each.framing.focus for each in open_dataset(studio.workspace, "wide").rows), "the focal point by keyboard")
    page.keyboard.press("Escape")


def test_places_are_the_same_in_the_page_and_in_the_backend(studio, page):
    """A page and the backend agree where a place of a picture is seen, whichever way it is turned, and what a turn does to that."""
    ask = """async edits => {
        const m = await import('/studio/static/framing_geometry.js');
        const place = [0.2, 0.7], actions = ['left', 'right', 'mirror'];
        return edits.map(e => [m.toSeen(e, place), m.toStored(e, m.toSeen(e, place)), ...actions.map(a => m.turned(e, a))]);
    }"""
    edits = [Edit(turns=turns, mirror=mirror, focus=(0.2, 0.7)) for turns in range(4) for mirror in (False, True)]
    for edit, (seen, stored, *turned) in zip(edits, page.evaluate(ask, [e.model_dump(mode="json") for e in edits]), strict=True):
        assert seen == pytest.approx(edit.seen_focus(100, 100)) and stored == pytest.approx((0.2, 0.7))
        assert [Edit.model_validate(each) for each in turned] == [edit.then(action) for action in ("left", "right", "mirror")]


def test_selected_pictures_are_turned_together_and_it_can_be_undone(studio, new_page, wide):
    page = new_page(f"{studio.url}/?dataset=wide")
    cards = page.locator(".dataset-grid .card .thumb")
    cards.nth(4).click(modifiers=["Control"])
    cards.nth(5).click(modifiers=["Control"])
    page.get_by_role("button", name="Mirror the selected pictures").click()
    wait_until(lambda: all(row(studio, n).framing.mirror for n in (4, 5)), "both are mirrored")
    page.locator(".studio-toast.undo").get_by_role("button", name="Undo").click()
    wait_until(lambda: not any(row(studio, n).framing.mirror for n in (4, 5)), "both as before")


def grey(studio, number):
    found = open_dataset(studio.workspace, "wide")
    data = mask_bytes(found, found.rows[number])
    return open_mask(found, found.rows[number], data) if data else None


def test_a_mask_is_painted_inverted_and_undone(studio, new_page, wide):
    page = new_page(f"{studio.url}/?dataset=wide")
    page.locator(".dataset-grid .card .thumb").nth(2).click()
    page.get_by_role("button", name="Mask", exact=True).click()
    editor(page)
    canvas = page.locator(".studio-editor canvas:visible")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    mask = wait_until(lambda: grey(studio, 2), "the mask")
    assert mask.getpixel((80, 80)) == 255 and mask.getpixel((80, 10)) == 0, "the rest is left out"
    page.keyboard.press("i")
    wait_until(lambda: grey(studio, 2).getpixel((80, 80)) == 0, "it is inverted")
    page.keyboard.press("x")
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "Space"):
        page.keyboard.press(key)
    page.keyboard.press("Control+z")
    page.get_by_role("button", name="Undo the last stroke").click()
    wait_until(lambda: grey(studio, 2).getpixel((80, 80)) == 255, "the first stroke alone")
    page.get_by_role("button", name="Undo the last stroke").click()
    wait_until(lambda: grey(studio, 2) is None, "no mask, as before")
    page.get_by_role("button", name="Leave out").or_(page.get_by_role("button", name="Erase from training")).first.click()
    page.get_by_role("button", name="Fill the whole picture").click()
    wait_until(lambda: grey(studio, 2) and grey(studio, 2).getextrema() == (0, 0), "all of it is left out")
    wait_until(lambda: page.locator(".veil").count() == 1, "as trained, the mask is seen")
    page.get_by_role("button", name="Remove the mask").click()
    wait_until(lambda: grey(studio, 2) is None, "the mask is removed")
    page.keyboard.press("Escape")


@pytest.fixture(scope="module")
def pixels(studio):
    """A base whose latents are the pixels themselves, in the workspace's models folder; its name there."""
    tiny_ddpm(studio.workspace.models / "pixels", size_px=16)
    return "pixels"


def tensors(studio, name):
    """Every cached tensor of this name."""
    found = [read_tensors(path) for path in (studio.workspace.cache / "encoded").rglob("*.safetensors")]
    return [each[name] for each in found if name in each]


def test_what_was_cropped_and_masked_here_is_what_a_run_reads(studio, new_page, wide, pixels):
    page = new_page(f"{studio.url}/?dataset=wide")
    page.locator(".dataset-grid .card:not(:has(.held-out)) .thumb").nth(2).click()
    page.get_by_role("button", name="Crop and turn").click()
    dialog = editor(page)
    dialog.get_by_label("Base model the shapes are for").select_option(pixels)
    drag(page, (0.0, 0.0), (0.2, 0.3))
    page.keyboard.press("l")
    status = dialog.locator("aside [role=status]")
    wait_until(lambda: "cropped, turned by 270°" in status.inner_text(), "crop and turn")
    page.get_by_role("radio", name="Mask").click()
    drag(page, (0.4, 0.4), (0.6, 0.6))
    wait_until(lambda: page.locator(".veil").count() >= 1 and "masked" in status.inner_text(), "the mask, as trained")
    shown, veil = (dialog.locator(f".samples .layers >> nth=0 >> {kind}").get_attribute("src") for kind in ("img:not(.veil)", "img.veil"))
    page.keyboard.press("Escape")
    settings = [
        "train.steps=2",
        "train.batch_size=2",
        "preview.every=0",
        "evaluate.num_timesteps=1",
        "method.rank=2",
        "data.mask_floor=0.2",
    ]
    run = create_run(studio.workspace, Request("wide", pixels, recipe="ddpm-lora", settings=settings))
    assert start(run).wait(PATIENCE_S) == 0, (run.folder / "log.txt").read_text()
    seen, mask = (np.asarray(Image.open(io.BytesIO(studio.get(src)))).copy() for src in (shown, veil))
    wanted = torch.from_numpy(seen).permute(2, 0, 1).float() / 127.5 - 1
    assert any(torch.equal(wanted, latent) for latent in tensors(studio, "mean")), "the very pixels that were shown"
    assert any(torch.equal(torch.from_numpy(mask)[None], each) for each in tensors(studio, "mask")), "and the very mask"
    held_out = {row.file for row in open_dataset(studio.workspace, "wide").held_out_rows}
    data = json.loads((run.folder / "origin.json").read_text())["data"]
    assert {file for file, each in data.items() if each["split"] == "held_out"} == held_out != set()
    masked = [file for file, each in data.items() if "mask" in each]
    assert len(masked) == 1 and data[masked[0]]["edit"]["turns"] == 3


def test_the_editor_by_keyboard_closely_undone_redone_and_in_two_windows(studio, new_page, wide):
    set_edits(studio.workspace, "wide", {row(studio, 3).file: Edit()})  # which picture other stories have cropped is the split's affair
    first, second = new_page(f"{studio.url}/?dataset=wide"), new_page(f"{studio.url}/?dataset=wide", dark=True)
    for page in (first, second):
        page.locator(".dataset-grid .card .thumb").nth(3).click()
        page.get_by_role("button", name="Crop and turn").click()
    dialog, canvas = editor(first), first.locator(".studio-editor canvas:visible")
    before = canvas.bounding_box()["width"]
    first.get_by_role("button", name="Larger").click()
    canvas.focus()
    first.keyboard.press("+")
    assert canvas.bounding_box()["width"] == pytest.approx(before * 1.25**2, abs=2)
    assert dialog.locator(".stage:visible").evaluate(
        "s => (s.scrollWidth > s.clientWidth && s.scrollLeft > 0) || (s.scrollHeight > s.clientHeight && s.scrollTop > 0)"
    )
    first.keyboard.press("0")
    assert canvas.bounding_box()["width"] == before
    for key in ("Alt+ArrowLeft", "Alt+ArrowLeft", "Alt+Shift+ArrowDown"):
        first.keyboard.press(key)
    crop = wait_until(
        lambda: row(studio, 3).framing.crop and row(studio, 3).framing.crop[1] > 0 and row(studio, 3).framing.crop, "the crop"
    )
    assert crop == pytest.approx((0, 0.01, 0.98, 1), abs=0.001)
    first.locator(".studio-editor[data-state=ready]").wait_for()
    held, is_slow = [], True
    first.route(re.compile(r"/framing\?"), lambda route: held.append(route) if is_slow else route.continue_())
    first.keyboard.press("Control+z")
    wait_until(lambda: held or first.wait_for_timeout(50), "the question how it is framed now")
    assert row(studio, 3).framing.crop != crop, "undone"
    first.get_by_role("button", name="Do what was undone here again").and_(first.locator(":enabled")).wait_for()
    first.keyboard.press("Control+y")  # before the answer
    is_slow = False
    for route in held:
        route.continue_()
    wait_until(lambda: row(studio, 3).framing.crop == crop, "done again")
    second.keyboard.press("f")  # a window that still shows the whole picture
    second.locator(".studio-toast", has_text="framed in another window").wait_for()
    assert row(studio, 3).framing.crop == crop and not row(studio, 3).framing.mirror
    wait_until(lambda: "cropped" in second.locator("aside [role=status]").inner_text(), "the second window shows it now")
    second.keyboard.press("f")
    wait_until(lambda: row(studio, 3).framing.mirror and row(studio, 3).framing.crop == crop, "both changes")
    removal.remove_pictures(studio.workspace, "wide", [row(studio, 3).file])
    first.keyboard.press("r")
    first.locator(".studio-toast", has_text="not in wide").wait_for()
