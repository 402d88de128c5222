"""Pictures per second of each captioner: tiny models with random weights in the layouts of the real ones, and the embedded one.

What is measured is everything around the weights: pictures read and reduced, text to tokens and back, a step of `generate` per token.

    python tests/bench/captioners.py [--rounds N] [--tokens N]
"""

import tempfile
from pathlib import Path
from typing import Any

from common import interleaved, num_threads, parser, report

from studio.dataset.captioners import embedded
from studio.dataset.captioners.base import Ask, Loaded
from studio.dataset.captioners.folder import open_folder
from studio.dataset.decode import open_image
from tests.fixtures.tiny import images
from tests.fixtures.tiny_captioners import MAKERS

NUM_PICTURES, SIZE_PX = 32, 256


def measure(root: Path, rounds: int, num_tokens: int) -> dict[str, Any]:
    """{captioner: pictures per second}, captions of at most `num_tokens` tokens, made in the folder `root`."""
    files = sorted(images(root / "pictures", NUM_PICTURES, SIZE_PX, captions=False).glob("*.png"))
    loaded: dict[str, Loaded] = {"embedded": embedded.load()}
    for key, make in MAKERS.items():
        folder = make(root / key)
        loaded[key] = open_folder(folder)[1].load(folder)

    def caption(captioner: Loaded) -> None:
        for at in range(0, len(files), captioner.batch):
            captioner.caption([open_image(file) for file in files[at : at + captioner.batch]], Ask(max_tokens=num_tokens))

    timing = interleaved({key: (lambda each=each: caption(each)) for key, each in loaded.items()}, rounds)
    return {f"{key}_per_s": round(NUM_PICTURES / timing.seconds(key), 1) for key in loaded}


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--tokens", type=int, default=32, metavar="N", help="longest caption (default 32)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        facts = {"pictures": NUM_PICTURES, "size_px": SIZE_PX, "tokens": given.tokens, "rounds": given.rounds, "threads": num_threads()}
        report(what="captioners", **facts, **measure(Path(place), given.rounds, given.tokens))


if __name__ == "__main__":
    main()
