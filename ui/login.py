"""The login: a name and password, or a token, asked for on every route; a browser then holds a session cookie."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import html
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import parse_qs, parse_qsl, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Scope

LOGIN_PATH, LOGOUT_PATH = "/studio/login", "/studio/logout"
MAX_FORM = 16 * 2**10
MAX_SESSIONS = 1000
FIRST_DELAY_S, MAX_DELAY_S, FORGOTTEN_S = 0.1, 2.0, 60.0
MAX_DELAYED = 64  # wrong attempts that wait at the same time; more are turned away unread, so that guessing stays slow
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Domain Studio: log in</title><style>
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px system-ui; background: #f6f7f9; color: #1c2530; }}
form {{ display: grid; gap: 12px; width: min(320px, 84vw); padding: 24px; background: #fff;
  border: 1px solid #d5dbe3; border-radius: 8px; }}
h1 {{ font-size: 20px; margin: 0; }} label {{ display: grid; gap: 4px; font-size: 14px; }} p {{ margin: 0; color: #b3261e; }}
input {{ font: inherit; padding: 8px; border: 1px solid #8a97a8; border-radius: 8px; background: transparent; color: inherit; }}
button {{ font: inherit; font-weight: 700; padding: 10px; border: 0; border-radius: 8px;
  background: #0f766e; color: #fff; cursor: pointer; }}
:focus-visible {{ outline: 2px solid #0f766e; outline-offset: 2px; }}
@media (prefers-color-scheme: dark) {{
 body {{ background: #0d1117; color: #e6edf3; }} form {{ background: #141b23; border-color: #2b3643; }} p {{ color: #ff8a80; }} }}
</style></head><body><form method="post"><h1>Domain Studio</h1>{notice}{fields}<button>Log in</button></form></body></html>
"""
BOUNCE = '<!doctype html><title>Domain Studio</title><meta http-equiv="refresh" content="0;url={address}">'
PASSWORD_FIELDS = """<label>Name<input name="user" autocomplete="username" autocapitalize="none" {focus}></label>
<label>Password<input name="password" type="password" autocomplete="current-password"></label>"""
TOKEN_FIELD = '<label>Token<input name="token" type="password" autocomplete="off" {focus}></label>'


@dataclass(frozen=True)
class Given:
    """What someone showed to be let in."""

    user: str = ""
    password: str = ""
    token: str = ""


