"""Text that may be burned into a picture, suspected cheaply: lines of thin strokes on a plain ground near the border.

Four letters are enough here, since they may be a name. The doctor's finder (`doctor/writing.py`) reads textured grounds as well, but needs
seven to be sure; on drawings on white, which scans are not, this one would cry wolf.
"""

import numpy as np

BURNED_IN = "text may be burned into it: look before you share it"
_BANDS = ((0.0, 0.25), (0.75, 1.0))  # of the height: overlays stand at the top and at the bottom
_COLUMNS = ((0.0, 0.45), (0.275, 0.725), (0.55, 1.0))
_GROUND_LEVELS, _INK_LEVELS = 12, 56  # from the commonest level: what is still ground, what is ink
_GROUND_SHARE, _INK_SHARE = 0.55, (0.004, 0.4)
_MIN_STROKES, _MAX_STROKE_SHARE = 4, 0.12  # in one row of a line of text: how many strokes, how wide one may be
_MIN_ROWS, _MAX_ROWS_SHARE = 5, 0.6  # of a line of text: its height in pixels, and in shares of the band


def may_hold_text(levels: np.ndarray) -> bool:
    """Whether uint8 [H, W] or [H, W, 3] looks as if text stood near its upper or lower border; a suspicion, not a reading."""
    grey = levels.max(axis=2) if levels.ndim == 3 else levels
    height, width = grey.shape
    for top, bottom in _BANDS:
        for left, right in _COLUMNS:
            part = grey[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
            if min(part.shape) > _MIN_ROWS and _has_line(part.astype(np.int16)):
                return True
    return False


def _has_line(part: np.ndarray) -> bool:
    ground = int(np.bincount(part.ravel() // 8, minlength=32).argmax()) * 8 + 4
    away = np.abs(part - ground)
    ink = away >= _INK_LEVELS
    if (away <= _GROUND_LEVELS).mean() < _GROUND_SHARE or not _INK_SHARE[0] <= ink.mean() <= _INK_SHARE[1]:
        return False
    begins = np.diff(ink.astype(np.int8), axis=1, prepend=0) == 1
    strokes, inked = begins.sum(axis=1), ink.sum(axis=1)
    is_line = (strokes >= _MIN_STROKES) & (inked <= np.maximum(strokes, 1) * max(2.0, _MAX_STROKE_SHARE * part.shape[1]))
    run = longest = 0
    for each in is_line:
        run = run + 1 if each else 0
        longest = max(longest, run)
    return _MIN_ROWS <= longest <= max(_MIN_ROWS, _MAX_ROWS_SHARE * part.shape[0])
