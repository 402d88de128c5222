"""The guard: every route of the application, ours and Gradio's, asked as a hostile page, a stranger or a clumsy program would."""

import json
import re
from pathlib import Path

import pytest

from studio.store import Workspace
from tests.ui.asking import HERE, Recorder, ask, ask_async, hello, routes, run
from ui.guard import HEADERS, MAX_BODY, Guard
from ui.hosts import Hosts
from ui.login import Login

EVIL = {
    "another name (DNS rebinding)": [("Host", "evil.example:7860")],
    "a name that begins like ours": [("Host", "127.0.0.1.evil.example")],
    "a public address": [("Host", "93.184.216.34")],
    "no Host": [],
    "an empty Host": [("Host", "")],
    "two Hosts": [*HERE, ("Host", "evil.example")],
    "a name hidden by a forwarding header": [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "127.0.0.1:7860"),
        ("Forwarded", "host=127.0.0.1"),
    ],
    "a foreign Origin": [*HERE, ("Origin", "http://evil.example")],
    "an Origin without a name": [*HERE, ("Origin", "null")],
    "an empty Origin": [*HERE, ("Origin", "")],
    "our name at another port": [*HERE, ("Origin", "http://127.0.0.1:8888")],
    "our other name": [*HERE, ("Origin", "http://localhost:7860")],
    "our name by another scheme": [*HERE, ("Origin", "https://127.0.0.1:7860")],
    "two Origins": [*HERE, ("Origin", "http://127.0.0.1:7860"), ("Origin", "http://evil.example")],
    "a script of another site": [*HERE, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "script")],
    "a script of another port": [*HERE, ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")],
    "a frame in another site": [*HERE, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")],
    "a site of a kind that there is not": [*HERE, ("Sec-Fetch-Site", "friendly")],
}
TRICKS = [
    "/../{}", "/../../../../../../{}", "/%2e%2e/%2e%2e/%2e%2e/{}", "/..%2f..%2f..%2f{}", "/..%5c..%5c{}", "/..\\..\\{}",
    "/%252e%252e%252f{}",
    "/studio/static/../../../../{}", "/studio/static/%2e%2e/%2e%2e/%2e%2e/{}", "/studio/static/..%2f..%2f..%2f{}", "/studio/static//{}",
    "/assets/../../../../{}", "/assets//{}", "/static/%2e%2e/{}", "/static/..;/{}", "/gradio_api/file=/{}", "/gradio_api/file/{}",
    "/gradio_api/file=%2f{}", "/file=/{}", "/gradio_api/proxy=file:///{}", "/gradio_api/proxy=http://127.0.0.1:9/{}", "/{}%00.png",
    "/{}.", "/{}%20",
    "/studio/runs/..%2f..%2f..%2f{}/pictures/x.png", "/studio/runs/x/pictures/../../../../{}", "/studio/views/..%2f{}",
    "/studio/drawings/%2e%2e/pictures/{}", "/gradio_api/custom_component/x/../../{}", "/pwa_icon/{}", "file:///{}",
    "http://127.0.0.1:7860/{}",
]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The application as it is served, without a guard."""
    from ui.quick_import import import_gradio

    import_gradio()
    from ui.app import build_app
    from ui.desk import Desk

    desk = Desk(Workspace.at(tmp_path_factory.mktemp("workspace")))
    yield build_app(desk)
    desk.close()


@pytest.fixture(scope="module")
def guarded(app):
    return Guard(app, Hosts())


def test_scripts_are_kept_by_their_version_and_found_by_an_older_one(app):
    from ui.frame import SCRIPTS

    for place, kept in ((SCRIPTS, "immutable"), ("/studio/static", "no-cache"), ("/studio/static/v-0123456789abcdef", "no-cache")):
        answer = ask(app, f"{place}/place.js")
        assert answer.status == 200 and kept in answer.header("cache-control") and b"export function" in answer.body
    assert ask(app, f"{SCRIPTS}/nothing.js").status == 404


def _each(guard, requests):
    """[(request, answer)] of (method, path, headers), asked one after another."""

    async def ask_all():
        return [(r, await ask_async(guard, r[1], r[0], r[2])) for r in requests]

    return run(ask_all())


@pytest.mark.parametrize("headers", EVIL.values(), ids=EVIL.keys())
def test_no_route_is_reached_by_another_page(app, headers):
    behind = Recorder(app)
    all_routes = routes(app)
    assert len(all_routes) >= 60
    assert {p.split("/")[1] for _, p in all_routes} >= {"studio", "gradio_api", "assets", "config"}
    for (method, path, _), answer in _each(Guard(behind, Hosts()), [(*route, headers) for route in all_routes]):
        assert answer.status in (403, 404), (method, path, answer.status)
        assert answer.status == 403 or not path.startswith("/studio"), (method, path, answer.status)
        assert "error" in answer.json()
        assert set(answer.json()) == {"error"} and "evil" not in answer.json()["error"]
        assert {n: answer.header(n) for n in HEADERS} == HEADERS
    assert behind.asked == []


def test_no_route_is_reached_without_login(app):
    behind = Recorder(app)
    guard = Guard(behind, Hosts(), Login(("anna", "secret"), "t" * 22))
    page = [*HERE, ("Accept", "text/html,*/*"), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    stale = [*HERE, ("Cookie", "domain-studio=" + "x" * 43)]
    for headers in (HERE, page, stale):
        for (method, path, _), answer in _each(guard, [(*route, headers) for route in routes(app)]):
            assert answer.status in ((303, 401, 404) if path == "/" else (401, 404)), (method, path, answer.status)
            assert answer.status != 404 or not path.startswith("/studio"), path
            assert {n: answer.header(n) for n in HEADERS} == HEADERS
    assert behind.asked == []
    assert ask(guard, "/?tab=train", headers=page).header("location") == "/studio/login?tab=train"
    assert ask(guard, "/studio/status").json() == {"error": "Please log in."}


def test_our_own_page_passes(guarded):
    own = [
        *HERE,
        ("Origin", "http://127.0.0.1:7860"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "empty"),
    ]
    assert ask(guarded, "/studio/health", headers=own).json() == {"ok": True}
    page = ask(guarded, "/")
    assert page.status == 200 and b"gradio" in page.body
    assert {n: page.header(n) for n in HEADERS} == HEADERS
    assert not [n for n, _ in ask(guarded, "/config", headers=own).headers if n.startswith("access-control")]


def _root(answer):
    return json.loads(answer.body)["root"]


def test_forwarding_headers_changehello(app):
    guard = Guard(app, Hosts("127.0.0.1", ("studio.example.org", "https://safe.example.org")))
    forged = [
        ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "10.0.0.1"), ("Forwarded",
        "host=evil.example"),
        ("X-Gradio-Server", "http://evil.example"), ("X-Original-URL", "/admin"), ("X-HTTP-Method-Override", "DELETE"),
    ]  # fmt: skip
    assert _root(ask(guard, "/config", headers=HERE)) == "http://127.0.0.1:7860"
    assert _root(ask(guard, "/config", headers=HERE + forged)) == "http://127.0.0.1:7860"
    assert _root(ask(guard, "/config", headers=[("Host", "safe.example.org")])) == "https://safe.example.org"
    browser = [("Host", "studio.example.org"), ("Sec-Fetch-Site", "none")]  # sent to another machine over https only
    assert _root(ask(guard, "/config", headers=browser)) == "https://studio.example.org"


LINK = [*HERE, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


def test_other_sites_may_lead_to_the_page_and_nowhere_else(app, guarded):
    assert ask(guarded, "/?tab=compare", headers=LINK).status == 200
    for (method, path, _), answer in _each(guarded, [(*route, LINK) for route in routes(app)]):
        assert answer.status in (403, 404) or (path == "/" and method in ("GET", "HEAD")), (method, path)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "PROPFIND", "get", ""])
def test_odd_methods_are_refused(app, method):
    behind = Recorder(app)
    assert ask(Guard(behind, Hosts()), "/studio/health", method).status == 405
    assert not behind.asked


CLOSED = [
    "/gradio_api/file=x", "/gradio_api/file/x", "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/proxy=x",
    "/gradio_api/component_server",
    "/gradio_api/stream/x", "/gradio_api/deep_link", "/gradio_api/dev/reload", "/gradio_api/runs", "/gradio_api/vibe-code",
    "/gradio_api/vibe-edit",
    "/gradio_api/process_recording", "/gradio_api/custom_component/a/b/c/d", "/gradio_api/token", "/gradio_api/user", "/monitoring",
    "/monitoring/summary",
    "/login", "/logout", "/svelte/x", "/openapi.json", "/docs", "/pwa_icon", "/gradio_api/mcp", "/gradio_api/queue/status",
]  # fmt: skip


def test_what_the_page_does_not_need_is_closed(app):
    behind = Recorder(app)
    for method in ("GET", "POST", "HEAD"):
        for (_, path, _), answer in _each(Guard(behind, Hosts()), [(method, path, HERE) for path in CLOSED]):
            assert answer.status == 404, (method, path)
    assert not behind.asked


@pytest.mark.parametrize("trick", TRICKS)
def test_paths_never_lead_to_files(guarded, trick, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("kept to ourselves")
    for target in ("etc/passwd", str(secret).lstrip("/"), "README.md"):
        answer = ask(guarded, trick.format(target))
        assert answer.status in (403, 404), (trick, target, answer.status)
        assert b"kept to ourselves" not in answer.body and b"root:" not in answer.body and b"Two commands" not in answer.body


def test_a_body_is_measured_before_anyone_acts_on_it():
    behind = Recorder(hello)
    guard = Guard(behind, Hosts())
    told = [*HERE, ("Content-Length", str(MAX_BODY + 1))]
    assert ask(guard, "/studio/datasets", "POST", told, b"{}").status == 413
    assert ask(guard, "/studio/datasets", "POST", [*HERE, ("Content-Length", "9" * 5000)], b"{}").status == 413
    assert ask(guard, "/studio/datasets", "POST", [*HERE, ("Content-Length", "-1")], b"{}").status == 400
    untold = ask(guard, "/gradio_api/queue/join", "POST", HERE, [b"x" * 2**20] * 5)
    assert untold.status == 413 and "4 MiB" in untold.json()["error"]
    assert not behind.asked
    assert ask(guard, "/studio/datasets", "POST", HERE, [b"x" * 2**20] * 4).status == 200
    assert ask(guard, "/studio/imports/x/files?name=a", "PUT", HERE, [b"x" * 2**20] * 5).status == 200  # counts for itself


def test_headers_are_on_every_answer_also_of_defects():
    async def broken(scope, receive, send):
        raise RuntimeError("<b>broken</b>\nin two lines")

    guard = Guard(broken, Hosts())
    answer = ask(guard, "/studio/health")
    assert answer.status == 500 and answer.json() == {"error": "RuntimeError: <b>broken</b> in two lines"}
    assert {n: answer.header(n) for n in HEADERS} == HEADERS
    passed = ask(Guard(hello, Hosts()), "/studio/health")
    assert passed.header("access-control-allow-origin") is None and {n: passed.header(n) for n in HEADERS} == HEADERS


def test_a_defect_is_one_line_in_the_terminal(capsys, monkeypatch):
    async def broken(scope, receive, send):
        raise RuntimeError("broken")

    monkeypatch.delenv("DOMAIN_STUDIO_DEBUG", raising=False)
    ask(Guard(broken, Hosts()), "/studio/health?secret=1")
    assert capsys.readouterr().err == "error: GET /studio/health: RuntimeError: broken\n"


@pytest.mark.parametrize("headers", [*EVIL.values(), HERE], ids=[*EVIL.keys(), "no login"])
def test_websockets_are_held_to_the_same(headers):
    asked, sent = [], []

    async def app(scope, receive, send):
        asked.append(scope)

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket", "scheme": "ws", "path": "/studio/x", "raw_path": b"/studio/x", "query_string": b"",
        "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in headers],
    }  # fmt: skip
    run(Guard(app, Hosts(), Login(None, "t" * 22))(scope, receive, send))
    assert not asked and sent == [{"type": "websocket.close", "code": 1008}]


def test_what_the_policy_of_the_page_says():
    policy = HEADERS["Content-Security-Policy"]
    for rule in (
        "frame-ancestors 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "default-src 'self'",
    ):
        assert rule in policy
    assert not re.search(r"https?:|\*", policy)
    assert HEADERS["X-Content-Type-Options"] == "nosniff" and HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"


def test_no_file_of_the_screens_opens_a_picture():
    """Pictures are decoded in processes of their own: nothing in ui/ as much as names PIL."""
    files = sorted(Path(__file__).parents[2].joinpath("ui").rglob("*.py"))
    assert len(files) > 12
    for path in files:
        assert not re.search(r"\bPIL\b|Image\.open|cv2|imageio", path.read_text("utf-8")), path
