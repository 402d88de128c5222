"""The routes of captionings, without a browser: what is asked wrongly is one line, what is at work can be followed and stopped."""

import json
import shutil

import pytest
from fastapi import FastAPI

from studio.dataset.intake import DEMOS, create_dataset
from studio.jobs.datasets import captionings
from studio.jobs.datasets.captionings import read_captioning
from studio.jobs.processes.asked import names
from studio.store import Workspace
from tests.ui.asking import HERE, ask
from ui.app import _tell
from ui.desk import Desk
from ui.routes import captionings as routes

pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("anchor", "banana"):
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
    desk = Desk(Workspace.at(tmp_path_factory.mktemp("space") / "workspace"))
    create_dataset(desk.workspace, "Two icons", [folder])
    yield desk
    desk.close()


@pytest.fixture
def call(desk, monkeypatch):
    """call(method, path, value) -> (status, JSON); what reaches the process for pictures is in `.handed`."""
    app = FastAPI()
    app.add_exception_handler(ValueError, _tell)
    app.include_router(routes.router(desk), prefix="/studio")
    handed = []
    monkeypatch.setattr(desk.resident, "caption", handed.append)

    def call(method, path, value=None):
        headers = [*HERE, ("Content-Type", "application/json")]
        answer = ask(app, f"/studio{path}", method, headers, json.dumps(value).encode() if value is not None else b"")
        return answer.status, answer.json()

    call.handed = handed
    return call


def test_captioners_are_listed(call):
    status, told = call("GET", "/captioners")
    assert status == 200 and [each["captioner"] for each in told["captioners"]] == ["embedded", "template"] and "medical" in told["prompts"]


def test_a_captioning_is_made_followed_stopped_and_told(call, desk):
    assert call("GET", "/captionings?dataset=two-icons") == (200, None)
    status, told = call("POST", "/captionings", {"dataset": "Two icons"})
    assert status == 200 and told["dataset"] == "two-icons" and told["status"]["state"] == "waiting" and told["status"]["total"] == 2
    assert call.handed == [told["id"]] and told["result"] is None
    assert call("GET", "/captionings?dataset=two-icons") == call("GET", f"/captionings/{told['id']}") == (200, told)
    status, again = call("POST", "/captionings", {"dataset": "two-icons"})
    assert status == 400 and "being written already" in again["error"]
    assert call("POST", f"/captionings/{told['id']}/cancel")[1]["status"]["state"] == "cancelled"
    job = read_captioning(desk.workspace, told["id"])
    job.write_result({"captioner": "embedded", "count": 0, "unknown": 2, "text": "No caption was written", "notes": [], "skipped": []})
    job.write_status("finished", done=2, total=2)
    result = call("GET", f"/captionings/{told['id']}")[1]["result"]
    assert result["unknown_text"] == "2 pictures are outside what the embedded captioner knows"


@pytest.mark.parametrize(
    "value, code, hint",
    [
        ({"dataset": "nope"}, 400, "there are Two icons"),
        ({"dataset": "two-icons", "captioner": "magic"}, 400, "there are: embedded"),
        ({"dataset": "two-icons", "files": []}, 400, "not in the dataset any more"),
        ({"dataset": "two-icons", "threshold": 2}, 422, "threshold"),
        ({"dataset": "two-icons", "threshold": True}, 422, "threshold"),
        ({"dataset": "two-icons", "overwrite": "perhaps"}, 422, "overwrite"),
        ({"dataset": "two-icons", "who": 1}, 422, "who"),
        ({}, 422, "dataset"),
    ],
)
def test_what_is_asked_wrongly_is_a_line(call, desk, value, code, hint):
    before = names(captionings.captionings_folder(desk.workspace))
    app_status, told = call("POST", "/captionings", value)
    assert app_status == code and hint in json.dumps(told), (app_status, told)
    assert names(captionings.captionings_folder(desk.workspace)) == before and not call.handed


@pytest.mark.parametrize("name", ["x", "..", "00000001-abcdef", "%2e%2e"])
def test_no_captioning_is_a_line(call, name):
    status, told = call("GET", f"/captionings/{name}")
    assert status in (400, 404) and "\n" not in json.dumps(told)


