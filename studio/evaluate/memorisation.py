"""Memorisation: whether what an adapter draws lies nearer to its training pictures than unseen real pictures do (Carlini 2023).

A pair of pictures has two likenesses, both cosines: of what they show, by an image tower; and of their pixels, small, over mirror images
and crops (replication as Somepalli 2023 looks for it). What is near is not a matter of fixed numbers, which do not carry over from one
domain to another: unseen real pictures say how near it is without a copy. Arithmetic on arrays; no torch here.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = 24  # of the small picture whose pixels are compared
CROP = 0.85  # of a side: what is drawn may be a part of a training picture, or hold it as a part
_FAR = 1 - CROP
MIN_REAL = 8  # other real pictures, of which fewer say nothing about what is near
NEARER_P = 0.01
GAP = math.log(0.5)  # on trained pictures half the loss, each against the base; demos at `quick` reach 0.73
HALF = 0.5
NEAREST = 0.95  # the quantile that stands for the nearest real pair: a copy among them that nobody found must not blind us
WINDOWS = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, CROP),
    (_FAR, 0.0, CROP),
    (0.0, _FAR, CROP),
    (_FAR, _FAR, CROP),
    (_FAR / 2, _FAR / 2, CROP),
)  # x, y, width


@dataclass(frozen=True)
class Looks:
    """N pictures as they are compared."""

    features: np.ndarray  # [N, D] of unit length, by an image tower
    windows: np.ndarray  # [N, len(WINDOWS), 3 * SIDE_PX**2], each of mean 0 and unit length

    def __len__(self) -> int:
        return len(self.features)


def look(pictures: "list[Image]", features: np.ndarray) -> Looks:
    """Pictures, RGB, with their tower features [N, D]."""
    windows = np.empty((len(pictures), len(WINDOWS), 3 * SIDE_PX**2), np.float32)
    for i, picture in enumerate(pictures):
        windows[i] = _windows(picture)
    return Looks(features, windows)


def _windows(picture: "Image") -> np.ndarray:
    from PIL import Image

    width, height = picture.size
    rows = []
    for x, y, part in WINDOWS:
        box = (x * width, y * height, (x + part) * width, (y + part) * height)
        small = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
        values = np.asarray(small, np.float32).ravel()
        values = values - values.mean()
        rows.append(values / max(float(np.linalg.norm(values)), 1e-6))
    return np.stack(rows)


class Nearest:
    """The nearest training picture of each of N pictures, found while the training pictures pass by in blocks."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        small = looks.windows.reshape(-1, SIDE_PX, SIDE_PX, 3)
        self._both = (looks.windows, small[:, :, ::-1].reshape(looks.windows.shape))  # as they are, mirrored
        self.shown, self.pixels = np.full(len(looks), -1.0), np.full(len(looks), -1.0)  # the largest likeness of either kind, [N]
        self.index = np.full(len(looks), -1)  # of the nearest in both together, [N]
        self._both_best = np.full(len(looks), -np.inf)

    def compare(self, block: Looks, start: int, apart: np.ndarray | None = None) -> None:
        """Let training pictures [M] pass by, the first of which is number `start`; pairs in `apart` [N, M] are left out."""
        shown, pixels = self._looks.features @ block.features.T, self._pixels(block)
        if apart is not None:
            shown, pixels = np.where(apart, -1.0, shown), np.where(apart, -1.0, pixels)
        together = shown + pixels
        nearest, rows = together.argmax(1), np.arange(len(together))
        is_nearer = together[rows, nearest] > self._both_best
        self.index[is_nearer] = start + nearest[is_nearer]
        self._both_best = np.maximum(self._both_best, together.max(1))
        self.shown, self.pixels = np.maximum(self.shown, shown.max(1)), np.maximum(self.pixels, pixels.max(1))

    def _pixels(self, block: Looks) -> np.ndarray:
        """Likeness of pixels [N, M]: a whole picture against every window of the other, mirrored too, the best of them."""
        best = np.full((len(self._looks), len(block)), -1.0, np.float32)
        for windows in self._both:
            for k in range(len(WINDOWS)):
                np.maximum(best, windows[:, k] @ block.windows[:, 0].T, out=best)
                np.maximum(best, windows[:, 0] @ block.windows[:, k].T, out=best)
        return best


@dataclass(frozen=True)
class Sign:
    """One of the three signs of memorisation: whether it was found (None = cannot be told), and what was measured, in a sentence."""

    title: str
    is_found: bool | None
    text: str


