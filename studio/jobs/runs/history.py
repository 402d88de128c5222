"""What a run's events add up to, read once and only ever continued: curves, scores, previews, sentences. No torch here."""

import bisect
import hashlib
import json
import math
import re
import statistics
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from studio.jobs.runs.words import tell, tone

PIECE = 2**23  # bytes read at once
HEAD = 400  # bytes that tell one event file from another of the same name
RECENT = 40  # steps whose median says how fast a run is
MAX_TOLD = 400  # characters of a sentence
PREPARING = {  # events of progress before the first step
    "caching": "pictures and captions cached",
    "class_pictures": "class pictures drawn",
}
STEP = re.compile(  # the lines that are many: as `EventLog` writes them, ten times faster than JSON
    rb'\{"kind": "step", "time": ([\d.e+-]+), "step": (\d+), "loss": ([\d.e+-]+|null), "grad_norm": (?:[\d.e+-]+|null), '
    rb'"lr": ([\d.e+-]+|null), "seconds": ([\d.e+-]+)\}'
)


class History:
    """One run's events so far; `refresh` reads on from where it left off. Not thread-safe: `LiveRuns` holds a lock."""

    def __init__(self, path: Path, window: int) -> None:
        self._path, self._decay = path, 1 - 1 / max(2, window)
        self._forget("")

    def _forget(self, token: str) -> None:
        self.token, self.cursor = token, 0
        self.steps, self.ends = array("q"), array("q")  # ends: the byte after each step's line
        self.loss, self.smooth, self.lr, self.seconds = (array("d") for _ in range(4))
        self.scores: list[dict[str, Any]] = []
        self.previews: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.spent: dict[str, list[float]] = {"score": [], "preview": []}  # seconds
        self.ended: dict[str, Any] | None = None
        self.caching: dict[str, int] | None = None
        self.replaced = self.last_step = 0  # replaced: the byte up to which later events have replaced earlier ones
        self.peak_gib: float | None = None
        self.began = self.last_time = None
        self._average, self._count = 0.0, 0

    def refresh(self) -> None:
        """Take in what has been written since; all anew where the file has been replaced or cut."""
        try:
            with open(self._path, "rb") as file:
                head = file.readline(HEAD)
                token = hashlib.sha256(head).hexdigest()[:8] if head.endswith(b"\n") or len(head) == HEAD else ""
                if token != self.token or file.seek(0, 2) < self.cursor:
                    self._forget(token)
                file.seek(self.cursor)
                while piece := file.read(PIECE):
                    whole = piece[: piece.rfind(b"\n") + 1]
                    if not whole:
                        break
                    self._take(whole)
                    file.seek(self.cursor)
        except FileNotFoundError:
            self._forget("")

    def _take(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            self.cursor += len(line) + 1
            found = STEP.fullmatch(line)
            if found:
                time, step, loss, lr, seconds = found.groups()
                self._add_step(int(step), _value(loss), _value(lr), float(seconds))
                self.last_time = time
                continue
            event = _parse(line)
            if event:
                self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        kind, step, time = event["kind"], event.get("step"), event.get("time")
        if kind == "step" and _is_step(step):
            self._add_step(step, *(_float(event.get(name)) for name in ("loss", "lr", "seconds")))
        elif kind == "resumed" and _is_step(step):
            self._replace_after(step)
        elif kind == "preview" and _is_step(step):
            self._add_preview(event)
        elif kind == "score" and _is_step(step):
            self._add_score(event)
        elif kind in PREPARING:
            self.caching = {"what": PREPARING[kind], "done": event.get("done"), "total": event.get("total")}
        if kind != "step":
            self._tell(event)
        self._keep_facts(event)
        if isinstance(time, int | float):
            self.last_time = time

    def _keep_facts(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind in {"loaded", "started", "resumed"}:
            self.ended = None
        if kind == "loaded":
            self.began = _float(event.get("time"))
        if kind in {"finished", "stopped"}:
            self.ended = event
        if isinstance(event.get("peak_memory_gib"), int | float):
            self.peak_gib = max(self.peak_gib or 0, event["peak_memory_gib"])
        if _is_step(event.get("step")):
            self.last_step = event["step"]

    def _add_step(self, step: int, loss: float, lr: float, seconds: float) -> None:
        if self.steps and step <= self.steps[-1]:
            self._replace_after(step - 1)
        if loss == loss:
            self._average = self._decay * self._average + (1 - self._decay) * loss
            self._count += 1
        self.steps.append(step)
        self.ends.append(self.cursor)
        self.loss.append(loss)
        self.lr.append(lr)
        self.seconds.append(seconds)
        self.smooth.append(self._average / (1 - self._decay**self._count) if self._count else math.nan)
        self.last_step = step

    def _replace_after(self, step: int) -> None:
        """Forget what was learned after `step`: the run goes on from there, and what follows is what counts."""
        keep = bisect.bisect_right(self.steps, step)
        self.scores = [s for s in self.scores if s["step"] <= step]
        self.previews = [p for p in self.previews if p["step"] <= step]
        if keep < len(self.steps):
            self.replaced = self.cursor
            for values in (self.steps, self.ends, self.loss, self.smooth, self.lr, self.seconds):
                del values[keep:]
            self._count = sum(1 for loss in self.loss if loss == loss)
            self._average = self.smooth[-1] * (1 - self._decay**self._count) if self._count else 0.0

    def _add_preview(self, event: dict[str, Any]) -> None:
        files, base = event.get("files"), bool(event.get("base"))
        if not isinstance(files, list) or not all(isinstance(f, str) for f in files):
            return
        self._spend("preview", event)
        self.previews = [p for p in self.previews if p["step"] != event["step"] or p["base"] != base]
        self.previews.append({"step": event["step"], "base": base, "files": files, "time": event.get("time"), "at": self.cursor})

    def _add_score(self, event: dict[str, Any]) -> None:
        self._spend("score", event)
        score = read_score(event.get("held_out"))
        if score:
            self.scores = [s for s in self.scores if s["step"] != event["step"]]
            seen = read_score(event.get("train")) or {}
            trained = {"seen": seen.get("loss"), "seen_base": seen.get("base")}
            self.scores.append({"step": event["step"], **score, **trained, "at": self.cursor})

    def _spend(self, what: str, event: dict[str, Any]) -> None:
        """Note how long this took since the event before it, for the time that is left."""
        with_time = (self.last_time, event.get("time"))
        if all(with_time):
            self.spent[what] = [*self.spent[what][-9:], max(0.0, _float(event["time"]) - _float(self.last_time))]

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            text = tell(event)
        except (KeyError, TypeError, ValueError):  # an event that lacks what its kind should have
            text = ""
        if text:
            text = text[0].upper() + text[1 : MAX_TOLD - 1]
            self.told.append({"time": event.get("time"), "text": text, "tone": tone(event), "at": self.cursor})

    def pace(self) -> float | None:
        """Seconds of a step: the median of the last ones, so that gaps, previews and waiting do not count."""
        return statistics.median(self.seconds[-RECENT:]) if self.steps else None

    def median_spent(self, what: str) -> float:
        """The median of the seconds that `what` took; 0 before the first."""
        return statistics.median(self.spent[what]) if self.spent[what] else 0.0

    def points(self, after: int, limit: int) -> dict[str, list[list[float | None]]]:
        """Curves of the steps written after byte `after`, at most about `limit` points each."""
        first = bisect.bisect_right(self.ends, after) if after else 0
        steps = np.array(self.steps[first:], dtype=np.int64)
        loss, smooth, lr = (np.array(values[first:]) for values in (self.loss, self.smooth, self.lr))
        raw = _extremes(loss, limit)
        return {
            "raw": _pairs(steps, loss, raw),
            "smooth": _pairs(steps, smooth, _spread(len(steps), limit // 2)),
            "lr": _pairs(steps, lr, _spread(len(steps), limit // 5)),
        }


def read_score(score: Any) -> dict[str, Any] | None:
    """{"loss", "base", "change_percent", "num_better", "num_images"} of a held-out score, "num_masked" where masks weighted it; or None."""
    if not isinstance(score, dict) or not isinstance(score.get("num_images"), int):
        return None
    ratio = score.get("log_ratio")
    usable = isinstance(ratio, int | float) and abs(ratio) < 20
    change = round(100 * (math.exp(ratio) - 1), 1) if usable else None
    masked = {"num_masked": score["num_masked"]} if isinstance(score.get("num_masked"), int) and score["num_masked"] else {}
    return masked | {
        "loss": score.get("loss"),
        "base": score.get("base"),
        "change_percent": change,
        "num_better": score.get("num_better", 0),
        "num_images": score["num_images"],
    }


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


def _value(text: bytes) -> float:
    return math.nan if text == b"null" else float(text)


def _float(value: Any) -> float:
    """`value` as a number; NaN where it is none."""
    try:
        return math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _extremes(values: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the lowest and the highest value of each of limit/2 equal parts, in order; all where they are few."""
    count = len(values)
    if count <= limit:
        return np.arange(count)
    size = math.ceil(count / (limit // 2))
    parts = math.ceil(count / size)
    padded = np.full(parts * size, math.nan)
    padded[:count] = values
    grid = padded.reshape(parts, size)
    starts = np.arange(parts) * size
    low = np.where(np.isnan(grid), math.inf, grid).argmin(1) + starts
    high = np.where(np.isnan(grid), -math.inf, grid).argmax(1) + starts
    return np.unique(np.concatenate([[0, count - 1], low, high]))


def _spread(count: int, limit: int) -> np.ndarray:
    return np.arange(count) if count <= limit else np.unique(np.linspace(0, count - 1, limit).astype(np.int64))


def _pairs(steps: np.ndarray, values: np.ndarray, chosen: np.ndarray) -> list[list[float | None]]:
    return [[int(x), None if y != y else float(f"{y:.5g}")] for x, y in zip(steps[chosen].tolist(), values[chosen].tolist(), strict=True)]
