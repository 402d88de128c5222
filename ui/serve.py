"""The studio as a process: its environment, its port, its address, its end."""

import asyncio
import errno
import hashlib
import http.client
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from studio import quiet
from studio.errors import StudioError
from studio.jobs.runs.folders import boot_id, process_lives
from studio.store import Workspace, read_json, write_json
from ui.hosts import ANY, Hosts, is_loopback, own_addresses

PORT = 7860
TRIES = 20  # ports looked at from the wanted one on
GRACE_S = 2  # for answers under way when the studio ends
END_S = 2.8  # the end takes no longer, whatever still works
# Variables by which Gradio shares, listens elsewhere, logs in, serves folders or runs code, and FastAPI sends what it measures.
FOREIGN = re.compile(r"(GRADIO|OAUTH|OPENID|SPACE|FASTAPI|OTEL|UVICORN)_.*|SYSTEM", re.IGNORECASE)


@dataclass
class Options:
    """How the studio is served."""

    workspace: Path
    host: str = "127.0.0.1"
    port: int = PORT
    browser: bool = True
    auth: str = field(default="", repr=False)  # USER:PASS
    token: str = field(default="", repr=False)
    allow_hosts: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host.strip("[]")) and not self.allow_hosts

    def auth_pair(self) -> tuple[str, str] | None:
        """(name, password); StudioError where --auth has another form."""
        name, colon, password = self.auth.partition(":")
        if self.auth and not (name and colon and password):
            raise StudioError("--auth: give it as USER:PASS, both not empty")
        return (name, password) if self.auth else None


def serve(options: Options, say: Callable[[str], None] = print) -> int:
    """Serve the studio until it is asked to end; the exit code. StudioError where others could come in without a login."""
    auth = options.auth_pair()
    if not is_loopback(options.host.strip("[]")) and not (auth or options.token):
        raise StudioError(f"--host {options.host}: others could come in: add --token (safe and easy), or --auth USER:PASS")
    hosts = Hosts(options.host, options.allow_hosts)
    workspace = Workspace.at(options.workspace)
    clean_environment(workspace)
    door = listen(options.host, options.port)
    port = door.getsockname()[1]
    if options.port and port != options.port:
        say(f"Port {options.port} is taken: using {port}.")
    address = f"http://{_shown(options.host)}:{port}"
    record = Record(workspace, address)
    if record.other:
        say(f"This workspace is already open at {record.other}; that one goes on too.")
    if not is_loopback(options.host.strip("[]")):
        say("Other machines can reach this studio, and what is sent is not encrypted: use it in a network you trust.")
    from ui.quick_import import import_gradio

    import_gradio()
    from ui.app import build_app
    from ui.desk import Desk
    from ui.guard import Guard
    from ui.login import Login

    desk = Desk(workspace, is_local=options.is_local, has_login=bool(auth or options.token))
    try:
        login = Login(auth, options.token, _cookie(workspace, port)) if auth or options.token else None
        link = address + ("/?" + urlencode({"token": options.token}) if options.token else "")

        def announce() -> None:
            _announce(link, options.browser, say)
            desk.warm()

        _run(Guard(build_app(desk), hosts, login), door, announce)
    finally:
        desk.close()
        record.remove()
    say("Domain Studio has ended; runs go on.")
    return 0


