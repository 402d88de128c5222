"""The child's side of a process that is talked to in lines of JSON: an output for answers alone, one request, one line about its end."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from studio.errors import one_line


class Say(Protocol):
    """Tells the parent something: a line of JSON."""

    def __call__(self, **told: Any) -> None: ...


def own_output() -> TextIO:
    """This process's standard output, for lines of JSON alone: what libraries print for people goes where its errors go, from now on."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def carry_out(work: Callable[[dict[str, Any], Say], dict[str, Any]]) -> int:
    """Do what the one request on standard input asks for; what `work` returns is the last line, or why it failed. The exit status."""
    out = own_output()

    def say(**told: Any) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    try:
        say(**work(json.loads(sys.stdin.readline() or "{}"), say))
        return 0
    except Exception as error:
        say(state="failed", error=one_line(error))
        return 1
