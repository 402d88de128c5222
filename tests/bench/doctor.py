"""What the dataset doctor finds and what it finds by mistake: one fault at a time is planted among good pictures, and the check is run.

For each fault: the share of the spoiled pictures that the doctor names by it, and the share of the others that it names as well.
The pictures are those of a folder, or the bundled demos.

    python tests/bench/doctor.py [--pictures FOLDER] [--share 0.06] [--only turned,blurred] [--rounds N]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import ROOT, parser
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from studio.dataset.doctor.examine import examine
from studio.dataset.doctor.fix import examined
from studio.dataset.intake import create_dataset
from studio.store import Workspace

sys.path.insert(0, str(ROOT))
from tests.dataset.messy import enlarged, letterboxed  # noqa: E402

DEMOS = ROOT / "assets" / "demos"


def main() -> None:
    """Plant each fault, import, check, and print a line for each folder and fault."""
    made = parser(__doc__, rounds=1)
    made.add_argument("--pictures", type=Path, help="a folder of good pictures instead of the demos")
    made.add_argument("--share", type=float, default=0.06, help="of the pictures that are spoiled (default 0.06)")
    made.add_argument("--only", default=",".join(FAULTS), metavar="FAULTS", help=f"of {', '.join(FAULTS)}")
    args = made.parse_args()
    for folder in [args.pictures] if args.pictures else sorted(path for path in DEMOS.iterdir() if path.is_dir()):
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
        for fault in args.only.split(","):
            hits, alarms = np.mean([plant(paths, fault, args.share, seed) for seed in range(args.rounds)], axis=0)
            print(f"{folder.name}, {len(paths)} pictures: {fault:12} {hits:6.1%} found, {alarms:6.2%} of the others named", flush=True)


def plant(paths: list[Path], fault: str, share: float, seed: int) -> tuple[float, float]:
    """(share of spoiled pictures that are named, share of the others that are) with `fault` in a part of these pictures."""
    key, spoil = FAULTS[fault]
    random = np.random.default_rng(seed)
    spoiled = set(random.choice(len(paths), max(3, round(share * len(paths))), replace=False).tolist())
    with tempfile.TemporaryDirectory() as place:
        source, workspace = Path(place) / "in", Workspace.at(Path(place) / "workspace")
        source.mkdir()
        for i, path in enumerate(paths):
            image = Image.open(path).convert("RGB")
            (spoil(image, random) if i in spoiled else image).save(source / f"{i:05}.png", compress_level=1)
        dataset = create_dataset(workspace, "bench", [source])
        examine(workspace, "bench", lambda done, total: None)
        named = {file for each in examined(workspace, "bench")["findings"] if each["key"] in key for file in each["files"]}
    is_named = {int(row.source.removesuffix(".png")): row.file in named for row in dataset.rows}
    others = [is_named[i] for i in is_named.keys() - spoiled]
    return float(np.mean([is_named[i] for i in spoiled])), float(np.mean(others))


def _written(opacity: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def write(image: Image.Image, random: np.random.Generator) -> Image.Image:
        layer = Image.new("RGBA", image.size)
        words = ("© Stock Photo", "SAMPLE ONLY", "www.example.com", "Photo by J. Doe 2023")[int(random.integers(4))]
        size = max(10, min(image.size) // 14)
        at = (image.width - size * len(words) * 0.6, image.height - 1.6 * size) if random.integers(2) else (size // 2, size // 2)
        ImageDraw.Draw(layer).text(at, words, fill=(255, 255, 255, round(255 * opacity)), font_size=size)
        return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")

    return write


def _stamped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    size = max(12, image.width // 9)
    ImageDraw.Draw(layer).text((size // 2, image.height // 2 - size), "SAMPLE ONLY", fill=(255, 255, 255, 76), font_size=size)
    return Image.alpha_composite(image.convert("RGBA"), layer.rotate(30)).convert("RGB")


# By name: the checks that may name it, and what is done to a picture.
FAULTS: dict[str, tuple[set[str], Callable[[Image.Image, np.random.Generator], Image.Image]]] = {
    "nothing": ({"lying", "blurred", "dark", "bright", "flat", "borders", "enlarged", "text", "watermark"}, lambda image, random: image),
    "turned": ({"lying"}, lambda image, random: image.rotate(90 * int(random.integers(1, 4)), expand=True)),
    "blurred": ({"blurred"}, lambda image, random: image.filter(ImageFilter.GaussianBlur(max(2, max(image.size) / 120)))),
    "dark": ({"dark", "flat"}, lambda image, random: ImageEnhance.Brightness(image).enhance(0.15)),
    "bright": ({"bright", "flat"}, lambda image, random: ImageEnhance.Brightness(image).enhance(3.0)),
    "letterboxed": ({"borders"}, lambda image, random: letterboxed(image)),
    "enlarged": ({"enlarged", "blurred"}, lambda image, random: enlarged(image)),
    "written on": ({"text", "watermark"}, _written(1.0)),
    "faintly": ({"text", "watermark"}, _written(0.4)),
    "stamped": ({"text", "watermark"}, _stamped),
}

if __name__ == "__main__":
    main()
