"""Steps per second of textual inversion against a loop that does what the diffusers example does.

Compared: the studio's loop (latents cached, only the new rows in the optimizer) and the example's (decode and VAE in every step, the
whole table of embeddings in the optimizer, all other rows copied back); batch 4, 4 vectors, fp32, averaging and clipping off in both.

    python tests/bench/word.py [--rounds N]
"""

import tempfile
from pathlib import Path
from typing import Any

from common import interleaved, load, num_threads, parser, picture_dataset, report, small_sd
from example import WordExample
from training import BARE, STEPS, UNWRITTEN, silent, some_steps

from studio.store import Workspace
from tests.fixtures.runs import spec_for, training

TARGET_RATIO = 1.3
BATCH, VECTORS, LR = 4, 4, 5e-3
EQUAL = ("train.steps=100000", f"train.batch_size={BATCH}", f"method.num_vectors={VECTORS}", f"method.embedding_lr={LR}")


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """All figures, made in the folder `root`."""
    base, workspace = small_sd(root / "base"), Workspace.at(root / "workspace")
    data, folder = picture_dataset(workspace, root / "pictures")
    example = WordExample(base, folder, BATCH, VECTORS, LR)
    spec = spec_for(data, base, *EQUAL, *UNWRITTEN, *BARE, recipe="textual-inversion")
    ours = training(workspace, data, load(base), spec, root / "run")
    timing = interleaved({"example": lambda: example.train(STEPS), "ours": lambda: some_steps(ours, silent)}, rounds)
    return {
        "vocabulary": len(ours.parts.tokenizers["tokenizer"]),
        "example_steps_per_s": STEPS / timing.seconds("example"),
        "steps_per_s": STEPS / timing.seconds("ours"),
        "ratio": timing.ratio("example", "ours"),
        "cpu_ratio": timing.cpu_ratio("example", "ours"),
        "target_ratio": TARGET_RATIO,
    }


def main() -> None:
    rounds = parser(__doc__, 8).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        report(what="textual inversion", rounds=rounds, threads=num_threads(), **measure(Path(place), rounds))


if __name__ == "__main__":
    main()
