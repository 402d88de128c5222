"""A large dataset as a person meets it: imported by the command, looked at, filtered, edited, checked, split and exported.

    python tests/bench/dataset.py [--num 10000] [--work DIR] [--rows-only] [--json FILE]

Pictures are made first: JPEG and PNG of 0.8 to 12 million pixels, as cameras and programs write them, with captions, folders, copies and
near copies, the same ones at every run. The import is `dataset new`; its memory is watched in the command and in its decoding process.
Everything behind it is asked of a running studio, by the addresses that its page asks. --rows-only leaves pictures and import out.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import ROOT, Client
from PIL import Image

from studio.dataset.alike import THUMB_PX
from studio.dataset.doctor.chart import VERSION, Chart, Pair, write_chart
from studio.dataset.prints import keep_prints
from studio.dataset.rows import Dataset, Row
from studio.store import Workspace, sha256
from tests.ui.browser import Studio, wait_until

NAME = "large"
SIZES = {  # (width, height), px, of a hundred
    (1024, 768): 25,
    (768, 1024): 10,
    (1280, 960): 15,
    (1200, 1200): 8,
    (1080, 1620): 8,
    (1600, 1200): 18,
    (2048, 1536): 11,
    (4000, 3000): 5,
}
PNG_SHARE, COPY_EVERY, NEAR_EVERY, FOLDER = 0.1, 200, 60, 250
MAX_ANSWER_MS = 300
ROUNDS = 5


class Table:
    """Figures as they come, printed at once and kept; `process`, whose answers are timed, is asked for its CPU time too."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.process = psutil.Process()

    def add(self, what: str, value: float, unit: str, note: str = "") -> None:
        self.rows.append({"what": what, "value": round(value, 2), "unit": unit, "note": note})
        print(f"{what:58} {value:10,.1f} {unit:12} {note}", flush=True)

    def timed(self, what: str, act: Callable[[], object], limit_ms: float = MAX_ANSWER_MS, rounds: int = ROUNDS) -> None:
        """The median and the longest of some answers; a mark where the median is over what was promised."""
        times, used = [], []
        for _ in range(rounds):
            began, before = time.perf_counter(), self.process.cpu_times()
            act()
            times.append(1000 * (time.perf_counter() - began))
            after = self.process.cpu_times()
            used.append(1000 * (after.user + after.system - before.user - before.system))
        median = statistics.median(times)
        note = f"CPU {statistics.median(used):,.0f}, longest {max(times):,.0f}"
        self.add(what, median, "ms", note + (f"; over {limit_ms:.0f}" if median > limit_ms else ""))