class Login:
    """Knows who may come in: by `auth` (name, password), by `token`, or both; remembers sessions until the studio ends."""

    def __init__(self, auth: tuple[str, str] | None, token: str | None, cookie: str = "domain-studio") -> None:
        assert auth or token
        self._auth, self._token, self._cookie = auth and _hash(*auth), token and _hash(token), cookie
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self._wrong, self._delayed, self._last_wrong = 0, 0, 0.0

    def knows(self, scope: Scope) -> bool:
        """Whether the request comes with the cookie of a session."""
        value = HTTPConnection({**scope, "type": "http"}).cookies.get(self._cookie, "")
        return bool(value) and _hash(value) in self._sessions

    async def answer(self, request: Request) -> Response | None:
        """What is answered in the app's place; None lets the request through."""
        path, is_reading = request.url.path, request.method in ("GET", "HEAD")
        if path in ("/", LOGIN_PATH) and is_reading and "token" in request.query_params:
            return await self._enter_by_address(request)
        if path == LOGIN_PATH:
            if is_reading:
                return _lead(request, "/", request.url.query) if self.knows(request.scope) else self._page()
            return await self._enter_by_form(request)
        if self.knows(request.scope):
            return self._leave(request) if path == LOGOUT_PATH and request.method == "POST" else None
        given = _authorization(request)
        if given and await self._is_right(given):
            return None
        if path == "/" and is_reading and not given and _wants_page(request):
            return _lead(request, LOGIN_PATH, request.url.query)
        return JSONResponse({"error": "Please log in."}, 401, {"WWW-Authenticate": "Bearer"})  # Basic would open the browser's own dialog

    async def _enter_by_address(self, request: Request) -> Response:
        """`/?token=…`: a session, and the same address without the token."""
        rest = urlencode([(k, v) for k, v in parse_qsl(request.url.query, keep_blank_values=True) if k != "token"])
        if self.knows(request.scope):
            return _lead(request, "/", rest)
        if await self._is_right(Given(token=request.query_params["token"])):
            return self._welcome(request, rest)
        return self._page("This token is not the right one.", 401)

    async def _enter_by_form(self, request: Request) -> Response:
        if request.method != "POST":
            return JSONResponse({"error": "The studio does not know this method here."}, 405)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM:
                return JSONResponse({"error": "This is too long for a login."}, 413)
        form = {k: v[-1] for k, v in parse_qs(body.decode("utf-8", "replace"), max_num_fields=10).items()} if body.count(b"&") < 10 else {}
        if await self._is_right(Given(form.get("user", ""), form.get("password", ""), form.get("token", ""))):
            return self._welcome(request, request.url.query)
        return self._page("That was not right.", 401)

    def _welcome(self, request: Request, query: str) -> Response:
        """On to the page, with the cookie of a new session."""
        value = secrets.token_urlsafe(32)
        self._sessions[_hash(value)] = None
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        response = _lead(request, "/", query)
        response.set_cookie(self._cookie, value, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response

    def _leave(self, request: Request) -> Response:
        self._sessions.pop(_hash(request.cookies[self._cookie]), None)
        response = RedirectResponse(LOGIN_PATH, 303)
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict")
        return response

    async def _is_right(self, given: Given) -> bool:
        """Compare in constant time; what is wrong waits, longer each time, without keeping others waiting."""
        if self._delayed >= MAX_DELAYED:
            return False
        if time.monotonic() - self._last_wrong > FORGOTTEN_S:
            self._wrong = 0
        by_token = bool(self._token) and hmac.compare_digest(_hash(given.token), self._token)
        by_name = bool(self._auth) and hmac.compare_digest(_hash(given.user, given.password), self._auth)
        if by_token or by_name:
            return True
        self._wrong, self._delayed, self._last_wrong = self._wrong + 1, self._delayed + 1, time.monotonic()
        try:
            await asyncio.sleep(min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(self._wrong - 1, 10)))
        finally:
            self._delayed -= 1
        return False

    def _page(self, notice: str = "", status: int = 200) -> Response:
        fields = [PASSWORD_FIELDS] * bool(self._auth) + [TOKEN_FIELD] * bool(self._token)
        text = "".join(f.format(focus="autofocus" if f is fields[0] else "") for f in fields)
        return HTMLResponse(
            PAGE.format(notice=notice and f'<p role="alert">{notice}</p>', fields=text), status, {"Cache-Control": "no-store"}
        )


def _hash(*texts: str) -> bytes:
    """A digest of fixed length; each text by its own digest, so that "a:b" and "c" differ from "a" and "b:c"."""
    return hashlib.sha256(b"".join(hashlib.sha256(t.encode("utf-8", "replace")).digest() for t in texts)).digest()


def _authorization(request: Request) -> Given | None:
    """What the Authorization header shows; None without one."""
    header = request.headers.get("authorization")
    if not header:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return Given(token=value.strip())
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Given()
    return Given(user, password) if scheme.lower() == "basic" else Given()


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and request.headers.get("sec-fetch-mode", "navigate") == "navigate"


def _lead(request: Request, path: str, query: str) -> Response:
    """On to `path`. Who comes by a link of another site is led by a page of ours: a redirect would not be sent the strict cookie."""
    address = f"{path}?{urlencode(parse_qsl(query, keep_blank_values=True))}" if query else path
    if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return RedirectResponse(address, 303)
    return HTMLResponse(BOUNCE.format(address=html.escape(address)), headers={"Cache-Control": "no-store"})
