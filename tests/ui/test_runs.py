"""The Runs screen: the table, what is done with runs, and several side by side, in a real browser."""

import json
import shutil

import psutil
import pytest

from studio.jobs.runs.folders import list_runs
from studio.jobs.runs.manage import delete_run
from studio.trash import list_trash
from tests.fixtures.kept_runs import kept_run
from tests.ui.browser import address, look_again, open_tab, shows, wait_until

HOSTILE = "<img src=x onerror=console.error(1)> ${console.error(2)} {{value}} ../.."


@pytest.fixture()
def clean(studio):
    """An empty list of runs."""
    for folder in (studio.workspace.runs, studio.workspace.root / ".trash"):
        shutil.rmtree(folder, ignore_errors=True)
    return studio.workspace


def _open(studio, new_page, query="", **options):
    page = new_page(f"{studio.url}/?tab=runs{query}", **options)
    page.wait_for_selector(".runs-table[data-state=ready], .runs-table[data-state=empty]")
    return page


def _names(page):
    return page.locator(".runs-table > .scroll td.name .label").all_inner_texts()


def _row(page, run):
    return page.locator(f".runs-table tr[data-run='{run.id}']")


def _toast(page, text):
    page.locator("#studio-toasts .studio-toast", has_text=text).last.wait_for()
    return page.locator("#studio-toasts .studio-toast", has_text=text).last


def _rows_on_board(page):
    rows = page.locator(".runs-board tbody tr:has(td):not(:has(img))").evaluate_all(
        "all => all.map(row => [row.querySelector('th').innerText, [...row.querySelectorAll('td')].map(cell => cell.innerText)])"
    )
    return {name.replace("≠", "").strip(): values for name, values in rows}


def test_without_runs_one_sentence_and_one_button(studio, clean, new_page):
    page = _open(studio, new_page)
    shows(page.locator(".runs-table .empty"), "No runs yet")
    page.get_by_role("button", name="Train an adapter").click()
    wait_until(lambda: page.get_by_role("tab", selected=True).inner_text() == "Train", "the Train tab")
    kept_run(clean)
    open_tab(page, "Runs")
    wait_until(lambda: _names(page) == ["brain mri lora"], "the run that came meanwhile")


def test_the_table_says_what_is_true_and_runs_nothing(studio, clean, new_page):
    kept_run(clean, HOSTILE[:120])
    failed = kept_run(clean, "b", state="failed", error=f"no pictures {HOSTILE}", change=None, dataset="icons")
    damaged = kept_run(clean, "c")
    (damaged.folder / "spec.json").write_text("{")
    living = kept_run(clean, "d", state="interrupted")
    living.write_status("running", psutil.Process(studio.process.pid))
    page = _open(studio, new_page)
    wait_until(lambda: set(_names(page)) == {HOSTILE[:120], "b", damaged.id, "d"})
    shows(_row(page, failed), "no pictures <img")
    shows(_row(page, damaged), "spec.json is damaged")
    shows(_row(page, living), "running")
    wait_until(lambda: _row(page, living).locator(".bar .fill").count() == 1)
    assert page.locator(".runs-table img[src='x']").count() == 0
    living.write_status("stopped", step=200)
    look_again(page)
    wait_until(lambda: "stopped" in _row(page, living).inner_text(), "the change of state, in place")


def test_filter_and_sort(studio, clean, new_page):
    for name, change, dataset in (("alpha", -0.1, "mri"), ("beta", -0.5, "icons"), ("gamma", None, "icons"), ("delta", 0.2, "mri")):
        kept_run(clean, name, change=change, dataset=dataset, steps=8, previews=0, state="stopped" if name == "delta" else "finished")
    page = _open(studio, new_page)
    page.get_by_role("columnheader", name="Name").get_by_role("button").click()
    wait_until(lambda: _names(page) == ["alpha", "beta", "delta", "gamma"])
    head = page.get_by_role("columnheader", name="Held-out loss")
    head.get_by_role("button").click()
    wait_until(lambda: head.get_attribute("aria-sort") == "ascending" and _names(page) == ["beta", "alpha", "delta", "gamma"])
    head.get_by_role("button").click()
    wait_until(lambda: head.get_attribute("aria-sort") == "descending" and _names(page) == ["delta", "alpha", "beta", "gamma"])
    page.get_by_label("Filter runs").fill("ICONS")
    shows(page.locator(".runs-table .count"), "2 of 4 runs")
    wait_until(lambda: _names(page) == ["beta", "gamma"])
    page.get_by_label("Filter runs").fill("nothing is called so")
    page.get_by_text("Clear the filter").wait_for()
    page.get_by_label("Filter runs").fill("")
    page.get_by_label("Show runs in state").select_option("stopped")
    wait_until(lambda: _names(page) == ["delta"])