def test_a_full_queue_leaves_nothing_waiting(call, desk, monkeypatch):
    from studio.errors import StudioError

    def full(job_id):
        raise StudioError("20 requests are waiting already: let some finish, or cancel them")

    monkeypatch.setattr(desk.resident, "caption", full)
    status, told = call("POST", "/captionings", {"dataset": "two-icons"})
    assert status == 400 and "waiting already" in told["error"]
    assert captionings.find_captioning(desk.workspace, "two-icons").status()["state"] == "failed"


@pytest.fixture
def words(desk, monkeypatch, tmp_path):
    """words(method, path, value) -> (status, JSON) of the routes of captions, on a dataset of its own."""
    from studio.dataset.intake import create_dataset
    from ui.routes import captions

    folder = tmp_path / "given"
    folder.mkdir()
    for name in ("anchor", "banana"):
        shutil.copy(DEMOS / "icons" / f"{name}.png", folder)
        (folder / f"{name}.txt").write_text(f"{name}, <b>flat</b> style", "utf-8")
    number = len(list(desk.workspace.datasets.glob("worded*")))
    made = create_dataset(desk.workspace, f"worded {number}", [folder])
    app = FastAPI()
    app.add_exception_handler(ValueError, _tell)
    app.include_router(captions.router(desk), prefix="/studio")

    def call(method, path, value=None):
        headers = [*HERE, ("Content-Type", "application/json")]
        body = json.dumps(value).encode() if value is not None else b""
        answer = ask(app, f"/studio/datasets/{made.root.name}{path}", method, headers, body)
        return answer.status, answer.json()

    call.dataset = made
    return call


def test_versions_are_told_and_picked(words, desk):
    from studio.dataset import edit

    row = words.dataset.rows[0]
    edit.set_caption(desk.workspace, words.dataset, row.file, "by hand")
    status, told = words("GET", f"/versions?file={row.file}")
    assert status == 200 and [(each["source"], each["is_used"]) for each in told] == [("hand", True), ("file", False)]
    assert words("GET", "/sources")[1] == [{"source": "file", "count": 2, "used": 1}, {"source": "hand", "count": 1, "used": 1}]
    status, told = words("POST", "/pick", {"source": "file"})
    assert status == 200 and told["count"] == 1 and told["undo"] and words.dataset.caption(row) == "anchor, <b>flat</b> style"
    for value, code, hint in (
        ({"source": "blip"}, 400, "there are file, hand"),
        ({"source": "file", "files": ["../x"]}, 400, "not in"),
        ({"source": 1}, 422, "source"),
        ({}, 422, "source"),
        ({"source": "file", "who": 1}, 422, "who"),
    ):
        status, told = words("POST", "/pick", value)
        assert status == code and hint in json.dumps(told), (value, told)
    assert words("GET", "/versions?file=nope.png")[0] == 400


def test_words_and_the_class_noun(words):
    status, told = words("GET", "/words")
    assert status == 200 and told["kind"] == "words" and {"text": "flat", "count": 2, "is": ""} in told["entries"]
    assert {"text": "<b>flat</b> style", "count": 2, "is": ""} in words("GET", "/words?kind=tags")[1]["entries"]
    assert words("PUT", "/class-noun", {"class_noun": "anchor"}) == (200, {"class_noun": "anchor"})
    assert words("GET", "/words")[1]["checks"]["class_noun"] == {"word": "anchor", "has": 1, "lacks": 1}
    assert words("PUT", "/class-noun", {"class_noun": "x" * 99})[0] == 400 and words("GET", "/words?kind=letters")[0] == 422


def test_who_comes_from_elsewhere_chooses_among_what_is_listed(call, desk, captioner_folders, monkeypatch):
    monkeypatch.setattr(desk, "is_local", False)
    for method, path, value in (
        ("POST", "/captioners/places", {"path": str(captioner_folders["blip"])}),
        ("POST", "/captionings", {"dataset": "two-icons", "captioner": str(captioner_folders["blip"])}),
    ):
        status, told = call(method, path, value)
        assert status == 400 and ("on the machine" in told["error"] or "choose one" in told["error"])
    monkeypatch.setattr(desk, "is_local", True)
    assert [each["kind"] for each in call("POST", "/captioners/places", {"path": str(captioner_folders["blip"])})[1]] == ["blip"]
    listed = call("GET", "/captioners")[1]
    assert len(listed["captioners"]) == 3 and listed["places"] == [str(captioner_folders["blip"])]
    assert call("DELETE", "/captioners/places", {"path": str(captioner_folders["blip"])})[0] == 200
    assert call("DELETE", "/captioners/places", {"path": "nowhere"})[0] == 400
