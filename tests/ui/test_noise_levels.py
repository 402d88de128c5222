"""The Train screen shows which noise levels training will draw: the model's own, and what a person makes of them."""

from studio.dataset.intake import create_dataset
from tests.fixtures.tiny import images
from tests.fixtures.tiny_flow import MODELS, tiny
from tests.ui.browser import unfold, wait_until


def test_the_histogram_follows_base_and_settings(studio, new_page):
    create_dataset(studio.workspace, "flow shapes", [images(studio.workspace.root / "flow-given", 12)])
    tiny(MODELS["z_image"].build, studio.workspace.models / "a-flow")
    page = new_page(f"{studio.url}/?tab=train&dataset=flow-shapes")
    page.wait_for_selector(".train-note[data-state=ready]")
    unfold(page, "#train-advanced")
    levels = page.locator("#noise-levels")
    wait_until(lambda: "every noise level alike (uniform)" in levels.inner_text(), "the starter's own: uniform")

    page.locator("#train-form").get_by_label("Base", exact=True).click()
    page.get_by_role("option", name="a-flow").click()
    wait_until(lambda: "middle noise levels most (logit-normal), shift 3, the model's own" in levels.inner_text(), "the flow model's own")
    heights = [int(float(bar.split(":")[1].strip(" ;%"))) for bar in bars(levels)]
    assert len(heights) == 20 and max(heights) == 100 and heights.index(100) > 10

    unfold(page, "#set-train")
    shift = page.locator("#set-train-timestep_shift").locator("input, textarea")
    shift.fill("0.5")
    shift.blur()
    wait_until(lambda: "shift 0.5; the model's own is 3" in levels.inner_text(), "a shift of one's own")
    wait_until(lambda: levels.get_by_role("img").get_attribute("aria-label").startswith("Histogram of noise levels: middle noise levels"))


def bars(levels):
    return levels.locator(".bars > span").evaluate_all("found => found.map(bar => bar.getAttribute('style'))")
