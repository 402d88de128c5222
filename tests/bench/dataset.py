"""A large dataset: importing it, asking for pages and filters, editing one caption, checking it again; time, memory, files touched.

python tests/bench/dataset.py --num 10000
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio.dataset.doctor.chart import VERSION, Chart, Pair, write_chart  # noqa: E402
from studio.dataset.doctor.examine import examine  # noqa: E402
from studio.dataset.edit import set_caption  # noqa: E402
from studio.dataset.intake import create_dataset  # noqa: E402
from studio.dataset.listing import Query, page  # noqa: E402
from studio.dataset.rows import Dataset, Row  # noqa: E402
from studio.dataset.shelf import Shelf  # noqa: E402
from studio.store import Workspace, sha256  # noqa: E402

QUERIES = {
    "a page": Query(),
    "a page far down": Query(offset=9000),
    "held out": Query(filter="held_out"),
    "to look at": Query(filter="problem"),
    "no caption": Query(filter="no_caption"),
    "look-alikes": Query(filter="check:near"),
    "words": Query(text="number 77"),
    "by caption": Query(sort="caption"),
}
ROUNDS = 5


def make(folder: Path, num: int, size_px: int) -> None:
    """`num` JPEG files of different content, one in fifty a copy of another at a lower quality, each with a caption."""
    folder.mkdir()
    random, last = np.random.default_rng(0), None
    for i in range(num):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = coarse.resize((size_px, size_px * 3 // 4), Image.Resampling.BICUBIC) if i % 50 or last is None else last
        picture.save(folder / f"{i:05}.jpg", quality=90 if i % 50 else 70)
        (folder / f"{i:05}.txt").write_text(f"a picture of something, number {i}" if i % 20 else "")
        last = picture


def cpu_s() -> float:
    """CPU seconds of this process and of the decoding processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def rss_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def timed(act) -> str:
    """The medians of wall clock and CPU time, in ms."""
    times = []
    for _ in range(ROUNDS):
        start, used = time.perf_counter(), time.process_time()
        act()
        times.append((1000 * (time.perf_counter() - start), 1000 * (time.process_time() - used)))
    wall, cpu = np.median(times, axis=0)
    return f"{wall:.0f} ms (CPU {cpu:.0f} ms)"


def import_all(workspace: Workspace, work: Path, num: int, size_px: int) -> None:
    make(work / "in", num, size_px)
    idle, start, used = rss_mib(), time.perf_counter(), cpu_s()
    create_dataset(workspace, "large", [work / "in"])
    seconds, used = time.perf_counter() - start, cpu_s() - used
    print(f"import of {num:,}: {num / used:.1f} pictures/s per core ({num / seconds:.1f}/s in all), memory +{rss_mib() - idle:.0f} MiB")


def write_rows(workspace: Workspace, num: int) -> None:
    """A dataset of `num` rows whose pictures are empty files, with captions and measures as an import leaves them."""
    root = workspace.datasets / "large"
    root.mkdir(parents=True)
    random, rows, measured = np.random.default_rng(0), [], {}
    for i in range(num):
        pixels, file = sha256(str(i).encode()), f"{i:05}-x.jpg"
        split = "train" if i % 10 else "held_out"
        rows.append(Row(file=file, sha256=pixels, pixels=pixels, width=512, height=384, split=split, source=f"{i:05}.jpg", words="x" * 16))
        (root / file).touch()
        (root / f"{i:05}-x.txt").write_text(f"a picture of something, number {i}" if i % 20 else "")
        whole = {"version": VERSION, "hash": pixels, "blur": 0.3 + random.random() / 5, "low": 5, "high": 220, "white": 0, "black": 0}
        measured[pixels] = {**whole, "margins": [0] * 4, "bars": [0] * 4, "edges": [0] * 4, "detail": 0.9, "letters": 0}
    pairs = [Pair(first=rows[i].pixels, second=rows[i + 1].pixels, kind="near", told="alike") for i in range(0, num - 1, 50)]
    Dataset(root=root, name="large", rows=rows).save()
    write_chart(root, Chart(measured=measured, pairs=pairs))


def look(workspace: Workspace, num: int) -> None:
    shelf, idle = Shelf(workspace), rss_mib()
    start = time.perf_counter()
    page(shelf.open("large"), Query())
    print(f"first page, nothing in memory: {1000 * (time.perf_counter() - start):.0f} ms")
    for name, query in QUERIES.items():
        print(f"{name}: {timed(lambda query=query: page(shelf.open('large'), query))}")
    root, count = workspace.datasets / "large", iter(range(10**6))
    before = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}

    def edit() -> None:
        kept = shelf.open("large")
        set_caption(workspace, kept.dataset, kept.dataset.rows[num // 2].file, f"changed {next(count)}")

    def edit_and_look() -> None:
        edit()
        page(shelf.open("large"), Query())

    print(f"one caption edited: {timed(edit)}, then a page: {timed(edit_and_look)}")
    touched = sorted(path.name for path in root.iterdir() if before.get(path.name) != path.stat().st_mtime_ns)
    print(f"files touched: {', '.join(touched)}; memory of the rows +{rss_mib() - idle:.0f} MiB")


def bench(num: int, size_px: int, rows_only: bool, work: Path) -> None:
    workspace = Workspace.at(work / "workspace")
    if rows_only:
        write_rows(workspace, num)
    else:
        import_all(workspace, work, num, size_px)
    look(workspace, num)
    if not rows_only:
        start = time.perf_counter()
        examine(workspace, "large", lambda done, total: None)
        print(f"checked again, without the image tower: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--rows-only", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(options.num, options.size_px, options.rows_only, Path(folder))