def clean_environment(workspace: Workspace) -> None:
    """Leave no variable by which Gradio would share, open or log more than we say, and keep its files in the workspace."""
    for name in [n for n in os.environ if FOREIGN.fullmatch(n)]:
        del os.environ[name]
    temporary = workspace.cache / "gradio"
    temporary.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o700)
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(temporary), "OTEL_SDK_DISABLED": "true"}
    quiet.silence()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at `port`, or at the next free one; 0 takes any. StudioError where there is none, or no such host."""
    name = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        family, *_, where = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError:
        raise StudioError(f"--host {host}: this machine has no such address") from None
    ports = range(port, min(port + TRIES, 65536)) if port else [0]
    for number in ports:
        door = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Windows gives an address to two with SO_REUSEADDR, elsewhere it only shortens the wait after an end
            door.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
            if number and _is_answered(family, where[0], number):
                raise OSError
            door.bind((where[0], number, *where[2:]))
            door.listen(2048)
            return door
        except OSError as error:
            door.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise StudioError(f"--host {host}: this machine has no such address") from None
            if error.errno == errno.EACCES and os.name != "nt":  # where Windows says it, the port is taken
                raise StudioError(f"--port {number}: the system does not allow this one: choose one above 1023") from None
    raise StudioError(f"--port {port}: it is taken, and so are the next ones: choose another, or 0 for any that is free")


def _is_answered(family: int, address: str, port: int) -> bool:
    """Whether someone listens there already; some systems would let us listen beside them."""
    if os.name == "nt":
        return False
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((loopback, port)) == 0


def _shown(host: str) -> str:
    """The host part of the address to print: one that can be typed elsewhere."""
    name = host.strip("[]")
    if name in ANY:
        others = [a for a in own_addresses() if not is_loopback(a) and (":" in a) == (name == "::") and not a.startswith("fe80")]
        name = others[0] if others else "127.0.0.1"
    return f"[{name}]" if ":" in name else name


def _cookie(workspace: Workspace, port: int) -> str:
    """A name of its own: browsers do not tell ports apart when they send cookies."""
    return "studio-" + hashlib.sha256(f"{socket.gethostname()}\0{workspace.root}\0{port}".encode("utf-8", "replace")).hexdigest()[:8]


class Record:
    """`.studio.json` in the workspace: which studio serves it, so that a second one can say so."""

    def __init__(self, workspace: Workspace, address: str) -> None:
        self._path = workspace.root / ".studio.json"
        self.other: str | None = None
        found = self._read()
        if process_lives(found) and found["pid"] != os.getpid():
            self.other = str(found.get("address"))[:200]
            return
        me = psutil.Process()
        write_json(self._path, {"address": address, "pid": me.pid, "started": me.create_time(), "boot": boot_id()})

    def _read(self) -> dict[str, Any]:
        try:
            found = read_json(self._path)
        except (StudioError, OSError):
            return {}
        return found if isinstance(found, dict) else {}

    def remove(self) -> None:
        if self._read().get("pid") == os.getpid():
            self._path.unlink(missing_ok=True)


def _run(app: Any, door: socket.socket, announce: Callable[[], None]) -> None:
    """Serve `app` at `door` until SIGINT, SIGTERM or SIGHUP."""
    import uvicorn

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="error",
        access_log=False,  # addresses can hold a token
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)

    def leave(*_: Any) -> None:
        server.should_exit = True

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # uvicorn puts its own in place of two of these, and these back at its end
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    asyncio.run(_serve(server, door, announce))


async def _serve(server: Any, door: socket.socket, announce: Callable[[], None]) -> None:
    threading.Thread(target=_see_to_the_end, args=(server,), daemon=True).start()
    serving = asyncio.create_task(server.serve([door]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.01)
    if server.started:
        await asyncio.to_thread(_wait_for_answer, door)
        if not server.should_exit:
            announce()
    await serving


def _wait_for_answer(door: socket.socket) -> None:
    """Return when the server has answered once."""
    host, port = door.getsockname()[:2]
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=30)
    try:
        connection.request("GET", "/studio/health")
        connection.getresponse().read()
    except OSError as error:
        raise StudioError(f"the studio does not answer at port {port}: {error}") from None
    finally:
        connection.close()


def _announce(link: str, browser: bool, say: Callable[[str], None]) -> None:
    say(f"Domain Studio is at {link} (Ctrl-C ends the studio; runs go on)")
    sys.stdout.flush()
    if browser:
        threading.Thread(target=_open_browser, args=(link,), daemon=True).start()


def _open_browser(link: str) -> None:
    """Show the page where there is a screen; the address has been printed anyway."""
    try:
        webbrowser.open(link)
    except Exception:  # whatever ails a browser is no reason not to start
        pass


def _see_to_the_end(server: Any) -> None:
    """Once the server is asked to end, leave although something still works: a thread that reads a large upload, or the loop itself.

    What is written is written whole or not at all.
    """
    while not server.should_exit:
        time.sleep(0.1)
    time.sleep(END_S)
    os._exit(0)


def new_token() -> str:
    """A token of 128 random bits."""
    return secrets.token_urlsafe(16)
