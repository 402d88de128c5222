"""Captions as a base reads them, for pages: asked of a process of their own, kept while nothing changes. No torch here."""

import contextlib
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from studio import registry
from studio.errors import StudioError, one_line
from studio.jobs.processes.supervisor import spawn
from studio.models.bases import Base
from studio.store import Workspace, sha256

AT_ONCE = 500  # captions in one question, so that somebody who types is answered meanwhile
MAX_KEPT = 12  # whole answers
MAX_SHOWN = 200  # long captions told one by one
IDLE_S = 90.0  # until the process is let go of
LOST = "the process that reads captions ended: try again; the reason may be in cache/reading.log"


@dataclass
class Reading:
    """All captions of a dataset as a base reads them."""

    base: Base
    captions: dict[str, str]  # by file
    state: str = "reading"  # reading, told, failed
    done: int = 0
    error: str = ""
    limit: int = 0
    ends: list[int | None] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As pages get it: "long" are the first that are not read to their end, "num_long" how many there are; "num_empty" say nothing."""
        card = registry.family(self.base.family).card
        about = {"state": self.state, "done": self.done, "total": len(self.captions), "error": self.error, "limit": self.limit}
        named = {"base": self.base.name, "family": card.title, "reads": card.text}
        pairs = list(zip(self.captions.items(), self.ends, strict=False)) if self.state == "told" else []
        long = [{"file": f, "read": text[:end], "rest": text[end:].strip()} for (f, text), end in pairs if end is not None]
        empty = sum(not text.strip() for text in self.captions.values())
        return about | named | {"num_empty": empty, "num_long": len(long), "long": long[:MAX_SHOWN]}


class Readings:
    """One studio's questions, and the process that answers them; may be used from any thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock, self._talk = threading.Lock(), threading.Lock()
        self._kept: dict[str, Reading] = {}
        self._process: subprocess.Popen | None = None
        self._timer: threading.Timer | None = None

    def ask(self, base: Base, captions: dict[str, str]) -> str:
        """The key of what this base reads of these captions, which is found out now unless it is known."""
        folder = base.folder if base.folder.is_dir() else base.path
        key = sha256(json.dumps([str(base.path), folder.stat().st_mtime_ns, captions]).encode())[:20]
        with self._lock:
            known = self._kept.pop(key, None)
            is_new = known is None or known.state == "failed"
            self._kept[key] = reading = Reading(base, captions) if is_new else known
            while len(self._kept) > MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
        if is_new:
            threading.Thread(target=self._find_out, args=(reading,), daemon=True).start()
        return key

    def told(self, key: str) -> dict[str, Any]:
        """How far it is, and what was found; StudioError where this is asked for no more."""
        with self._lock:
            if key not in self._kept:
                raise StudioError("these captions are not looked at any more: open the page again")
            return self._kept[key].told()

    def wait(self, key: str, seconds: float) -> dict[str, int | None] | None:
        """{caption: where it is not read any further} once that is known; None where it is not within `seconds`."""
        with self._lock:
            reading = self._kept.get(key)
        until = time.monotonic() + seconds
        while reading and reading.state == "reading" and time.monotonic() < until:
            time.sleep(0.02)
        return dict(zip(reading.captions.values(), reading.ends, strict=True)) if reading and reading.state == "told" else None

    def ends(self, base: Base, texts: list[str]) -> dict[str, Any]:
        """{"limit", "ends"} of a few texts, now; StudioError where the base has no tokenizer that can be read."""
        answer = self._question({"family": base.family, "path": str(base.path), "texts": texts})
        if "error" in answer:
            raise StudioError(answer["error"])
        return answer

    def _find_out(self, reading: Reading) -> None:
        texts = list(reading.captions.values())
        try:
            for start in range(0, max(1, len(texts)), AT_ONCE):
                answer = self.ends(reading.base, texts[start : start + AT_ONCE])
                reading.limit = answer["limit"]
                reading.ends += answer["ends"]
                reading.done = len(reading.ends)
            reading.state = "told"
        except (StudioError, OSError, ValueError, KeyError) as error:
            reading.error, reading.state = one_line(error), "failed"

    def _question(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._talk:
            process = self._alive()
            try:
                process.stdin.write(json.dumps(asked).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = b""
            if not line:
                self._end()
                raise StudioError(LOST)
            self._rest()
        return json.loads(line)

    def _alive(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            self._workspace.cache.mkdir(parents=True, exist_ok=True)
            self._process = spawn("studio.jobs.datasets.reading", log=self._workspace.cache / "reading.log", talking=True)
        return self._process

    def _rest(self) -> None:
        """Let the process go when nobody has asked for a while."""
        if self._timer:
            self._timer.cancel()

        def leave() -> None:
            with self._talk:
                self._end()

        self._timer = threading.Timer(IDLE_S, leave)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)

    def close(self) -> None:
        """End what must not outlive the studio."""
        if self._timer:
            self._timer.cancel()
        process = self._process  # not behind the lock: a question may be waiting for its answer
        if process is not None:
            process.kill()
