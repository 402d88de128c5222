"""A mark that comes at the same place in many pictures, as watermarks do: what is left when their fine detail is averaged."""

from collections.abc import Sequence

import numpy as np

from studio.dataset.doctor.writing import num_letters

MIN_PICTURES, MAX_PICTURES = 12, 120  # of one size: fewer average nothing away, more tell nothing new
MIN_LETTERS = 5  # in one line of the average; sets without a mark have none at all
MIN_SHARE = 0.4  # of the pictures must carry it
_NEIGHBOURHOOD_PX = 15
_MOST_LEVELS = 40.0  # a single strong edge must not pass for a mark
_SURE = 6.0  # standard errors from zero; content differs from picture to picture, a mark does not
_LEVELS_PER_ERROR = 7.0


def common_mark(greys: Sequence[np.ndarray]) -> tuple[list[int], str]:
    """(indices of the pictures that carry a line of letters at one place, that place in words) of grey levels [H, W] of one size.

    Each picture's fine detail is summed with the sign that it has; the mean over its standard error (Student 1908) is near zero
    where the pictures differ, and far from it where all are marked. ([], "") where there is no such line.
    """
    if len(greys) < MIN_PICTURES:
        return [], ""
    detail = np.stack([_detail(grey) for grey in greys])
    error = detail.std(0) / np.sqrt(len(detail)) + 0.25  # rounding alone is no certainty
    sure = detail.mean(0) / error
    if num_letters(np.clip(128 + _LEVELS_PER_ERROR * sure, 0, 255).astype(np.float32), is_sure=False) < MIN_LETTERS:
        return [], ""
    is_mark = np.abs(sure) >= _SURE
    if not is_mark.any():
        return [], ""
    fit = (detail[:, is_mark] * np.sign(sure[is_mark])).mean(1)
    carry = np.flatnonzero(fit >= 0.5 * np.median(fit))
    return (carry.tolist(), _place(is_mark)) if fit.mean() > 0 and len(carry) >= MIN_SHARE * len(greys) else ([], "")


def _detail(grey: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    levels = grey.astype(np.float32)
    return np.clip(levels - ndimage.uniform_filter(levels, _NEIGHBOURHOOD_PX), -_MOST_LEVELS, _MOST_LEVELS)


def _place(is_mark: np.ndarray) -> str:
    rows, columns = np.nonzero(is_mark)
    words = [
        names[min(2, int(3 * np.median(at) / size))]
        for names, at, size in ((("top", "", "bottom"), rows, is_mark.shape[0]), (("left", "", "right"), columns, is_mark.shape[1]))
    ]
    return "at the " + " ".join(filter(None, words)) if any(words) else "in the middle"
