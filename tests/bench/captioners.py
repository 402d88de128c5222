"""Pictures per second of each captioner, with random weights in the layouts of the real ones, beside the embedded one.

Tiny models measure everything around the weights: pictures read and reduced, text to tokens and back, a step of `generate` per
token. `--size real` takes BLIP-base, Florence-2-base and Qwen3-VL-2B in their real sizes, every caption of just so many tokens.

    python tests/bench/captioners.py [--rounds N] [--tokens N] [--device cuda] [--size real] [--only blip,florence2] [--out FILE]
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import interleaved, num_threads, parser, report

from studio.dataset.captioners import embedded
from studio.dataset.captioners.base import Ask, Loaded
from studio.dataset.captioners.folder import open_folder
from studio.dataset.stored import open_image
from studio.device import machine_facts, pick_device
from studio.errors import StudioError
from tests.fixtures.more_captioners import MORE
from tests.fixtures.tiny import images
from tests.fixtures.tiny_captioners import MAKERS

NUM_PICTURES = 32
SIZE_PX = {"tiny": 256, "real": 512}


def makers(size: str, num_tokens: int) -> dict[str, Callable[[Path], Path]]:
    """What makes the folder of each captioner in this size."""
    if size == "tiny":
        return MAKERS | MORE
    from captioner_sizes import LARGE

    return {key: lambda folder, make=make: make(folder, num_tokens) for key, make in LARGE.items()}


def load_all(root: Path, size: str, num_tokens: int, only: set[str]) -> tuple[dict[str, Loaded], dict[str, str]]:
    """({captioner: loaded}, {captioner: why it is not measured}); of all there are, where `only` is empty."""
    loaded: dict[str, Loaded] = {}
    missing: dict[str, str] = {}
    if size == "tiny" and (not only or "embedded" in only):
        loaded["embedded"] = embedded.load()
    for key, make in makers(size, num_tokens).items():
        if only and key not in only:
            continue
        try:
            folder = make(root / key)
            loaded[key] = open_folder(folder)[1].load(folder)
        except (ImportError, StudioError) as error:  # a tagger's packages are optional; memory may be short
            missing[key] = str(error)
    return loaded, missing


def measure(files: list[Path], loaded: dict[str, Loaded], rounds: int, num_tokens: int) -> dict[str, float]:
    """{captioner: pictures per second}, captions of at most `num_tokens` tokens."""

    def caption(captioner: Loaded) -> None:
        for at in range(0, len(files), captioner.batch):
            captioner.caption([open_image(file) for file in files[at : at + captioner.batch]], Ask(max_tokens=num_tokens))

    timing = interleaved({key: (lambda each=each: caption(each)) for key, each in loaded.items()}, rounds)
    return {key: round(len(files) / timing.seconds(key), 1) for key in loaded}


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--tokens", type=int, default=32, metavar="N", help="longest caption (default 32)")
    options.add_argument("--device", metavar="NAME", help="cuda, mps or cpu; else what is there")
    options.add_argument("--size", choices=list(SIZE_PX), default="tiny", help="of the models")
    options.add_argument("--pictures", type=int, default=NUM_PICTURES, metavar="N", help=f"per round (default {NUM_PICTURES})")
    options.add_argument("--only", default="", metavar="NAMES", help="of the captioners, with commas between; else all")
    options.add_argument("--out", type=Path, metavar="FILE", help="where the figures are written, too")
    given = options.parse_args()
    if given.device:
        os.environ["DOMAIN_STUDIO_DEVICE"] = given.device
    with tempfile.TemporaryDirectory() as place:
        files = sorted(images(Path(place) / "pictures", given.pictures, SIZE_PX[given.size], captions=False).glob("*.png"))
        loaded, missing = load_all(Path(place), given.size, given.tokens, set(filter(None, given.only.split(","))))
        asked = {"size": given.size, "pictures": given.pictures, "size_px": SIZE_PX[given.size], "tokens": given.tokens}
        facts = {**asked, "rounds": given.rounds, "threads": num_threads(), "machine": machine_facts(pick_device())}
        facts |= {"batch": {key: each.batch for key, each in loaded.items()}, "not_measured": missing}
        facts["pictures_per_s"] = measure(files, loaded, given.rounds, given.tokens)
    report(what="captioners", **facts)
    if given.out:
        given.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
