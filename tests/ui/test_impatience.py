"""Who does not wait: tabs, datasets and buttons pressed before the answers to the last ones, and answers that never come."""

import inspect
import re

import gradio as gr
import pytest

from studio.dataset.intake import create_dataset
from studio.store import Workspace
from tests.fixtures.tiny import images
from tests.ui.browser import address, wait_until

ASKING = re.compile("/gradio_api/run/")


@pytest.fixture(scope="module")
def datasets(studio):
    for name in ("shapes", "others"):
        create_dataset(studio.workspace, name, [images(studio.workspace.root / name, 3)])


@pytest.fixture()
def line(studio, datasets, new_page):
    """`line(url, ready)` gives (page, state); state["mode"] says whether questions of a kind pass, are held, lost, or answered in part."""

    def make(url, ready, kind=ASKING, mode="pass"):
        page, state = new_page(studio.url + url), {"mode": mode, "held": []}
        page.wait_for_selector(ready)

        def take(route):
            if state["mode"] == "hold":
                state["held"].append(route)
            elif state["mode"] == "lose":
                route.abort()
            elif state["mode"] == "cut":
                route.fulfill(content_type="application/json", body='{"data": [')
            else:
                route.continue_()

        page.route(kind, take)
        return page, state

    return make


def _tab(page):
    return page.get_by_role("tab", selected=True).inner_text().lower()


def test_no_event_is_dropped_and_none_needs_a_stream(tmp_path):
    """Gradio's "once" drops clicks, "always_last" repeats the first event's data, and a stream that breaks has it load the page anew."""
    from ui.app import build_page
    from ui.desk import Desk

    page = build_page(Desk(Workspace.at(tmp_path)))
    events = [fn for fn in page.fns.values() if fn.api_visibility == "private"]
    assert len(events) > 30
    for event in events:
        assert not event.queue and event.trigger_mode in {"multiple", "always_last"}, event.name
        takes = inspect.signature(event.fn).parameters.values() if event.fn else []
        assert event.trigger_mode == "multiple" or gr.EventData not in {each.annotation for each in takes}, event.name


def test_tabs_opened_fast_page_and_address_agree(studio, new_page):
    page = new_page(studio.url + "/?tab=runs")
    wait_until(lambda: _tab(page) == "runs", "the tab of the address")
    for keys, last in (("31425", "export"), ("6216", "models")):
        for key in keys:
            page.keyboard.press(key)
        page.evaluate("window.studio.place.open('train'); window.studio.place.open('compare')")
        page.keyboard.press(keys[-1])
        wait_until(lambda last=last: _tab(page) == last and f"tab={last}" in address(page), f"{last}, in page and address")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in turn", "crossing"])
def test_train_takes_the_dataset_of_the_address_though_it_would_choose_one_itself(line, order):
    page, state = line("/", ".status-strip[data-state=ready]")
    state["mode"] = "hold"
    page.evaluate("window.studio.place.open('train', { dataset: 'shapes' })")
    wait_until(lambda: len(state["held"]) >= 2 or page.wait_for_timeout(50), "what the screen asks when it opens, and about the dataset")
    state["mode"] = "pass"
    for i in order:
        with page.expect_response(ASKING):
            state["held"][i].continue_()
    for route in state["held"][2:]:
        route.continue_()
    wait_until(lambda: page.locator("#train-dataset input").input_value().startswith("shapes"), "the dataset")


def test_the_picker_names_the_dataset_of_the_address_though_answers_cross(line):
    page, state = line("/?tab=dataset&dataset=shapes", "#dataset-picker input")
    state["mode"] = "hold"
    for name in ("others", "shapes", "others"):
        page.evaluate("name => window.studio.place.set({ dataset: name })", name)
    wait_until(lambda: len(state["held"]) >= 3 or page.wait_for_timeout(50), "three questions")
    _let(page, state)
    wait_until(lambda: page.locator("#dataset-picker input").input_value() == "others", "the dataset that is shown")


@pytest.mark.parametrize("mode", ["lose", "cut"])
def test_an_answer_that_does_not_come_is_said_and_nothing_typed_is_lost(line, mode):
    page, state = line("/?tab=train&dataset=shapes", ".train-note[data-state=ready]")
    page.evaluate("window.isTheSamePage = true")
    state["mode"] = mode
    name = page.locator("#train-name input, #train-name textarea").first
    name.fill("typed with care")
    page.get_by_role("radio", name="Thorough").check()
    page.locator(".studio-toast.error").first.wait_for()
    state["mode"] = "pass"
    page.get_by_role("radio", name="Quick").check()
    wait_until(lambda: page.locator(".train-note[data-state=ready]").count() == 1, "what it costs")
    assert name.input_value() == "typed with care" and page.evaluate("window.isTheSamePage")


def _let(page, state):
    """Let through what is held, the last one first, and what comes after it."""
    state["mode"] = "pass"
    for route in reversed(state["held"]):
        with page.expect_response(route.request.url):
            route.continue_()


GRID = ".dataset-grid[data-state=ready] .card"


def test_what_is_selected_is_never_of_another_dataset(line):
    """Both datasets have files of these names, and what is selected can be removed."""
    page, state = line("/?tab=dataset&dataset=shapes", GRID, re.compile("datasets/shapes.*limit=200"), "hold")
    page.locator(".card .pick input").first.check()
    page.get_by_role("button", name="Select all 3").click()
    wait_until(lambda: state["held"] or page.wait_for_timeout(50), "the question which there are")
    page.evaluate("window.studio.place.set({ dataset: 'others' })")
    page.wait_for_selector(".dataset-grid[data-state=ready] .card")
    _let(page, state)
    page.wait_for_timeout(100)
    assert page.locator(".dataset-grid .actions").is_hidden()


def test_a_preview_of_other_words_is_not_offered(line):
    page, state = line("/?tab=dataset&dataset=shapes", GRID, re.compile("shapes/bulk"), "hold")
    find = page.get_by_role("textbox", name="Find", exact=True)
    for word in ("one", "another"):
        find.fill(word)
        page.get_by_role("button", name="Preview find and replace").click()
    wait_until(lambda: len(state["held"]) == 2 or page.wait_for_timeout(50), "both questions")
    assert [route.request.post_data_json["find"] for route in state["held"]] == ["one", "another"]
    find.fill("a third")
    _let(page, state)
    page.wait_for_timeout(100)
    assert page.locator(".dataset-tools .outcome").all_inner_texts() == ["", "", ""]


@pytest.mark.parametrize(
    ("tab", "button", "pattern"), [("dataset", "Split …", "/split"), ("dataset", "Load demo", "/demos"), ("runs", "Trash", "/trash")]
)
def test_a_button_pressed_twice_opens_one_dialog(line, tab, button, pattern):
    ready = GRID if tab == "dataset" else ".runs-table[data-state=empty]"
    page, state = line(f"/?tab={tab}&dataset=shapes", ready, re.compile(f"{pattern}$"), "hold")
    page.get_by_role("button", name=button, exact=True).dblclick()
    wait_until(lambda: state["held"] or page.wait_for_timeout(50), "what it asks")
    _let(page, state)
    page.get_by_role("dialog").first.wait_for()
    page.wait_for_timeout(100)
    assert page.get_by_role("dialog").count() == 1
