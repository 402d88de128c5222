"""The Train screen as stories use it: choices made, settings filled in, a run that ends."""

from studio.jobs.runs.folders import list_runs
from tests.ui.browser import PATIENCE_S, unfold, wait_until

SMALL = {
    "train.batch_size": "2", "train.snapshot_every": "40", "preview.every": "40", "preview.steps": "1", "evaluate.num_timesteps": "1",
}  # fmt: skip
FILL = """pairs => pairs.forEach(([field, text]) => {
    field.value = text;
    for (const name of ['input', 'change', 'blur']) field.dispatchEvent(new Event(name, {bubbles: name !== 'blur'}));
})"""
SMALL_NAMES = {name.replace(".", "__"): value for name, value in SMALL.items()}


def form(page):
    return page.locator("#train-form")


def choose(page):
    page.wait_for_selector(".live-run:not([data-state=loading])")
    wait_until(lambda: "shapes" in form(page).get_by_label("Dataset").input_value(), "the dataset of the address")
    base = form(page).get_by_label("Base", exact=True)
    base.click()
    page.get_by_role("option", name="tiny").click()
    page.wait_for_selector(".train-note[data-state=ready]")
    wait_until(lambda: form(page).get_by_label("Preview prompts").input_value(), "prompts of the dataset")


def field_of(page, name):
    return page.locator(f"#set-{name.replace('.', '-')}").locator("textarea, input")


def set_advanced(page, **more):
    """Fill settings where they are drawn, all at once, for each asks the studio what follows; `train__steps` is train.steps."""
    wanted = {name.replace("__", "."): value for name, value in more.items()}
    if not page.locator("#train-advanced").get_by_role("button", name="Reset to the preset").is_visible():
        unfold(page, "#train-advanced")
    for name in wanted:
        if not field_of(page, name).is_visible():
            unfold(page, f"#set-{name.partition('.')[0]}")
        field_of(page, name).wait_for()
    page.evaluate(FILL, [[field_of(page, name).element_handle(), value] for name, value in wanted.items()])


def press_train(page, clicks=1):
    page.get_by_role("button", name="Train adapter", exact=True).click(click_count=clicks)


def finished_run(studio, page, press):
    """The run that `press` starts, once the page shows that it has finished: an earlier one may be shown until then."""
    before = {r.id for r in list_runs(studio.workspace)}
    press(page)
    run = wait_until(lambda: next((r for r in list_runs(studio.workspace) if r.id not in before), None), "a new run")
    page.wait_for_selector(f".live-run[data-run='{run.id}'][data-run-state=finished]", timeout=3 * PATIENCE_S * 1000)
    return run