def test_rename_in_place(studio, clean, new_page):
    run = kept_run(clean, "before")
    page = _open(studio, new_page)
    _row(page, run).hover()
    for name, key in (("after <b>1</b>", "Enter"), ("thrown away", "Escape")):
        _row(page, run).get_by_role("button", name="Rename").click()
        page.get_by_label("New name").fill(name)
        page.keyboard.press(key)
        wait_until(lambda: _names(page) == ["after <b>1</b>"], f"the name after {key}")
    assert run.spec().name == "after <b>1</b>"
    _row(page, run).focus()
    page.keyboard.press("F2")
    page.get_by_label("New name").fill("x" * 300)
    page.keyboard.press("Enter")
    shows(_toast(page, "name:"), "300 characters, at most 120")
    wait_until(lambda: _names(page) == ["after <b>1</b>"])
    assert run.spec().name == "after <b>1</b>"


def test_delete_is_asked_and_can_be_undone(studio, clean, new_page):
    run, other = kept_run(clean, "to go"), kept_run(clean, "to stay")
    page = _open(studio, new_page)
    _row(page, run).focus()
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Cancel").click()
    assert run.folder.exists()
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    toast = _toast(page, "Deleted “to go”")
    wait_until(lambda: _names(page) == ["to stay"])
    assert not run.folder.exists()
    toast.get_by_role("button", name="Undo").click()
    wait_until(lambda: set(_names(page)) == {"to go", "to stay"}, "the run is back")
    assert run.spec().name == "to go" and run.adapter.is_file() and list_trash(clean) == []
    for one in (run, other):
        _row(page, one).get_by_role("checkbox").check()
    page.locator(".runs-table .tools").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    _toast(page, "Deleted 2 runs")
    page.get_by_text("No runs yet").wait_for()
    assert list_runs(clean) == []
    wait_until(lambda: "runs=" not in address(page))
    page.get_by_role("button", name="Trash").click()
    page.get_by_role("button", name="Bring back to stay").click()
    wait_until(lambda: _names(page) == ["to stay"], "the run from the trash")
    page.get_by_role("button", name="Empty trash").click()
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_text("Nothing is in the trash").wait_for()
    assert list_trash(clean) == [] and other.folder.exists()


def test_a_living_run_is_not_deleted(studio, clean, new_page):
    run = kept_run(clean, "busy", state="interrupted")
    run.write_status("running", psutil.Process(studio.process.pid))
    page = _open(studio, new_page)
    _row(page, run).get_by_role("checkbox").check()
    page.locator(".runs-table .tools").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    shows(_toast(page, run.id), "stop it first")
    wait_until(lambda: _names(page) == ["busy"])
    assert run.folder.exists()


def test_two_browsers_delete_at_once(studio, clean, new_page):
    run = kept_run(clean, "wanted by two")
    pages = [_open(studio, new_page), _open(studio, new_page)]
    for page in pages:
        _row(page, run).focus()
        page.keyboard.press("Delete")
    for page in pages:
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    _toast(pages[0], "Deleted")
    shows(_toast(pages[1], run.id), "is not here (any more)")
    for page in pages:
        look_again(page)
        page.get_by_text("No runs yet").wait_for()
    assert len(list_trash(clean)) == 1


