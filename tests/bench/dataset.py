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

from studio.dataset.doctor.examine import examine  # noqa: E402
from studio.dataset.edit import set_caption  # noqa: E402
from studio.dataset.intake import create_dataset  # noqa: E402
from studio.dataset.listing import Query, page  # noqa: E402
from studio.dataset.shelf import Shelf  # noqa: E402
from studio.store import Workspace  # noqa: E402

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


def timed_ms(act) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def bench(num: int, size_px: int, work: Path) -> None:
    make(work / "in", num, size_px)
    workspace, idle = Workspace.at(work / "workspace"), rss_mib()
    start, used = time.perf_counter(), cpu_s()
    dataset = create_dataset(workspace, "large", [work / "in"])
    seconds, used = time.perf_counter() - start, cpu_s() - used
    print(f"import of {num:,}: {num / used:.1f} pictures/s per core ({num / seconds:.1f}/s in all), memory +{rss_mib() - idle:.0f} MiB")
    shelf = Shelf(workspace)
    start = time.perf_counter()
    page(shelf.open("large"), Query())
    print(f"first page, nothing in memory: {1000 * (time.perf_counter() - start):.0f} ms")
    for name, query in QUERIES.items():
        print(f"{name}: {timed_ms(lambda query=query: page(shelf.open('large'), query)):.0f} ms")
    before = {path.name: path.stat().st_mtime_ns for path in dataset.root.iterdir()}
    count = iter(range(10**6))

    def edit() -> None:
        kept = shelf.open("large")
        set_caption(workspace, kept.dataset, kept.dataset.rows[num // 2].file, f"changed {next(count)}")

    print(f"one caption edited: {timed_ms(edit):.0f} ms, then a page: ", end="")

    def edit_and_look() -> None:
        edit()
        page(shelf.open("large"), Query())

    print(f"{timed_ms(edit_and_look):.0f} ms; ", end="")
    touched = [path.name for path in dataset.root.iterdir() if before.get(path.name) != path.stat().st_mtime_ns]
    print(f"files touched: {len(touched)}; memory +{rss_mib() - idle:.0f} MiB")
    start = time.perf_counter()
    examine(workspace, "large", lambda done, total: None)
    print(f"checked again, without the image tower: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--size-px", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(options.num, options.size_px, Path(folder))
