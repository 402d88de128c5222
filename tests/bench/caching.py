"""Seconds of encoding 40 pictures of 256 px and their captions, for the first time and again.

Compared: an empty cache, and the same cache opened anew; `made` counts the latents and text embeddings that had to be encoded.

    python tests/bench/caching.py [--rounds N]
"""

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from common import interleaved, load, num_threads, parser, picture_dataset, report, small_sd, spec_with

from studio.encode.build import Encoded, Encoder, encode_dataset
from studio.encode.cache import Cache
from studio.families import sd
from studio.store import Workspace

TARGET_FIRST_S, TARGET_AGAIN_MADE = 4.0, 0


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    base, workspace = small_sd(root / "base"), Workspace.at(root / "workspace")
    dataset, _ = picture_dataset(workspace, root / "pictures")
    spec, parts = spec_with(dataset, base), load(base)
    numbers = count()
    encoded: dict[str, Encoded] = {}

    def encode(way: str, folder: Path) -> None:
        encoder = Encoder(sd, parts, "small", Cache(folder))
        encoded[way] = encode_dataset(dataset, encoder, spec, text_is_live=False, progress=lambda done, total: None)

    def first() -> None:
        encode("first", root / f"cache-{next(numbers)}")

    def again() -> None:
        encode("again", encoded["first"].cache.root)

    timing = interleaved({"first": first, "again": again}, rounds)
    return {
        "pictures": len(dataset.rows),
        "first_s": timing.seconds("first"),
        "first_cpu_s": timing.cpu_seconds("first"),
        "target_first_s": TARGET_FIRST_S,
        "first_made": encoded["first"].num_made,
        "again_s": timing.seconds("again"),
        "again_made": encoded["again"].num_made,
        "target_again_made": TARGET_AGAIN_MADE,
    }


def main() -> None:
    rounds = parser(__doc__, 5).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        report(what="caching", rounds=rounds, threads=num_threads(), **measure(Path(place), rounds))


if __name__ == "__main__":
    main()
