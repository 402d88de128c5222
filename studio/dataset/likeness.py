"""Pictures compared by what they show: neighbours, look-alikes, outliers and the distance of two sets, from features of unit length.

Arithmetic on features [N, D] alone; they come from `studio.tower` and are kept for each picture in the workspace's cache.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from studio.dataset.rows import Dataset, Row
from studio.errors import StudioError
from studio.store import Workspace, write_bytes

MIN_LIKE = 0.985  # cosine from which two pictures show the same: copies resized, recompressed or shifted, not mere relatives
# Robust deviations, and times the usual: odd pictures of the demos reach 7.8 and 4.1, or 7.0 and 4.9; strangers among them 7.9 and 5.1.
OUTLIER_Z, OUTLIER_RATIO = 7.5, 4.5
NUM_NEAREST = 3


def neighbours(features: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The `num` nearest others of each picture, nearest first: indices [N, num] and cosines [N, num]."""
    cosine = features @ features.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(num, len(features) - 1)]
    return nearest, np.take_along_axis(cosine, nearest, axis=1)


def outliers(features: np.ndarray) -> list[int]:
    """Rows of features [N, D] unlike all the rest, the strangest first: far from their nearest others, as measured by what is usual."""
    if len(features) < 8:
        return []  # nothing is usual among so few
    _, cosines = neighbours(features, NUM_NEAREST)
    far = 1 - cosines.mean(1)
    middle = np.median(far)
    spread = 1.4826 * np.median(abs(far - middle)) + 1e-6
    return [int(i) for i in np.argsort(-far) if (far[i] - middle) / spread > OUTLIER_Z and far[i] > OUTLIER_RATIO * middle]


def domain_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy of sets [N, D], [M, D], cubic kernel, unbiased (KID, Binkowski et al. 2018): 0 for equal domains.

    StudioError where a set has fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise StudioError("the distance of two sets of pictures needs two pictures in each")

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T + 1) ** 3  # features of unit length need no division by their number

    def inside(x: np.ndarray) -> float:
        k = kernel(x, x)
        return float((k.sum() - np.trace(k)) / (len(x) * (len(x) - 1)))

    return inside(first) + inside(second) - 2 * float(kernel(first, second).mean())


def split_distance(dataset: Dataset, features: np.ndarray) -> float | None:
    """The distance between what is held out and what is trained on, features [N, D] as of all rows; None where a side has too few."""
    held = np.array([row.split == "held_out" for row in dataset.rows], bool)
    return round(domain_distance(features[held], features[~held]), 4) if min(held.sum(), (~held).sum()) > 1 else None


def dataset_features(workspace: Workspace, dataset: Dataset, compute: Callable[[list[Path]], np.ndarray], kind: str) -> np.ndarray:
    """The features of every picture, float32 [N, D]; only those that are not kept yet are computed. `kind` names the tower's weights."""
    folder = workspace.cache / "features" / kind
    folder.mkdir(parents=True, exist_ok=True)
    missing = list({row.pixels: row for row in dataset.rows if not _file(folder, row).exists()}.values())
    if missing:
        for row, feature in zip(missing, compute([dataset.path(row) for row in missing]), strict=True):
            write_bytes(_file(folder, row), np.asarray(feature, "<f4").tobytes())
    return np.stack([np.frombuffer(_file(folder, row).read_bytes(), "<f4") for row in dataset.rows])


def _file(folder: Path, row: Row) -> Path:
    return folder / f"{row.pixels[:32]}.f32"
