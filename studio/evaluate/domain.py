"""How near two sets of pictures lie as domains, how varied a set is, and whether pictures follow their captions: from tower features.

Arithmetic on features of unit length [N, D]; no torch here. Small sets are compared without bias (the U-statistic of the squared maximum
mean discrepancy, Gretton 2012): estimators that count a picture's likeness to itself see a distance where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_SWAPS = 2000
MIN_SET = 4  # pictures of a set, of which fewer have no distance worth telling
SEED = 20


@dataclass(frozen=True)
class Gap:
    """Distances to real pictures, squared, and what the difference is worth."""

    base: float
    adapted: float
    p: float  # one-sided: how often as large a gain comes about when base and adapted are exchanged at random, pair by pair

    @property
    def closed(self) -> float:
        """The share of the base's distance that is gone; below 0 where it has grown."""
        return 1 - self.adapted / self.base if self.base > 0 else 0.0


def gap(base: np.ndarray, adapted: np.ndarray, real: np.ndarray) -> Gap | None:
    """How much nearer to real pictures [M, D] the adapted ones [N, D] lie than the base's from the same noise [N, D].

    None where a set has too few. Kernel: Gaussian, as wide as the median distance of all pictures: it sees a collapse of the variety, too.
    """
    if min(len(base), len(real)) < MIN_SET:
        return None
    every = np.concatenate([base, adapted, real])
    squared = np.maximum(0, 2 - 2 * every @ every.T)
    width = float(np.median(squared[np.triu_indices(len(every), 1)])) or 1.0
    kernel, n = np.exp(-squared / width), len(base)
    distances = [_distance(kernel, rows, np.arange(2 * n, len(every))) for rows in (np.arange(n), np.arange(n, 2 * n))]
    gain, rng, better = distances[0] - distances[1], np.random.default_rng(SEED), 0
    for _ in range(NUM_SWAPS):
        swapped = rng.random(n) < 0.5
        rows = np.where(swapped, np.arange(n, 2 * n), np.arange(n)), np.where(swapped, np.arange(n), np.arange(n, 2 * n))
        first, second = (_distance(kernel, each, np.arange(2 * n, len(every))) for each in rows)
        better += first - second >= gain
    return Gap(distances[0], distances[1], (1 + better) / (1 + NUM_SWAPS))


def _distance(kernel: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased squared distance of two sets, given as rows of the kernel of all pictures [K, K]."""

    def inside(rows: np.ndarray) -> float:
        part = kernel[np.ix_(rows, rows)]
        return float((part.sum() - np.trace(part)) / (len(rows) * (len(rows) - 1)))

    return inside(first) + inside(second) - 2 * float(kernel[np.ix_(first, second)].mean())


def variety(pictures: np.ndarray, real: np.ndarray) -> float | None:
    """Mean distance of pictures [N, D] from each other, as a share of that of the real ones whose captions they were drawn with [N, D].

    Real ones may stand there several times: pairs of one with itself do not count. None where there is nothing to compare.
    """
    between = 1 - real @ real.T
    pairs = np.triu(between > 1e-6, 1)
    if pairs.sum() < MIN_SET:
        return None
    return float((1 - pictures @ pictures.T)[pairs].mean() / between[pairs].mean())


def follows_captions(pictures: np.ndarray, captions: Sequence[str], real: np.ndarray, their: Sequence[str]) -> float | None:
    """How often a picture lies nearer to a real one of its caption than to one of another (area under the curve; 0.5 = chance).

    None where captions do not differ.
    """
    likeness, shares = pictures @ real.T, []
    for row, caption in zip(likeness, captions, strict=True):
        own = np.array([each == caption for each in their], bool)
        if own.any() and not own.all():
            wins = row[own][:, None] - row[~own][None, :]
            shares.append(float(((wins > 0) + 0.5 * (wins == 0)).mean()))
    return float(np.mean(shares)) if len(shares) >= MIN_SET else None
