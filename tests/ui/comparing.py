"""The Compare screen as stories use it: pictures drawn, looked at, and the settings that are shown."""

from studio.jobs.draw.drawings import read_drawing
from tests.ui.browser import wait_until


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


def mean_difference(drawing):
    import numpy as np
    from PIL import Image

    base, adapted = (np.asarray(Image.open(drawing.pictures / p.file), np.float64) for p in drawing.result()["pictures"])
    return float(np.abs(adapted - base).mean() / 255)


def controls(page):
    named = ("Seed", "Count", "Steps", "Guidance scale", "Negative prompt", "Sampler", "Size", "Adapter 1", "Snapshot")
    values = {name: page.locator("#compare-side").get_by_label(name, exact=True).first.input_value() for name in named}
    values["Prompt"] = page.get_by_role("textbox", name="Prompt", exact=True).input_value()
    return values | {"Strength": page.locator("#compare-strength-1 input[type=number]").input_value()}