def test_a_run_deleted_while_shown_leaves_the_table_and_is_named_on_the_board(studio, clean, new_page):
    runs = [kept_run(clean, "one"), kept_run(clean, "two")]
    page = _open(studio, new_page, f"&runs={runs[0].id},{runs[1].id}")
    page.wait_for_selector(".runs-board[data-state=ready]")
    delete_run(clean, runs[0].id)
    look_again(page)
    wait_until(lambda: _names(page) == ["two"], "the row is gone")
    page.locator(".runs-board .why", has_text="deleted").wait_for()
    page.get_by_role("button", name=f"Take {runs[0].id} out").click()
    page.locator(".runs-board").wait_for(state="hidden")
    wait_until(lambda: f"runs={runs[1].id}" in address(page))


def test_two_selected_stand_side_by_side(studio, clean, new_page):
    runs = [kept_run(clean, "rank 16"), kept_run(clean, HOSTILE[:100], rank=8, change=-0.2, dataset="icons")]
    kept_run(clean, "not chosen")
    page = _open(studio, new_page)
    page.locator(".runs-board").wait_for(state="hidden")
    for run in runs:
        _row(page, run).get_by_role("checkbox").check()
    page.wait_for_selector(".runs-board[data-state=ready]")
    shows(page.locator(".runs-board > .notes"), "different data")
    rows = _rows_on_board(page)
    assert rows["Rank"] == ["16", "8"] and rows["Dataset"] == ["brain-mri", "icons"] and rows["Steps"] == ["200", "200"]
    marked = [mark.locator("..").inner_text() for mark in page.locator(".runs-board .mark", has_text="≠").all()]
    assert any("Rank" in m for m in marked) and not any("Batch size" in m for m in marked)
    page.get_by_label("Only what differs").check()
    page.locator(".runs-board tr", has_text="Batch size").wait_for(state="detached")
    rows = _rows_on_board(page)
    assert "Rank" in rows and "Steps" not in rows and all(len(set(values)) > 1 for values in rows.values())
    for curve in ("Training loss", "Held-out loss", "Against base, %"):
        page.get_by_role("radio", name=curve).click()
        wait_until(lambda: page.locator(".runs-board .legend button").all_inner_texts() == ["rank 16", HOSTILE[:100]], curve)
        wait_until(lambda: "rank 16" in page.locator(".runs-board canvas").get_attribute("aria-label"))
    pictures = page.locator(".board-matrix img")
    wait_until(lambda: pictures.count() == 6, "two rows: the base, then both runs")
    wait_until(lambda: page.locator(".board-matrix thead .chip").all_inner_texts() == ["base", "rank 16", HOSTILE[:100]])
    for other in (page, new_page(address(page))):  # a reload and a second browser show the same
        other.reload()
        other.wait_for_selector(".runs-board[data-state=ready]")
        wait_until(lambda other=other: other.locator(".runs-table tr[aria-selected=true]").count() == 2)
        wait_until(lambda other=other: other.get_by_label("Only what differs").is_checked() and "Steps" not in _rows_on_board(other))
        wait_until(lambda other=other: other.get_by_role("radio", name="Against base, %").get_attribute("aria-checked") == "true")
    page.get_by_role("button", name="Clear selection").click()
    page.locator(".runs-board").wait_for(state="hidden")


def test_the_board_is_taken_away_as_files(studio, clean, new_page, tmp_path):
    runs = [kept_run(clean, "=1+1"), kept_run(clean, "two", rank=8)]
    page = _open(studio, new_page, f"&runs={runs[0].id},{runs[1].id}")
    page.wait_for_selector(".runs-board[data-state=ready]")
    texts = {}
    for kind in ("csv", "html"):
        with page.expect_download() as download:
            page.locator(".runs-board").get_by_role("link", name=kind.upper()).click()
        download.value.save_as(tmp_path / f"board.{kind}")
        texts[kind] = (tmp_path / f"board.{kind}").read_text("utf-8")
    assert '"\'=1+1"' in texts["csv"] and "data:image/png;base64," in texts["html"] and "axial" not in texts["csv"] + texts["html"]
    page.get_by_label("with prompts").check()
    with page.expect_download() as download:
        page.locator(".runs-board").get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "again")
    assert "axial T1 brain" in (tmp_path / "again").read_text("utf-8")
    alone = new_page(f"file://{tmp_path / 'board.html'}", ready="table", java_script_enabled=False)
    alone.locator("#only").check()
    alone.locator("tr", has_text="≠ Rank").wait_for()
    alone.locator("tr", has_text="Batch size").wait_for(state="hidden")


