"""Numbers to grey levels: windows, percentiles, and what counts as empty. Used by the readers, in the decoding process."""

import numpy as np
from PIL import Image

from studio.dataset.pixels import Unreadable, check_size

EMPTY_SHARE = 0.02  # of the pixels that must differ from the border for a slice to show something
_EMPTY_LEVELS = 12  # of 255


def percentiles(values: np.ndarray, low: float, high: float) -> list[float]:
    """[low, high] percentile of the finite `values`; Unreadable where there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise Unreadable("holds no finite value: export it again")
    return [float(v) for v in np.percentile(finite, (low, high))]


def to_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 levels, in the shape of `values`: `low` and below are black, `high` and above white, what is no number black."""
    exact = np.float64 if values.dtype.itemsize > 2 and values.dtype != np.float32 else np.float32
    scaled = (values.astype(exact) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1) * 255).astype(np.uint8)


def strange_values(values: np.ndarray) -> list[str]:
    """A note about values that are no numbers, if there are any."""
    num = 0 if values.dtype.kind in "iub" else int(np.size(values) - np.isfinite(values).sum())
    return [f"{num} of its values are no numbers and became black"] if num else []


def is_empty(levels: np.ndarray) -> bool:
    """Whether next to nothing differs from the border of uint8 [H, W] or [H, W, 3]."""
    grey = levels.mean(axis=2) if levels.ndim == 3 else levels.astype(np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return float((np.abs(grey - np.median(border)) > _EMPTY_LEVELS).mean()) < EMPTY_SHARE


def picture(levels: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> Image.Image:
    """uint8 [H, W] or [H, W, 3] as an RGB picture, enlarged along one side where `spacing` (rows, columns) is uneven.

    Unreadable where its size is none to train on.
    """
    image = Image.fromarray(np.ascontiguousarray(levels)).convert("RGB")
    finest = min(spacing)
    size = (max(1, round(image.width * spacing[1] / finest)), max(1, round(image.height * spacing[0] / finest)))
    check_size(*size)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
