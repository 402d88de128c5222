"""The guard around every route, ours and Gradio's: who may ask, from which page, for what; and what browsers may do with the answer.

A page elsewhere can make a browser send requests to this machine, and can let its own name point here (DNS rebinding). Both are told by
the headers Host, Origin and Sec-Fetch-Site, which pages cannot forge; so they are checked before anything else sees the request.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import one_line
from ui.hosts import Hosts
from ui.login import LOGIN_PATH, Login

MAX_BODY = 4 * 2**20
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
READING = {"GET", "HEAD"}
SITES = {"same-origin", "same-site", "cross-site", "none"}
UPLOADS = re.compile(r"/studio/(imports/[^/]+/files|drawings/restore)")  # they count their bytes themselves
# Gradio's routes that the page and gradio_client need; all others (files, uploads, proxies, recordings, reloading …) are closed.
GRADIO = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static)/.+"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|queue/(join|data)|cancel|reset/?|heartbeat/[^/]+|(run|call|call/v2)/[^/]+(/[^/]+)?)"
)
BAD_PATH = re.compile(r"[\x00-\x1f\x7f\\]|//|%(25|2[ef]|5c|00)|(^|/)\.{1,2}(/|$)|[. ](/|$)", re.IGNORECASE)
BAD_RAW_PATH = re.compile(rb"%(2f|5c|00)|[^\x21-\x7e]", re.IGNORECASE)
FORWARDED = re.compile(rb"x-forwarded-.*|forwarded|x-real-ip|x-original-.*|x-rewrite-url|x-gradio-.*|x-http-method.*|via")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send Origin: null from our own login page
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio starts from inline scripts, and compiles `js_on_load`
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "frame-src 'self'",
            "frame-ancestors 'self'",
            "form-action 'self'",
            "object-src 'none'",
            "base-uri 'self'",
        )
    ),
}
KEEP_LONG, KEEP_NOT = b"private, max-age=604800", b"private, no-cache"  # Gradio's assets are named by their content
_OURS = {name.lower().encode() for name in HEADERS}


@dataclass(frozen=True)
class Refusal(Exception):
    """Why a request is not answered: an HTTP status and one line."""

    status: int
    line: str


class Guard:
    """An ASGI application around `app` that lets through only what comes from our own page, or from a program told to come here."""

    def __init__(self, app: ASGIApp, hosts: Hosts, login: Login | None = None) -> None:
        self._app, self._hosts, self._login = app, hosts, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _Answer(send, scope["path"]))
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing here speaks websocket; whatever may one day is checked as a writing request is."""
        try:
            check(scope | {"method": "POST"}, self._hosts)
            allowed = self._login is None or self._login.knows(scope)
        except Refusal:
            allowed = False
        if allowed:
            await self._app(_cleaned(scope, scope["scheme"]), receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            scheme = check(scope, self._hosts)
            scope = _cleaned(scope, scheme)
            _check_length(scope)
            if self._login:
                response = await self._login.answer(Request(scope, receive))
                if response:
                    return await response(scope, receive, answer.send)
            if scope["method"] not in READING and not UPLOADS.fullmatch(scope["path"]):
                receive = await _read_body(receive)
            await self._app(scope, receive, answer.send)
        except Refusal as refusal:
            await JSONResponse({"error": refusal.line}, refusal.status)(scope, receive, answer.send)
        except Exception as error:
            await self._tell(error, scope, receive, answer)

    async def _tell(self, error: Exception, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """A defect of ours: one line in the terminal, one on the page."""
        line = f"{scope['method']} {scope['path']}: {one_line(error)}"
        print(f"error: {line}", file=sys.stderr, flush=True)
        if os.environ.get("DOMAIN_STUDIO_DEBUG"):
            traceback.print_exception(error)
        if not answer.started:
            await JSONResponse({"error": one_line(error)}, 500)(scope, receive, answer.send)


class _Answer:
    """Sends an answer on, with the headers that every answer of ours has and without those that would open it to other pages."""

    def __init__(self, send: Send, path: str) -> None:
        self._send, self.started = send, False
        self._keep = KEEP_LONG if path.startswith("/assets/") else KEEP_NOT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kept = [(n, v) for n, v in message.get("headers", ()) if not (n.lower() in _OURS or n.lower().startswith(b"access-control-"))]
            kept = [(n, v.replace(b"public", b"private") if n.lower() == b"cache-control" else v) for n, v in kept]
            if not any(n.lower() == b"cache-control" for n, _ in kept):
                kept.append((b"cache-control", self._keep))
            message = message | {"headers": kept + [(n.encode(), v.encode()) for n, v in HEADERS.items()]}
        await self._send(message)


def check(scope: Scope, hosts: Hosts) -> str:
    """The scheme, http or https, under which the request came; Refusal where it may not have come at all."""
    if scope["method"] not in METHODS:
        raise Refusal(405, "The studio does not know this method.")
    host = hosts.find(_one(scope, b"host", "Host") or "")
    if host is None:
        raise Refusal(403, "The studio does not answer under this name: open it at the address it printed (other names: --allow-host).")
    origin = _one(scope, b"origin", "Origin")
    if origin is not None and not host.is_origin(origin):
        raise Refusal(403, "This request comes from another page: only the studio's own page may do this.")
    site = _one(scope, b"sec-fetch-site", "Sec-Fetch-Site")
    _check_path(scope)
    _check_site(scope, site)
    return origin.partition(":")[0] if origin else host.scheme(is_trusted=site is not None)


def _check_site(scope: Scope, site: str | None) -> None:
    """Other sites may lead here (a link to the page), and nothing else."""
    if site in (None, "same-origin", "none"):
        return
    mode, kind = (_one(scope, name, name.decode()) for name in (b"sec-fetch-mode", b"sec-fetch-dest"))
    is_link = scope["method"] in READING and mode == "navigate" and kind == "document"
    if site not in SITES or not is_link or scope["path"] not in ("/", LOGIN_PATH):
        raise Refusal(403, "This request comes from another site: only the studio's own page may do this.")


def _check_path(scope: Scope) -> None:
    path, raw = scope["path"], scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    if not path.startswith("/") or BAD_RAW_PATH.search(raw) or BAD_PATH.search(path) or "\ufffd" in path:
        raise Refusal(404, "There is nothing at this address: it is not well formed.")
    if not path.startswith("/studio/") and not GRADIO.fullmatch(path):
        raise Refusal(404, "There is nothing at this address.")


def _check_length(scope: Scope) -> None:
    length = _one(scope, b"content-length", "Content-Length")
    if length is None or UPLOADS.fullmatch(scope["path"]):
        return
    if not (length.isascii() and length.isdigit()):
        raise Refusal(400, "Content-Length is not a number.")
    if int(length[:20]) > MAX_BODY:
        raise _too_large()


def _too_large() -> Refusal:
    return Refusal(413, f"This is more than the {MAX_BODY // 2**20} MiB that the studio takes at once: send less.")


async def _read_body(receive: Receive) -> Receive:
    """Read the body, at most MAX_BODY, before anyone acts on it; what hands it out again."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            waiting = [message]
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise _too_large()
        if not message.get("more_body"):
            waiting = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]
            break

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _one(scope: Scope, name: bytes, told: str) -> str | None:
    """The value of a header that may come once; None where it is missing."""
    values = [v for n, v in _headers(scope) if n.lower() == name]
    if len(values) > 1:
        raise Refusal(403, f"The header {told} came twice.")
    return values[0].decode("latin-1") if values else None


def _headers(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    return scope["headers"]


def _cleaned(scope: Scope, scheme: str) -> dict[str, Any]:
    """The scope as we know it to be: nothing in it stems from headers that anyone could have added."""
    return {**scope, "scheme": scheme, "headers": [(n, v) for n, v in _headers(scope) if not FORWARDED.fullmatch(n.lower())]}