def test_pictures_are_zoomed_together_and_opened_large(studio, clean, new_page):
    runs = [kept_run(clean, "one"), kept_run(clean, "two"), kept_run(clean, "three")]
    page = _open(studio, new_page, "&runs=" + ",".join(r.id for r in runs))
    images = page.locator(".board-matrix img")
    wait_until(lambda: images.count() == 8, "all pictures")
    page.get_by_role("button", name="Zoom in").click()
    page.locator(".board-matrix .matrix").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    moved = set(images.evaluate_all("all => all.map(i => getComputedStyle(i).transform)"))
    assert len(moved) == 1 and moved != {"matrix(1, 0, 0, 1, 0, 0)"}
    page.keyboard.press("0")
    assert set(images.evaluate_all("all => all.map(i => getComputedStyle(i).transform)")) == {"matrix(1, 0, 0, 1, 0, 0)"}
    page.locator(".board-matrix button.picture").nth(1).click()
    caption = page.locator(".studio-lightbox figcaption")
    wait_until(lambda: caption.inner_text().startswith("one: axial T1 brain"))
    page.keyboard.press("ArrowRight")
    wait_until(lambda: caption.inner_text().startswith("two: axial T1 brain"))
    page.keyboard.press("Escape")
    page.locator(".studio-lightbox").wait_for(state="detached")


def test_pictures_that_cannot_be_drawn_say_why(studio, clean, new_page):
    runs = [kept_run(clean, "one", base="/nowhere", state="failed", error="x"), kept_run(clean, "two", base="/nowhere")]
    page = _open(studio, new_page, f"&runs={runs[0].id},{runs[1].id}")
    page.get_by_role("button", name="Draw from the same seeds").click()
    page.get_by_label("Prompts, one per line").fill("a\nb\nc\nd\ne")
    page.get_by_role("button", name="Draw", exact=True).click()
    _toast(page, "prompts")
    page.get_by_label("Prompts, one per line").fill("a disc")
    page.get_by_role("button", name="Draw", exact=True).click()
    notes = page.locator(".board-matrix .notes")
    wait_until(lambda: "no adapter yet" in notes.inner_text() and "nothing there" in notes.inner_text(), "both reasons")
    page.reload()
    wait_until(lambda: "no adapter yet" in notes.inner_text(), "the same after a reload")
    page.get_by_role("button", name="Back to previews").click()
    wait_until(lambda: page.locator(".board-matrix img").count() > 0 and "matrix=" not in address(page), "the previews")


def test_all_selected_adapters_go_to_compare(studio, clean, new_page):
    runs = [kept_run(clean, name) for name in ("one", "two", "three", "left out")]
    page = _open(studio, new_page)
    for run in runs[:3]:
        _row(page, run).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_selector(".compare-view[data-state=ready]")
    rows = [page.locator(f"#compare-run-{i} input") for i in (1, 2, 3)]
    wait_until(lambda: [row.input_value() for row in rows] == [run.id for run in runs[:3]], "the three of them")
    shows(page.locator(".compare-view .line"), "3 adapters are chosen")
    page.reload()
    page.wait_for_selector(".compare-view[data-state=ready]")
    wait_until(lambda: [row.input_value() for row in rows] == [run.id for run in runs[:3]], "the three of them, after a reload")


def test_one_run_waits_for_a_second(studio, clean, new_page):
    runs = [kept_run(clean, "one"), kept_run(clean, "two")]
    page = _open(studio, new_page)
    _row(page, runs[0]).get_by_role("checkbox").check()
    page.get_by_text("Select a second run").wait_for()
    _row(page, runs[1]).get_by_role("checkbox").check()
    page.get_by_text("Select a second run").wait_for(state="hidden")


