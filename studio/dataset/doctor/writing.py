"""Whether something is written in a picture: small marks of one height that stand in a line, as letters do."""

import numpy as np

_LOOKS = ((20.0, 15), (40.0, 31))  # levels by which a letter differs from what lies around it, and how far around: small and large writing
_MIN_PX, _MAX_PX = 5, 40  # height of a letter on the working copy
_MIN_LINE = 3  # letters of which a shape can be told
# What tells writing from windows of a house, planks and folds: heights are alike, letters stand close, and are about as wide as high.
_UNLIKE_HEIGHTS, _MAX_GAP, _UNLIKE_FILLS = 0.22, 0.42, 0.12  # of the mean height; of a letter's box
_ASPECTS, _FILLS = (0.5, 1.15), (0.37, 0.66)
Box = tuple[int, int, int, int, int]  # top, bottom, left, right, pixels of ink


def num_letters(grey: np.ndarray, is_sure: bool = True) -> int:
    """The largest number of letter-like marks in one line of grey levels [H, W]; text usually gives six or more.

    Letters are darker or lighter than a median of their surroundings, of one height, on one base line, and close together
    (the rules of connected-component text finders, as in Epshtein et al. 2010, Stroke Width Transform, section 3). Unless it has to be
    sure, any such row counts whose members are not all alike.
    """
    from scipy import ndimage

    longest = 0
    for contrast, around_px in _LOOKS:
        if min(grey.shape) >= 2 * around_px:
            apart = grey - ndimage.uniform_filter(grey, around_px)
            longest = max(longest, _longest_line(apart > contrast, is_sure), _longest_line(apart < -contrast, is_sure))
    return longest


def _longest_line(marks: np.ndarray, is_sure: bool) -> int:
    from scipy import ndimage

    labels, _ = ndimage.label(marks)
    sizes = np.bincount(labels.ravel())[1:]
    found = zip(ndimage.find_objects(labels), sizes.tolist(), strict=True)
    boxes = [(s[0].start, s[0].stop, s[1].start, s[1].stop, size) for s, size in found if _is_letter_like(s, size)]
    boxes.sort(key=lambda box: box[2])
    chains: list[list[Box]] = []
    going: list[list[Box]] = []  # of the chains, those that a box may still follow
    for box in boxes:
        going = [chain for chain in going if box[2] - chain[-1][3] + 1 <= _gap(chain[-1])]
        chain = next((chain for chain in going if _follows(chain[-1], box)), None)
        if chain is None:
            chains.append(chain := [])
            going.append(chain)
        chain.append(box)
    return next((len(chain) for chain in sorted(chains, key=len, reverse=True) if _is_line(chain, is_sure)), 0)


def _is_line(chain: list[Box], is_sure: bool) -> bool:
    """Whether boxes in a row are those of writing."""
    if len(chain) < _MIN_LINE or len({box[3] - box[2] for box in chain}) == 1:  # dots in a row, windows of a house: all alike
        return False
    if not is_sure:
        return True
    top, bottom, left, right, ink = np.array(chain).T
    heights, widths = bottom - top, right - left
    height, fill = heights.mean(), ink / (heights * widths)
    return bool(
        heights.std() <= _UNLIKE_HEIGHTS * height
        and (left[1:] - right[:-1]).mean() <= _MAX_GAP * height
        and fill.std() <= _UNLIKE_FILLS
        and _ASPECTS[0] <= (widths / heights).mean() <= _ASPECTS[1]
        and _FILLS[0] <= fill.mean() <= _FILLS[1]
    )


def _is_letter_like(place: tuple[slice, slice], num_px: int) -> bool:
    height, width = place[0].stop - place[0].start, place[1].stop - place[1].start
    return _MIN_PX <= height <= _MAX_PX and 0.1 <= width / height <= 2.0 and 0.15 <= num_px / (height * width) <= 0.95


def _gap(last: Box) -> float:
    """How far the next letter may begin from the end of the last one."""
    return 1.2 * (last[1] - last[0]) + 1


def _follows(last: Box, box: Box) -> bool:
    height = last[1] - last[0]
    is_level = abs(box[1] - last[1]) <= max(1, 0.3 * height) and abs((box[1] - box[0]) - height) <= max(2, 0.5 * height)
    return is_level and 0 < box[2] - last[3] + 1 <= _gap(last)
