"""What a person needs next is in sight and legible: buttons that start, what they started, tools, texts on their grounds."""

import pytest

from studio.dataset.intake import create_dataset
from tests.fixtures.kept_runs import kept_run
from tests.fixtures.tiny import images
from tests.ui.browser import open_tab, unfold, wait_until

# Texts whose contrast with what lies behind them is below AA (WCAG 2.2, 1.4.3): 4.5, of large ones 3.
PALE = """() => {
    const dot = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        dot.clearRect(0, 0, 1, 1);
        dot.fillStyle = colour;
        dot.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = dot.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (front, ground) => [0, 1, 2].map(i => front[i] * front[3] + ground[i] * (1 - front[3]));
    const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const found = [];
    for (const e of document.querySelectorAll('body *')) {
        const box = e.getBoundingClientRect(), style = getComputedStyle(e);
        const isField = e.matches('textarea, input:not([type=checkbox], [type=radio], [type=range])');
        const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent).join('').trim();
        const text = isField ? e.value || e.placeholder : own, isOut = e.closest(':disabled, [aria-disabled=true]');
        if (!text || box.width < 2 || box.height < 2 || style.visibility === 'hidden' || isOut) continue;
        const around = [];
        for (let each = e; each; each = each.parentElement) around.unshift(each);
        if (around.some(each => Number(getComputedStyle(each).opacity) < 1)) continue; // shown under the pointer, or not to be used now
        let ground = [255, 255, 255];
        for (const each of around) ground = over(rgba(getComputedStyle(each).backgroundColor), ground);
        const colour = isField && !e.value ? getComputedStyle(e, '::placeholder').color : style.color;
        const [high, low] = [light(over(rgba(colour), ground)), light(ground)].sort((a, b) => b - a), size = parseFloat(style.fontSize);
        const ratio = (high + 0.05) / (low + 0.05), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (isLarge ? 3 : 4.5)) found.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def shapes(studio):
    kept_run(studio.workspace)
    kept_run(studio.workspace, "went wrong", state="failed", error="the loss is no number any more", change=0.2)
    kept_run(studio.workspace, "left off", state="interrupted", change=None)
    given = images(studio.workspace.root / "given", 30)
    create_dataset(studio.workspace, "others", [given])
    return create_dataset(studio.workspace, "shapes", [given])


def edges(page, selector):
    """Where an element begins and ends below the upper edge of the window, in px."""
    box = page.locator(selector).first.bounding_box()
    return (round(box["y"]), round(box["y"] + box["height"])) if box else (-1, 10**6)


def in_window(page, selector):
    top, bottom = edges(page, selector)
    return top >= 0 and bottom <= page.viewport_size["height"]


def test_the_button_that_trains_is_in_sight_however_long_the_form(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=train&dataset=shapes", width=1280, height=720)
    page.wait_for_selector(".train-note[data-state=ready]")
    wait_until(lambda: in_window(page, "#train-button"), "the button of the folded form")
    unfold(page, "#train-advanced")
    page.locator("#set-train").wait_for()
    wait_until(lambda: edges(page, "#train-form")[1] > 1200 and in_window(page, "#train-button"), "the button of the long form")


def test_a_run_that_is_opened_on_a_narrow_page_comes_into_sight(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?tab=runs", width=390, height=844)
    page.locator("td.name .label", has_text="went wrong").click()
    page.wait_for_selector(".live-run[data-run-state=failed]")
    wait_until(lambda: 0 <= edges(page, ".live-run .head")[0] < 422, "the run, not the form above it")


def test_the_tools_stay_beside_the_pictures(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?dataset=shapes", width=1280, height=720)
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    page.locator(".dataset-grid .card").last.scroll_into_view_if_needed()
    wait_until(lambda: page.evaluate("scrollY") > 300, "the page is scrolled")
    wait_until(lambda: -20 < edges(page, ".dataset-tools")[0] < 100, "the tools")


def test_a_template_is_of_the_pictures_it_was_typed_for(studio, shapes, new_page):
    page = new_page(f"{studio.url}/?dataset=shapes")
    page.locator(".dataset-tools select[aria-label=Captioner] option[value=template]").wait_for(state="attached")
    page.locator("select[aria-label=Captioner]").select_option("template")
    text = page.get_by_label("Template", exact=True)
    text.fill("chest x-ray")
    page.get_by_role("button", name="Preview template").click()
    examples = page.locator(".captioned .examples")
    wait_until(lambda: page.get_by_text("captions change").count() or page.get_by_text("No caption would change").count(), "the preview")
    text.fill("chest x-ray, frontal")
    examples.wait_for(state="detached")
    page.get_by_role("button", name="Preview template").click()
    page.evaluate("window.studio.place.set({dataset: 'others'})")
    wait_until(lambda: text.input_value() == "{name}", "the template that fits all")
    page.evaluate("window.studio.place.set({dataset: 'shapes'})")
    wait_until(lambda: text.input_value() == "chest x-ray, frontal", "what was typed for these")


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(studio, shapes, new_page, dark):
    page = new_page(f"{studio.url}/?dataset=shapes", dark=dark)
    page.wait_for_selector(".dataset-grid[data-state=ready]")
    for label in ("Dataset", "Train", "Compare", "Runs", "Export", "Models"):
        open_tab(page, label)
        page.wait_for_function("() => !document.querySelector('.studio-widget[data-state=loading]')")
        wait_until(lambda: not page.evaluate(PALE), f"legible texts on {label}, dark={dark}", 20)
