"""Requests given straight to an application, every header as chosen, and all routes that it has."""

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ui.quick_import import import_gradio

import_gradio()  # as the studio does, before those who ask import its application

Headers = list[tuple[str, str]]
HERE = [("Host", "127.0.0.1:7860")]
EXAMPLES = {"size": "192", "step": "1"}  # of parameters in routes that are numbers; all others are called "x"


@dataclass
class Answer:
    """What came back; status 0 where nothing did."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        found = [v for n, v in self.headers if n == name.lower()]
        assert len(found) < 2, f"{name} is sent twice"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


async def ask_async(app: Any, path: str, method: str = "GET", headers: Headers = HERE, body: list[bytes] | bytes = b"") -> Answer:
    """One HTTP request; `path` as it would stand in the request line."""
    address, _, query = path.partition("?")
    parts = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": p, "more_body": i + 1 < len(parts)} for i, p in enumerate(parts)]
    answer = Answer(0, [], b"")
    over = asyncio.Event()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(address),
        "raw_path": address.encode("utf-8", "surrogateescape"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 7860),
    }

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in message["headers"]]
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                over.set()

    await asyncio.wait_for(app(scope, receive, send), 30)
    return answer


def ask(app: Any, path: str, method: str = "GET", headers: Headers = HERE, body: list[bytes] | bytes = b"") -> Answer:
    """`ask_async`, waited for."""
    return run(ask_async(app, path, method, headers, body))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio.run` in a thread of its own: the driver of the browser keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def routes(app: Any) -> list[tuple[str, str]]:
    """(method, path) of every route, with an example in place of each parameter; also those of mounted applications."""
    found = [(method, re.sub(r"\{(\w+)(:\w+)?\}", lambda m: EXAMPLES.get(m[1], "x"), path)) for method, path in _walk(app.routes, "")]
    return sorted(set(found))


def _walk(given: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for route in given:
        if hasattr(route, "original_router"):  # one that was included
            yield from _walk(route.original_router.routes, prefix + route.include_context.prefix)
        elif hasattr(route, "methods"):
            yield from ((method, prefix + route.path) for method in route.methods or {"GET"})
        else:
            inner = getattr(route, "routes", None)
            yield from _walk(inner, prefix + route.path) if inner else [("GET", prefix + route.path + "/x")]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes everything in and answers in a word."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"access-control-allow-origin", b"*")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Recorder:
    """Passes on to `app`, and notes what came."""

    def __init__(self, app: Any = hello) -> None:
        self.app, self.asked = app, []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send)
