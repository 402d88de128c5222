"""A hostile page in a real browser: it sends what pages can send to the studio on this machine, and reads what it can."""

import http.server
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.dataset.rows import list_datasets
from studio.jobs.runs.folders import list_runs
from tests.ui.browser import Studio, address, wait_until

ATTACK = """async studio => {
  const told = {};
  const attempt = async (name, go) => { try { told[name] = await go(); } catch (error) { told[name] = 'blocked: ' + error.name; } };
  const send = (path, options) => fetch(studio + path, options).then(async r => [r.type, r.status, (await r.text()).length]);
  const load = (tag, change) => new Promise(done => {
    const element = document.createElement(tag);
    element.onload = () => done('loaded'); element.onerror = () => done('blocked'); setTimeout(() => done('nothing'), 3000);
    change(element); document.body.append(element);
  });
  const files = new FormData();
  files.append('files', new Blob(['<script>1</script>'], {type: 'text/html'}), 'evil.html');
  await attempt('read the page', () => send('/'));
  await attempt('read the status', () => send('/studio/status'));
  await attempt('read with cookies', () => send('/studio/status', {credentials: 'include'}));
  const blind = (path, body) => send(path, {method: 'POST', mode: 'no-cors', body});
  await attempt('call a function', () => blind('/gradio_api/component_server', '{"data": [], "fn_name": "x"}'));
  await attempt('join the queue', () => blind('/gradio_api/queue/join', '{"data": [], "fn_index": 0}'));
  await attempt('load a demo', () => blind('/studio/datasets/demo', '{"demo": "icons"}'));
  await attempt('load a demo as JSON', () => send('/studio/datasets/demo',
    {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"demo": "icons"}'}));
  await attempt('upload a file', () => blind('/gradio_api/upload', files));
  await attempt('start an import', () => blind('/studio/imports', '{"name": "evil"}'));
  await attempt('put a file', () => send('/studio/imports/x/files?name=a.png', {method: 'PUT', body: 'x'}));
  await attempt('delete', () => send('/studio/drawings/x', {method: 'DELETE'}));
  await attempt('beacon', async () => navigator.sendBeacon(studio + '/studio/trash/empty', '{}'));
  told.image = await load('img', e => { e.src = studio + '/studio/static/logo.svg'; });
  told.script = await load('script', e => { e.src = studio + '/studio/static/api.js'; });
  told.style = await load('link', e => { e.rel = 'stylesheet'; e.href = studio + '/studio/static/studio.css'; });
  await load('iframe', e => { e.src = studio + '/'; e.name = 'framed'; });
  told.socket = await new Promise(done => {
    const socket = new WebSocket(studio.replace('http', 'ws') + '/gradio_api/queue/join');
    socket.onopen = () => done('open'); socket.onerror = () => done('blocked');
  });
  return told;
}"""
FORM = """studio => {
  const form = document.createElement('form');
  Object.assign(form, {method: 'POST', action: studio + '/studio/datasets/demo', enctype: 'text/plain', target: '_blank'});
  const field = document.createElement('input');
  Object.assign(field, {name: '{"demo": "icons", "x": "', value: '"}'});
  form.append(field); document.body.append(form); form.submit();
}"""


@pytest.fixture()
def elsewhere():
    """The address of a page of somebody else's, on another port of this machine."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f":{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_elsewhere_reaches_nothing(studio, chromium, elsewhere, name):
    """From another port (same site) and from another name (another site)."""
    context = chromium.new_context()
    try:
        page = context.new_page()
        answers = []
        page.on("response", lambda answer: answers.append((answer.request.method, answer.url, answer.status)))
        page.goto(f"http://{name}{elsewhere}/")
        told = page.evaluate(ATTACK, studio.url)
        assert not [n for n, what in told.items() if isinstance(what, list) and what[0] != "opaque"], told
        assert [n for n, what in told.items() if what == "loaded"] == [] and told["socket"] == "blocked", told
        assert told["read the page"] == told["read the status"] == told["delete"] == "blocked: TypeError"
        framed = page.frame("framed")
        assert framed is None or "gradio" not in framed.content()
        with context.expect_page() as opened:
            page.evaluate(FORM, studio.url)
        opened.value.wait_for_load_state()
        assert "only the studio's own page" in opened.value.content()
        reached = [a for a in answers if a[1].startswith(studio.url)]
        assert reached and {a[2] for a in reached} <= {403, 404, 405}, reached
    finally:
        context.close()
    assert list_datasets(studio.workspace) == [] and list_runs(studio.workspace) == []
    assert not list((studio.workspace.root / "cache" / "gradio").rglob("evil*"))


def test_a_link_elsewhere_may_open_the_page(studio, chromium, elsewhere):
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://localhost{elsewhere}/")
        page.evaluate("address => { location.href = address; }", studio.url + "/?tab=models")
        page.wait_for_selector(".status-strip[data-state=ready]")
        page.evaluate("address => { location.href = address; }", studio.url + "/studio/status")
        page.wait_for_load_state()
    finally:
        context.close()


def test_a_token_link_elsewhere_enters_although_the_cookie_is_strict(tmp_path, chromium, elsewhere):
    studio = Studio(tmp_path, DOMAIN_STUDIO_TOKEN="correct-horse").start()
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://localhost{elsewhere}/")
        page.evaluate("address => { location.href = address; }", studio.url + "/?tab=models&token=correct-horse")
        page.wait_for_selector(".status-strip[data-state=ready]")
        wait_until(lambda: "token" not in address(page) and "tab=models" in address(page))
        page.goto(f"http://localhost{elsewhere}/")  # and again, with the session, by a link without token
        page.evaluate("address => { location.href = address; }", studio.url + "/?tab=runs")
        page.wait_for_selector(".status-strip[data-state=ready]")
    finally:
        context.close()
        studio.stop()


FORGED = [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, ["/etc/passwd"], -1, {"a": [[None]]}]


def test_forged_values_bring_no_file(tmp_path):
    """Every function of the page, also those that are hidden from clients, with values that its form would never send."""
    studio = Studio(tmp_path).start()  # one of its own: Gradio tells the terminal at length what it thinks of such values

    def send(body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(studio.url + "/gradio_api/run/predict", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            return error.read()

    try:
        functions = json.loads(studio.get("/config"))["dependencies"]
        bodies = [
            {"data": [v] * len(f["inputs"]), "fn_index": f["id"], "session_hash": "forged", "event_data": {"tab": v, "id": v}}
            for f in functions
            for v in FORGED
        ]
        assert len(bodies) > 40
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(send, bodies))
        for body, told in zip(bodies, answers, strict=True):
            assert b"root:" not in told and b"Traceback" not in told, body
        assert json.loads(studio.get("/studio/health")) == {"ok": True}
        assert list_runs(studio.workspace) == []
    finally:
        studio.stop()
