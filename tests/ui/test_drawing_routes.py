"""The routes of drawings, without a browser: what is asked wrongly is one line, and leaves nothing behind."""

import json

import pytest
from fastapi import FastAPI

from studio.store import Workspace
from tests.ui.asking import HERE, ask
from ui.app import _tell
from ui.desk import Desk
from ui.routes import drawings as routes


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    desk = Desk(Workspace.at(tmp_path_factory.mktemp("space") / "workspace"))
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def app(desk):
    app = FastAPI()
    app.add_exception_handler(ValueError, _tell)
    app.include_router(routes.router(desk), prefix="/studio")
    return app


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/drawings", {"steps": -1}),
        ("POST", "/drawings", {"adapters": [{"run": "../x"}]}),
        ("POST", "/drawings", {"prompt": "${7*7}", "surprise": 1}),
        ("GET", "/drawings/..%2f..%2fruns", None),
        ("GET", "/drawings/00000001-ffffff", None),
        ("GET", "/drawings/00000001-ffffff/pictures/..%2frequest.json", None),
        ("DELETE", "/drawings/nothing", None),
        ("GET", "/drawings?limit=100000000", None),
        ("GET", "/drawings/options?run=nothing", None),
        ("POST", "/drawings/restore?name=x.png", b""),
        ("POST", "/drawings/restore?name=x.png", b"GIF89a and more"),
        ("POST", "/drawings/restore?name=x.safetensors", b"\xff" * 8 + b"{"),
    ],
)
def test_wrong_requests_are_told_in_one_line(app, desk, method, path, body):
    data = json.dumps(body).encode() if isinstance(body, dict) else body or b""
    answer = ask(app, f"/studio{path}", method, [*HERE, ("Content-Type", "application/json")], data)
    told = answer.json()
    assert 400 <= answer.status < 500 and ("error" in told or "detail" in told), told
    assert "\n" not in json.dumps(told) and not list((desk.workspace.root / "dropped").glob(".tmp-*"))
    assert not list((desk.workspace.root / "drawings").glob("*"))
