"""LoHa and OFT on the screens: chosen like any method, their settings drawn, and what each can and cannot do said where one looks."""

import pytest

from studio.dataset.intake import create_dataset
from studio.jobs.processes import supervisor
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import list_runs
from studio.models.bases import find_base
from tests.fixtures.tiny import images
from tests.ui.browser import open_tab, shows, unfold, wait_until

SETTINGS = ["train.steps=4", "train.batch_size=2", "train.snapshot_every=2", "evaluate.num_timesteps=1", "preview.steps=1"]


@pytest.fixture(scope="module")
def shapes(studio, tiny_base):
    return create_dataset(studio.workspace, "shapes", [images(studio.workspace.root / "given", 10)])


def _field(page, name):
    return page.locator(f"#set-{name.replace('.', '-')}").locator("textarea, input")


def test_loha_is_chosen_trained_and_exported_for_the_programs_that_read_it(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=train&dataset=shapes")
    form = page.locator("#train-form")
    page.wait_for_selector(".live-run:not([data-state=loading])")
    wait_until(lambda: "shapes" in form.get_by_label("Dataset").input_value(), "the dataset of the address")
    form.get_by_label("Base", exact=True).click()
    page.get_by_role("option", name="tiny").click()
    form.get_by_label("LoHa").check()
    page.wait_for_selector(".train-note[data-state=ready]")
    shows(page.locator(".train-note"), "GiB of memory")
    wait_until(lambda: "InvokeAI" in page.locator("#train-recipe").inner_text(), "what the method is for")
    unfold(page, "#train-advanced")
    wait_until(lambda: _field(page, "method.rank").is_visible() and _field(page, "method.rank").input_value() == "8", "LoHa's settings")
    _field(page, "method.block_size").wait_for(state="hidden")
    _field(page, "method.rslora").wait_for(state="hidden")
    _field(page, "method.rank").fill("4")
    _field(page, "method.rank").blur()
    for setting in SETTINGS:
        name, _, value = setting.partition("=")
        if not _field(page, name).is_visible():
            unfold(page, f"#set-{name.partition('.')[0]}")
        _field(page, name).fill(value)
        _field(page, name).blur()
    page.get_by_role("button", name="Train adapter", exact=True).click()
    page.wait_for_selector(".live-run[data-state=ready][data-run-state=finished]")
    run = list_runs(studio.workspace)[-1]
    assert (run.spec().recipe, run.spec().methods[0].rank) == ("loha", 4)
    open_tab(page, "Export")
    page.wait_for_selector(".export-view:not([data-state=loading])")
    card = page.locator(".export-view .form [data-layout=lycoris]")
    shows(card, "ComfyUI, InvokeAI", "diffusers cannot read it")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_text("✓ Verified").wait_for()


def test_oft_says_that_it_has_no_strength_between_and_goes_to_peft_alone(studio, shapes, tiny_base, new_page):
    base = str(find_base(tiny_base, studio.workspace).path)
    run = create_run(studio.workspace, Request("shapes", base, "oft", settings=[*SETTINGS, "method.block_size=4"]))
    assert supervisor.start(run).wait(120) == 0
    page = new_page(f"{studio.url}/?tab=compare&run={run.id}")
    page.wait_for_selector(".compare-view[data-state=ready]")
    strength = page.locator("#compare-strength-1 input[type=number]")
    strength.fill("0.5")
    strength.press("Tab")
    page.get_by_role("button", name="Sample", exact=True).click()
    page.get_by_text("only 0 (the base) and 1 (as trained)").first.wait_for()
    page = new_page(f"{studio.url}/?tab=export&run={run.id}")
    page.wait_for_selector(".export-view:not([data-state=loading])")
    layouts = page.locator(".export-view .form [data-layout]")
    shows(layouts, "PEFT")
    wait_until(lambda: layouts.count() == 1)
