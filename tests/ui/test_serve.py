"""The studio as a process: its port, its address, its environment, what it holds in memory, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.errors import StudioError
from studio.store import Workspace
from tests.ui.browser import PATIENCE_S, ROOT, Studio, address, open_tab, wait_until
from ui import serve
from ui.serve import Options

SOON_S = 30  # the end takes three seconds; on a busy machine, and without an end it would take for ever


def _ask(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _command(*words):
    """A start that is expected to fail at once: (exit code, what was told)."""
    ended = CliRunner().invoke(app, words)
    assert "Traceback" not in ended.output
    return ended.exit_code, ended.output


@pytest.fixture()
def start(tmp_path):
    """start(*options, **environment): a studio of its own, ended afterwards."""
    started = []

    def make(*options, workspace="workspace", **env):
        (tmp_path / workspace).mkdir(exist_ok=True)
        started.append(Studio(tmp_path / workspace, *options, **env).start())
        return started[-1]

    yield make
    for studio in started:
        if studio.process.poll() is None:
            studio.stop()


def test_the_page_is_served_without_heavy_libraries(start, new_page, plain_starts):
    """All tabs opened: no torch in the process, and at most 250 MB."""
    studio = start()
    page = new_page(studio.url)
    for label in ("Train", "Compare", "Runs", "Export", "Models", "Dataset"):
        open_tab(page, label)
    page.wait_for_timeout(500)
    process = psutil.Process(studio.process.pid)
    assert process.memory_info().rss < 250 * 10**6
    if sys.platform == "linux":
        mapped = {m.path for m in process.memory_maps(grouped=True)}
        assert any("numpy" in path for path in mapped)  # the list tells libraries
        assert not [path for path in mapped if re.search(r"torch|diffusers|transformers|tokenizers", path)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
@pytest.mark.skipif(os.name == "nt", reason="signals as of POSIX")
def test_it_ends_soon_with_one_line(start, number, request):
    if number == signal.SIGINT:
        request.getfixturevalue("plain_starts")  # the whole end, as on a user's machine
    studio = start()
    assert _ask(studio.url + "/")[0] == 200
    began = time.monotonic()
    studio.process.send_signal(number)
    assert studio.process.wait(SOON_S) == 0 and time.monotonic() - began < SOON_S
    assert studio.process.stdout.read() == "Domain Studio has ended; runs go on.\n"
    assert studio.log() == ""
    assert not (studio.workspace.root / ".studio.json").exists()


def test_an_open_page_does_not_hold_up_the_end(start, new_page):
    studio = start()
    new_page(studio.url)
    began = time.monotonic()
    assert studio.stop() == 0 and time.monotonic() - began < SOON_S


def test_a_page_may_go_from_one_studio_to_another(start, new_page):
    """Their scripts are equal, and each asks its own studio for more."""
    first, second = start(), start(workspace="another")
    page = new_page(first.url)
    page.goto(second.url)
    page.wait_for_selector(".status-strip[data-state=ready]")
    page.wait_for_selector(".dataset-grid[data-state=empty]")


def test_without_a_command_the_studio_is_served(tmp_path):
    """`python launch.py` alone is the studio."""
    words = ["--no-browser", "--port", "0", "--workspace", str(tmp_path / "alone")]
    env = {**os.environ, "DOMAIN_STUDIO_SPARE": "0"}
    process = subprocess.Popen([sys.executable, "-m", "studio.cli", *words], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Domain Studio is at http://127.0.0.1:"), line
        with urllib.request.urlopen(line.split()[4] + "/studio/health", timeout=30) as answer:
            assert answer.read() == b'{"ok":true}'
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def test_a_taken_port_is_told_and_the_next_one_used(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        door = serve.listen("127.0.0.1", port)
        try:
            assert port < door.getsockname()[1] <= port + serve.TRIES
        finally:
            door.close()
        words = ["ui", "--no-browser", "--port", str(port), "--workspace", str(tmp_path)]
        process = subprocess.Popen([sys.executable, "-m", "studio.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            told = [process.stdout.readline() for _ in range(2)]
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()
    assert re.fullmatch(rf"Port {port} is taken: using (\d+)\.\n", told[0])
    assert re.fullmatch(r"Domain Studio is at http://127\.0\.0\.1:\d+ \(Ctrl-C ends the studio; runs go on\)\n", told[1])


def test_a_second_studio_names_the_first(start):
    first = start()
    record = json.loads((first.workspace.root / ".studio.json").read_text())
    assert record["address"] == first.url
    words = ["--no-browser", "--port", "0", "--workspace", str(first.workspace.root)]
    with subprocess.Popen([sys.executable, "-m", "studio.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as second:
        told = [second.stdout.readline() for _ in range(2)]
        second.terminate()
    assert told[0] == f"This workspace is already open at {first.url}; that one goes on too.\n" and " is at " in told[1]
    assert json.loads((first.workspace.root / ".studio.json").read_text()) == record
    first.restart()  # after a kill, what is left of it is not believed
    assert json.loads((first.workspace.root / ".studio.json").read_text())["pid"] == first.process.pid


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_strangers_need_a_login(tmp_path, host):
    code, told = _command("ui", "--host", host, "--workspace", str(tmp_path))
    assert (code, told) == (2, f"error: --host {host}: others could come in: add --token (safe and easy), or --auth USER:PASS\n")


@pytest.mark.parametrize(
    "words, told",
    [
        (["--auth", "anna"], "--auth: give it as USER:PASS"),
        (["--auth", ":secret"], "--auth: give it as USER:PASS"),
        (["--allow-host", "a b"], "--allow-host a b: that is no host name"),
        (["--port", "70000"], "--port"),
        (["--host", "192.0.2.1", "--token"], "this machine has no such address"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(tmp_path, monkeypatch, words, told):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    code, line = _command("ui", "--no-browser", "--workspace", str(tmp_path), *words)
    assert code == 2 and told in line and "secret" not in line
    assert len([part for part in line.splitlines() if part.startswith("error: ")]) == len(line.splitlines()) == 1


def test_a_workspace_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for place in ("file", "file/below"):
        code, line = _command("--no-browser", "--workspace", str(tmp_path / place))
        assert code == 2 and len(line.splitlines()) == 1 and line.startswith("error: ")


def test_options_before_a_command_are_not_lost_silently():
    code, line = _command("--workspace", "elsewhere", "models")
    assert code == 2 and "put it behind" in line


def test_the_token_opens_the_page_once_and_is_told_nowhere_else(start):
    studio = start("--token")
    status, body = _ask(studio.url + "/studio/status")
    assert (status, json.loads(body)) == (401, {"error": "Please log in."})
    assert _ask(studio.url + "/studio/status", Authorization="Bearer wrong")[0] == 401
    assert _ask(studio.url + "/?token=wrong-token")[0] == 401
    record = (studio.workspace.root / ".studio.json").read_text()
    assert "token" not in record and "wrong-token" not in studio.log() and studio.log() == ""


def test_a_token_of_ones_own_enters_by_address_and_by_header(start, new_page, plain_starts):
    studio = start(DOMAIN_STUDIO_TOKEN="correct-horse-battery")
    page = new_page(studio.url + "/?tab=train&token=correct-horse-battery")
    wait_until(lambda: "token" not in address(page) and "tab=train" in address(page))
    assert _ask(studio.url + "/studio/status", Authorization="Bearer correct-horse-battery")[0] == 200
    assert b"correct-horse" not in psutil.Process(studio.process.pid).cmdline()[-1].encode()


def test_a_password_is_asked_for_and_lets_in(start, chromium):
    studio = start(DOMAIN_STUDIO_AUTH="anna:correct horse")
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(studio.url + "/?tab=runs")
        assert page.url == studio.url + "/studio/login?tab=runs"
        assert page.evaluate("document.activeElement.name") == "user"
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        wait_until(lambda: page.get_by_role("alert").inner_text() == "That was not right.")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_label("Password").press("Enter")
        page.wait_for_selector(".status-strip[data-state=ready]")
        assert page.url.startswith(studio.url + "/?tab=runs")
        (cookie,) = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/" and len(cookie["value"]) >= 43
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Password").wait_for()
        assert page.evaluate("fetch('/studio/status').then(r => r.status)") == 401
    finally:
        context.close()
    assert studio.log() == ""


def test_dangerous_variables_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    given = (
        "GRADIO_SHARE",
        "GRADIO_SERVER_NAME",
        "GRADIO_ALLOWED_PATHS",
        "GRADIO_MCP_SERVER",
        "GRADIO_VIBE_MODE",
        "GRADIO_ROOT_PATH",
        "GRADIO_NODE_PATH",
    )
    for name in (*given, "SPACE_ID", "OAUTH_CLIENT_ID", "SYSTEM", "FASTAPI_OTEL_AUTO_CONFIGURE", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        os.environ[name] = "True"
    os.environ["SYSTEMROOT"] = os.environ["GRADIO_ANALYTICS_ENABLED"] = "True"
    serve.clean_environment(Workspace.at(tmp_path))
    left = {n: v for n, v in os.environ.items() if re.match(r"GRADIO|SPACE|OAUTH|SYSTEM|OTEL|FASTAPI", n)}
    temporary = tmp_path / "cache" / "gradio"
    assert left == {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(temporary),
        "OTEL_SDK_DISABLED": "true",
        "SYSTEMROOT": "True",
    }
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    if os.name != "nt":
        assert temporary.stat().st_mode & 0o777 == 0o700


def test_variables_of_gradio_do_not_reach_the_page(start):
    studio = start(
        GRADIO_ROOT_PATH="/evil", GRADIO_MCP_SERVER="True", GRADIO_ALLOWED_PATHS="/", GRADIO_SERVER_NAME="0.0.0.0", GRADIO_SHARE="True"
    )
    config = json.loads(_ask(studio.url + "/config")[1])
    assert config["root"] == studio.url and not config.get("mcp_server") and not config.get("enable_monitoring")
    doors = [c.laddr.ip for c in psutil.Process(studio.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert doors == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["", "300.1.1.1", "no such host", "192.0.2.1"])
def test_addresses_that_are_not_ours(host):
    with pytest.raises(StudioError, match="no such address"):
        serve.listen(host or "192.0.2.7", 0)


def test_who_is_local():
    assert Options(ROOT).is_local and Options(ROOT, host="localhost").is_local and Options(ROOT, host="[::1]").is_local
    assert not Options(ROOT, host="0.0.0.0").is_local and not Options(ROOT, allow_hosts=("studio.example.org",)).is_local


def test_secrets_are_not_in_what_is_printed_of_options():
    assert "secret" not in repr(Options(ROOT, auth="anna:secret", token="secret"))
    assert len(serve.new_token()) >= 22 and serve.new_token() != serve.new_token()


def test_the_quick_import_leaves_nothing_behind():
    code = (
        "import inspect; before = inspect.getfile\n"
        "from ui.quick_import import import_gradio\ngradio = import_gradio()\n"
        "assert inspect.getfile is before and inspect.getfile(gradio.Button).endswith('button.py')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE_S)