def test_cards_of_the_methods_by_keys(studio, clean, new_page):
    runs = [kept_run(clean, "one"), kept_run(clean, "two", rank=8)]
    page = _open(studio, new_page, f"&runs={runs[0].id},{runs[1].id}")
    page.get_by_role("button", name="Method cards").focus()
    page.keyboard.press("Enter")
    card = page.locator(".method-cards .card")
    wait_until(lambda: "arXiv:2106.09685" in card.inner_text(), "the first card")
    page.keyboard.press("ArrowDown")
    wait_until(lambda: "arXiv:2208.01618" in card.inner_text(), "the next card")
    card.get_by_role("button", name="LoRA", exact=True).click()
    wait_until(lambda: "Hu et al. (Microsoft)" in card.inner_text(), "the related card")
    page.keyboard.press("Escape")
    page.locator(".method-cards").wait_for(state="detached")
    page.locator(".runs-board").get_by_role("button", name="LoRA", exact=True).first.click()
    shows(page.locator(".method-cards .card"), "Low-rank adapters")


def test_strange_runs_in_the_address_do_no_harm(studio, clean, new_page):
    kept_run(clean, "one")
    page = _open(studio, new_page, "&runs=..%2F..%2Fetc,%3Cimg%20src%3Dx%3E")
    page.wait_for_selector(".runs-board[data-state=ready]")
    wait_until(lambda: page.locator(".runs-board .why").count() == 2 and page.locator("img[src='x']").count() == 0)
    page.goto(f"{studio.url}/?tab=runs&runs={','.join(map(str, range(13)))}")
    page.locator(".runs-board [role=alert]", has_text="at most 12").wait_for()


def test_keys_move_select_and_open(studio, clean, new_page):
    runs = [kept_run(clean, name, steps=8, previews=0) for name in ("third", "second", "first")]
    page = _open(studio, new_page)
    page.get_by_role("columnheader", name="Name").get_by_role("button").click()
    _row(page, runs[2]).focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    wait_until(lambda: page.locator(".runs-table tr[aria-selected=true]").count() == 2, "two selected by keys")
    page.keyboard.press("Escape")
    wait_until(lambda: page.locator(".runs-table tr[aria-selected=true]").count() == 0, "nothing selected")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    wait_until(lambda: f"run={runs[0].id}" in address(page) and "tab=train" in address(page), "the run opens")


def test_many_runs_on_a_narrow_page(studio, clean, new_page):
    source = kept_run(clean, "run 0", steps=8)
    for i in range(1, 200):
        copy = shutil.copytree(source.folder, clean.runs / f"{i + 1:04d}-copy")
        name = {"name": "a needle" if i == 57 else f"run {i}"}
        (copy / "spec.json").write_text(json.dumps(json.loads((copy / "spec.json").read_text()) | name))
    page = _open(studio, new_page, width=390)
    wait_until(lambda: page.locator(".runs-table tbody tr[data-run]").count() == 200, "all rows")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("Filter runs").fill("needle")
    wait_until(lambda: _names(page) == ["a needle"])


def test_routes_refuse_what_is_not_theirs(studio, clean, page):
    run = kept_run(clean, "one")

    def ask(path, body, method="POST"):
        return page.evaluate(
            """async ([path, body, method]) => {
                const options = method === 'GET' ? {} : {method, headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)};
                const answer = await fetch(path, options);
                return [answer.status, await answer.text()];
            }""",
            [path, body, method],
        )

    for path, body in (
        (f"/studio/runs/{run.id}/rename", {}),
        (f"/studio/runs/{run.id}/rename", {"name": "x", "more": 1}),
        (f"/studio/runs/{run.id}/rename", {"name": ["x"]}),
        (f"/studio/runs/{run.id}/rename", {"name": ""}),
        ("/studio/runs/%2e%2e/delete", {}),
        ("/studio/runs/..%2Fruns/delete", {}),
        ("/studio/runs/0099-nobody/delete", {}),
        ("/studio/trash/%2e%2e/restore", {}),
        ("/studio/trash/..%2F..%2Fetc/restore", {}),
        ("/studio/trash/empty", {}),
        ("/studio/trash/empty", {"confirm": False}),
    ):
        status, text = ask(path, body)
        assert 400 <= status < 500 and "Traceback" not in text, (path, status, text)
    assert ask(f"/studio/runs/{run.id}/delete", None, "GET")[0] in {404, 405}
    assert run.spec().name == "one" and run.folder.exists() and list_trash(clean) == []