@dataclass(frozen=True)
class Copying:
    """What the signs come to: "copies" with two of three or two pictures, "signs" with one, "none", or "unknown" where none can be told."""

    level: str
    text: str
    signs: list[Sign]
    num_drawn: int
    suspects: list[int] = field(default_factory=list)  # which drawn pictures


def judge_copies(drawn: Nearest, real: Nearest, num_unseen: int, loss: dict[str, Any] | None) -> Copying:
    """Compare how near drawn pictures come to the training pictures with how near other real ones come.

    `real`: first `num_unseen` pictures that were never trained on, then trained ones, of which each is compared with the others.
    `loss`: a score event's {"train", "held_out"}, each with "log_ratio" (mean of log(adapted / base)). Two of three signs are wanted, or
    two pictures, since each sign alone is known to miss copies, and to see some where there are none (Stein 2023).
    """
    suspects = _suspects(drawn, real)
    signs = [_gap(loss or {}), _nearer(drawn, real, num_unseen), _pairs(len(suspects), drawn, real)]
    num_found = sum(sign.is_found is True for sign in signs)
    if all(sign.is_found is None for sign in signs):
        return Copying("unknown", "Copies cannot be told: too few pictures to compare with.", signs, len(drawn.shown))
    level = "copies" if num_found > 1 or len(suspects) > 1 else "signs" if num_found else "none"
    return Copying(level, _sentence(level, len(suspects), len(drawn.shown)), signs, len(drawn.shown), suspects)


def most_may_copy(num_drawn: int) -> float:
    """The share of pictures that may still be copies when none of `num_drawn` was (exact 95 % bound of a binomial share, in percent)."""
    return 100 * (1 - 0.05 ** (1 / num_drawn))


def _suspects(drawn: Nearest, real: Nearest) -> list[int]:
    """Drawn pictures of which the pixels lie less than half as far from a training picture as the nearest real ones from each other."""
    if len(real.pixels) < MIN_REAL:
        return []
    nearest = float(np.quantile(real.pixels, NEAREST))
    return [int(i) for i in np.flatnonzero(1 - drawn.pixels < HALF * (1 - nearest))]


def _gap(loss: dict[str, Any]) -> Sign:
    title = "Loss on trained and on unseen pictures"
    try:
        ratio = loss["train"]["log_ratio"] - loss["held_out"]["log_ratio"]
    except (KeyError, TypeError):
        return Sign(title, None, "Nothing was held out, so it cannot be compared.")
    percent = round(100 * abs(math.expm1(ratio)))
    return Sign(
        title,
        ratio < GAP,
        f"On trained pictures {percent} % {'below' if ratio < 0 else 'above'} that on unseen ones, each against the base.",
    )


def _nearer(drawn: Nearest, real: Nearest, num_unseen: int) -> Sign:
    from scipy.stats import mannwhitneyu

    title = "Nearness to trained pictures"
    if len(real.shown) < MIN_REAL:
        return Sign(title, None, _too_few(real))
    num, which = (num_unseen, "unseen") if num_unseen >= MIN_REAL else (len(real.shown), "other")
    both = ((drawn.shown, real.shown[:num]), (drawn.pixels, real.pixels[:num]))
    p = min(1.0, 2 * min(mannwhitneyu(a, b, alternative="greater").pvalue for a, b in both))  # two looks at it (Bonferroni)
    nearer = "nearer" if p < NEARER_P else "no nearer"
    return Sign(
        title, bool(p < NEARER_P), f"Drawn pictures lie {nearer} to trained ones than {num} {which} real pictures do (p = {p:.2g})."
    )


def _too_few(real: Nearest) -> str:
    return f"Only {len(real.shown)} real pictures to compare with; it takes {MIN_REAL}."


def _pairs(num: int, drawn: Nearest, real: Nearest) -> Sign:
    title = "Pictures that are nearly one of the trained ones"
    if len(real.shown) < MIN_REAL:
        return Sign(title, None, _too_few(real))
    return Sign(title, num > 0, f"{num} of {len(drawn.shown)}: less than half as far from one as the nearest real ones from each other.")


def _sentence(level: str, num_suspects: int, num_drawn: int) -> str:
    if level == "copies":
        which = f"{num_suspects} of {num_drawn} drawn pictures are nearly trained ones" if num_suspects else "look at the nearest pairs"
        return f"It copies trained pictures: {which}. Train for fewer steps, or on more pictures."
    if level == "signs":
        return "One of three signs of copying: look at the nearest pairs."
    return f"No sign of copying in {num_drawn} pictures; up to {most_may_copy(num_drawn):.0f} % of others may still copy (95 % bound)."