def make(folder: Path, num: int) -> None:
    """`num` pictures of different content in folders of FOLDER, some of them copies or near copies of the one before, with captions."""
    random, sizes = np.random.default_rng(0), list(SIZES)
    weights = np.array(list(SIZES.values())) / sum(SIZES.values())
    noise = random.integers(-14, 15, (3100, 4100, 1), dtype=np.int16)
    last = ("", b"")
    for i in range(num):
        place = folder / f"shoot-{i // FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        width, height = sizes[random.choice(len(sizes), p=weights)]
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        dx, dy, is_png = random.integers(0, 100), random.integers(0, 100), random.random() < PNG_SHARE and width < 2000
        caption = f"a photograph of something, number {i}, taken on day {i % 31}" if i % 20 else ""
        (place / f"IMG_{i:05}.txt").write_text(caption)
        if last[1] and i % COPY_EVERY == 0:
            (place / f"IMG_{i:05}{last[0]}").write_bytes(last[1])
            continue
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        picture = Image.fromarray((smooth + noise[dy : dy + height, dx : dx + width]).clip(0, 255).astype(np.uint8))
        path = place / f"IMG_{i:05}{'.png' if is_png else '.jpg'}"
        picture.save(path, **({"compress_level": 1} if is_png else {"quality": 88}))
        if i % NEAR_EVERY == 1:
            picture.resize((width // 2, height // 2)).save(place / f"IMG_{i:05}-small.jpg", quality=80)
        last = (path.suffix, path.read_bytes())


def watched(words: list[str], workspace: Path) -> dict[str, float]:
    """Run a command of the studio: its seconds, CPU seconds with its children, and the most memory of itself and of its largest child."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "studio.cli", *words, "--workspace", str(workspace)]
    peak = {"own_mib": 0.0, "child_mib": 0.0}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        while process.poll() is None:
            _look(process.pid, peak)
            time.sleep(0.2)
        reader.join()
    assert process.returncode == 0, "".join(lines)[-2000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_s": used, **peak}


def _look(pid: int, peak: dict[str, float]) -> None:
    try:
        process = psutil.Process(pid)
        peak["own_mib"] = max(peak["own_mib"], process.memory_info().rss / 2**20)
        for child in process.children(recursive=True):
            peak["child_mib"] = max(peak["child_mib"], child.memory_info().rss / 2**20)
    except psutil.Error:
        pass  # it has just ended


def import_all(table: Table, work: Path, num: int) -> None:
    began = time.perf_counter()
    make(work / "in", num)
    table.add("pictures made (not counted)", time.perf_counter() - began, "s")
    files = [path for path in (work / "in").rglob("*") if path.suffix != ".txt"]
    table.add("what is given", sum(path.stat().st_size for path in files) / 2**20, "MiB", f"{len(files):,} files")
    took = watched(["dataset", "new", NAME, str(work / "in"), "--json"], work / "workspace")
    table.add("import: pictures a second of CPU", len(files) / took["cpu_s"], "pictures/s", f"{took['cpu_s']:,.0f} s of CPU")
    table.add("import: pictures a second on the clock", len(files) / took["seconds"], "pictures/s", f"{took['seconds']:,.0f} s")
    table.add("import: most memory of the command", took["own_mib"], "MiB")
    table.add("import: most memory of its decoding process", took["child_mib"], "MiB")


def write_rows(workspace: Workspace, num: int) -> None:
    """A dataset of `num` rows whose pictures are empty files, with captions and measures as an import leaves them."""
    root = workspace.datasets / NAME
    root.mkdir(parents=True)
    random, rows, measured, sizes = np.random.default_rng(0), [], {}, list(SIZES)
    for i in range(num):
        pixels, file, (width, height) = sha256(str(i).encode()), f"{i:05}-x.jpg", sizes[i % len(sizes)]
        split, columns = "train" if i % 10 else "held_out", {"folder": f"shoot-{i // FOLDER:03}"}
        about = {"split": split, "source": f"IMG_{i:05}.jpg", "words": "x" * 16, "columns": columns}
        rows.append(Row(file=file, sha256=pixels, pixels=pixels, width=width, height=height, **about))
        (root / file).touch()
        (root / f"{i:05}-x.txt").write_text(f"a picture of something, number {i}" if i % 20 else "")
        whole = {"version": VERSION, "hash": pixels, "blur": 0.3 + random.random() / 5, "low": 5, "high": 220, "white": 0, "black": 0}
        measured[pixels] = {**whole, "margins": [0] * 4, "bars": [0] * 4, "edges": [0] * 4, "detail": 0.9, "letters": 0}
    pairs = [Pair(first=rows[i].pixels, second=rows[i + 1].pixels, kind="near", told="alike") for i in range(0, num - 1, 50)]
    Dataset(root=root, name=NAME, rows=rows).save()
    write_chart(root, Chart(measured=measured, pairs=pairs))
    keep_prints(workspace, NAME, {row.pixels: random.integers(0, 256, THUMB_PX * THUMB_PX * 3, np.uint8).tobytes() for row in rows})


PAGES = {
    "a page": "offset=0&limit=60",
    "a page far down": "offset={far}&limit=60",
    "held out": "filter=held_out",
    "to look at": "filter=problem",
    "no caption": "filter=no_caption",
    "near duplicates": "filter=check:near",
    "framed": "filter=framed",
    "searched": "text=number+77",
    "by caption": "sort=caption",
    "by size": "sort=size",
    "a word of the captions": "word=photograph",
}
SCREENS = {
    "the list of datasets": "/studio/datasets",
    "what the doctor says": "{here}/doctor",
    "near duplicates side by side": "{here}/doctor/near",
    "shapes": "{here}/buckets",
    "variants": "{here}/variants?flip=true",
    "one picture in the editor": "{here}/framing?file={file}",
    "words of the captions": "{here}/words",
    "versions of a caption": "{here}/versions?file={file}",
    "what the split is": "{here}/split",
    "history": "{here}/history",
}


def look(table: Table, client: Client, num: int) -> None:
    """Everything that only shows."""
    here = f"/studio/datasets/{NAME}"
    table.timed("first page, nothing in memory", lambda: client.json(f"{here}?limit=60"), 3000, rounds=1)
    file = client.json(f"{here}?offset={num // 2}&limit=1")["items"][0]["file"]
    for what, query in PAGES.items():
        table.timed(f"grid: {what}", lambda query=query: client.json(f"{here}?{query.format(far=max(0, num - 100))}"))
    for what, path in SCREENS.items():
        table.timed(f"screen: {what}", lambda path=path: client.json(path.format(here=here, file=file)))
    version = client.json(f"{here}?limit=1")["version"]
    table.timed("screen: is there anything new", lambda: client.json(f"{here}?known={version}"))


def change(table: Table, client: Client, num: int, root: Path) -> None:
    """Everything that a click changes, and the page that is shown after it."""
    here, count = f"/studio/datasets/{NAME}", iter(range(10**6))
    files = [item["file"] for item in client.json(f"{here}?offset={num // 2}&limit=60")["items"]]

    def caption() -> None:
        client.json(f"{here}/caption", "PUT", {"file": files[0], "caption": f"changed {next(count)}"})

    def crop(number: int = 1) -> None:
        for file in files[:number]:
            client.json(f"{here}/framing", "PUT", {"file": file, "edit": {"crop": [0, 0, 1, 0.9 - next(count) % 50 / 100]}})

    def then_page(act: Callable[[], None]) -> Callable[[], None]:
        return lambda: (act(), client.json(f"{here}?offset={num // 2}&limit=60"))

    before = _stamps(root)
    table.timed("one caption edited", caption)
    touched = sorted(path for path, stamp in _stamps(root).items() if before.get(path) != stamp)
    table.add("files touched by it", len(touched), "files", ", ".join(touched))
    table.timed("one caption edited, then the page", then_page(caption))
    table.timed("one picture cropped", crop)
    table.timed("one picture cropped, then the page", then_page(crop))
    table.timed("60 pictures turned", lambda: client.json(f"{here}/turn", "POST", {"files": files, "action": "right"}))
    table.timed("one picture excluded and brought back", lambda: _back_again(client, here, files[1]))
    table.timed("split: previewed by folder", lambda: client.json(f"{here}/split", "POST", _split(preview=True)), 1000)
    table.timed("split: made by folder", lambda: client.json(f"{here}/split", "POST", _split(preview=False)), 2000, rounds=2)
    bulk = {"operation": "replace", "find": "something", "replace": "anything"}
    table.timed("captions: find and replace in all, previewed", lambda: client.json(f"{here}/bulk", "POST", {**bulk, "preview": True}))
    table.timed("captions: made in all", lambda: client.json(f"{here}/bulk", "POST", {**bulk, "preview": False}), 20000, rounds=1)
    table.timed("the page after that", lambda: client.json(f"{here}?limit=60"), 3000, rounds=1)


def _back_again(client: Client, here: str, file: str) -> None:
    undo = client.json(f"{here}/remove", "POST", {"files": [file]})["undo"]
    client.json(f"{here}/undo", "POST", {"undo": undo})


def _split(preview: bool) -> dict[str, Any]:
    return {"rule": {"column": "folder"}, "preview": preview}


def _stamps(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in root.iterdir()}


def check_and_export(table: Table, client: Client, work: Path) -> None:
    """The whole check, by its button; and the dataset copied out."""
    here = f"/studio/datasets/{NAME}"
    began = time.perf_counter()
    checkup = client.json(f"{here}/doctor/check", "POST", {})["id"]
    told = wait_until(
        lambda: (s := client.json(f"/studio/checkups/{checkup}")["status"])["state"] in ("finished", "failed") and s, "it", 3600
    )
    assert told["state"] == "finished", told
    table.add("doctor: whole check, with the image tower", time.perf_counter() - began, "s")
    for kind in ("txt", "jsonl"):
        took = watched(["dataset", "export", NAME, "--captions", kind, "--out", str(work / kind)], work / "workspace")
        table.add(f"export as {kind}", took["seconds"], "s", f"most memory {took['own_mib']:.0f} MiB")


def bench(table: Table, num: int, rows_only: bool, work: Path) -> None:
    workspace = Workspace.at(work / "workspace")
    if rows_only:
        write_rows(workspace, num)
    else:
        import_all(table, work, num)
    studio = Studio(workspace.root).start()
    try:
        client, table.process = Client(studio), psutil.Process(studio.process.pid)
        memory = table.process.memory_info
        client.seconds("/")
        idle = memory().rss / 2**20
        look(table, client, num)
        change(table, client, num, workspace.datasets / NAME)
        if not rows_only:
            check_and_export(table, client, work)
        table.add("memory of the studio, above what it had empty", memory().rss / 2**20 - idle, "MiB", f"{idle:.0f} MiB empty")
    finally:
        studio.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--rows-only", action="store_true", help="leave out pictures and import")
    parser.add_argument("--work", type=Path, help="a disk with room: about 1.3 MiB for each picture; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="also keep the table there")
    options, figures = parser.parse_args(), Table()
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        bench(figures, options.num, options.rows_only, Path(place))
    if options.json:
        options.json.write_text(json.dumps(figures.rows, indent=1))
