"""How fast scans, scenes and tables are read: slices, tiles and rows per second of processor time, and the memory of the reading process.

Each is surveyed, planned and read by a process of its own, as an import does it, from files made for this: 512 px CT slices, a packed
volume, a scene of 10,980 x 10,980 px in four bands (tiles, one long strip per row, and band files in JPEG 2000), a table of JPEGs.

    python tests/bench/readers.py [--rounds N] [--side PX] [--num N] [--only dicom,scene]
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import ROOT, parser

from studio import registry
from studio.dataset.readers.base import parse_choices

KINDS = ("dicom", "nifti", "scene", "striped", "jp2", "parquet")
READERS = {"scene": "geo", "striped": "geo", "jp2": "geo"}
BLOCK = 1024


def main() -> None:
    """Make the files, read each kind in a process of its own, and print one line for each."""
    made = parser(__doc__, rounds=1)
    made.add_argument("--side", type=int, default=10_980, metavar="PX", help="of the scenes (default 10980)")
    made.add_argument("--num", type=int, default=64, metavar="N", help="slices, tiles and rows that are read (default 64)")
    made.add_argument("--only", default=",".join(KINDS), metavar="KINDS", help=f"of {', '.join(KINDS)}")
    made.add_argument("--one", help="read this folder and print what it took")
    args = made.parse_args()
    if args.one:
        print(json.dumps(read(args.only, Path(args.one), args.num)))
        return
    with tempfile.TemporaryDirectory() as place:
        for kind in args.only.split(","):
            folder = Path(place) / kind
            folder.mkdir()
            MAKERS[kind](folder, args)
            command = [sys.executable, __file__, "--one", str(folder), "--only", kind, "--num", str(args.num)]
            for _ in range(args.rounds):
                done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
                rate = done["num"] / max(done["cpu_s"], 1e-9)
                print(f"{kind:8} {done['num']} of {done['of']}: {rate:.1f}/s of processor time, {done['rss_mib']:.0f} MiB more at most")


def read(kind: str, folder: Path, num: int) -> dict[str, float]:
    """Survey all files of `folder` and read `num` pictures of them; what it took beyond the start of the process."""
    reader = registry.reader(READERS.get(kind, kind))
    files = [SimpleNamespace(path=path) for path in sorted(folder.iterdir())]
    before, started = peak_kib(), time.process_time()
    (found,) = reader.gather([(file, reader.survey(file.path, "00" * 16)) for file in files])
    choices = parse_choices({"skip_empty": False, "empty": 1})
    ranges = [reader.read(file.path, ask).ranges for file, ask in reader.measured(found, choices)]
    takes = reader.plan(found, choices, ranges)
    for take in takes[:num]:
        reader.read(take.file.path, take.ask)
    rss = (peak_kib() - before) / 1024
    return {"num": min(num, len(takes)), "of": len(takes), "cpu_s": time.process_time() - started, "rss_mib": rss}


def peak_kib() -> int:
    """The most memory that this process has had, as Linux tells it (`ru_maxrss` begins with that of the parent)."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1])


def make_dicom(folder: Path, args: SimpleNamespace) -> None:
    """A CT series of 512 px slices."""
    from tests.dataset.scans import dicom, head

    for i in range(args.num):
        dicom(folder / f"{i:03d}.dcm", head(i / args.num, 512), ImagePositionPatient=[0, 0, 2.0 * i], SeriesInstanceUID="1.2.3")


def make_nifti(folder: Path, args: SimpleNamespace) -> None:
    """A packed volume of 16 bits."""
    from tests.dataset.scans import nifti

    values = np.random.default_rng(0).normal(500, 100, (256, 256, max(args.num, 2))).astype(np.int16)
    nifti(folder / "volume.nii.gz", values)


def make_scene(folder: Path, args: SimpleNamespace, **layout) -> None:
    """A scene of four bands of 16 bits, written block by block."""
    import rasterio
    from rasterio.windows import Window

    layout = layout or {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", count=4, dtype="uint16", width=args.side, height=args.side, compress="deflate",
        zlevel=1, crs="EPSG:32632", transform=_place(), **layout,
    ) as file:  # fmt: skip
        block = _ground(4)
        for top in range(0, args.side, BLOCK):
            for left in range(0, args.side, BLOCK):
                wide, high = min(BLOCK, args.side - left), min(BLOCK, args.side - top)
                file.write(block[:, :high, :wide], window=Window(left, top, wide, high))


def make_striped(folder: Path, args: SimpleNamespace) -> None:
    """The same in strips as wide as the scene."""
    make_scene(folder, args, tiled=False, blockysize=1)


def make_jp2(folder: Path, args: SimpleNamespace) -> None:
    """Three band files in JPEG 2000, as Sentinel-2 has them."""
    import rasterio

    for i, name in enumerate(("B02", "B03", "B04")):
        whole = np.tile(_ground(3)[i], (args.side // BLOCK + 1,) * 2)[: args.side, : args.side]
        with rasterio.open(
            folder / f"T32TPS_20210630T101559_{name}.jp2", "w", driver="JP2OpenJPEG", count=1, dtype="uint16", width=args.side,
            height=args.side, crs="EPSG:32632", transform=_place(), QUALITY="20", BLOCKXSIZE="1024", BLOCKYSIZE="1024",
        ) as file:  # fmt: skip
            file.write(whole, 1)


def make_parquet(folder: Path, args: SimpleNamespace) -> None:
    """A table of 256 px JPEGs in one row group."""
    import pyarrow
    import pyarrow.parquet

    from tests.dataset.corpus import encode, photo

    data = [encode(photo(i).resize((256, 256)), "JPEG") for i in range(16)]
    table = pyarrow.table({"image": [data[i % 16] for i in range(args.num)], "text": [f"picture {i}" for i in range(args.num)]})
    pyarrow.parquet.write_table(table, folder / "table.parquet")


def _ground(bands: int) -> np.ndarray:
    """Reflectances with a grain, uint16 [bands, BLOCK, BLOCK]."""
    from tests.dataset.scans import land

    return land(bands, BLOCK, BLOCK) + np.random.default_rng(0).integers(0, 64, (bands, BLOCK, BLOCK), dtype=np.uint16)


def _place():
    from rasterio.transform import from_origin

    return from_origin(500000, 5100000, 10, 10)


MAKERS: dict[str, Callable] = {
    "dicom": make_dicom, "nifti": make_nifti, "scene": make_scene, "striped": make_striped, "jp2": make_jp2, "parquet": make_parquet,
}  # fmt: skip

if __name__ == "__main__":
    main()
