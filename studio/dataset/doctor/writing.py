"""Whether something is written in a picture: small marks of one height that stand in a line, as letters do."""

import numpy as np

_CONTRAST = 20.0  # levels by which a letter differs from what lies around it
_MIN_PX, _MAX_PX = 5, 40  # height of a letter on the working copy
_NEIGHBOURHOOD_PX = 15


def num_letters(grey: np.ndarray) -> int:
    """The largest number of letter-like marks in one line of grey levels [H, W]; text usually gives six or more.

    Letters are darker or lighter than a median of their surroundings, of one height, on one base line, and close together
    (the rules of connected-component text finders, as in Epshtein et al. 2010, Stroke Width Transform, section 3).
    """
    from scipy import ndimage

    if min(grey.shape) < 2 * _NEIGHBOURHOOD_PX:
        return 0
    around = ndimage.uniform_filter(grey, _NEIGHBOURHOOD_PX)
    return max(_longest_line(grey - around > _CONTRAST), _longest_line(around - grey > _CONTRAST))


def _longest_line(marks: np.ndarray) -> int:
    from scipy import ndimage

    labels, _ = ndimage.label(marks)
    sizes = np.bincount(labels.ravel())[1:]
    found = zip(ndimage.find_objects(labels), sizes.tolist(), strict=True)
    boxes = [(s[0].start, s[0].stop, s[1].start, s[1].stop) for s, size in found if _is_letter_like(s, size)]
    boxes.sort(key=lambda box: box[2])
    chains: list[list[tuple[int, int, int, int]]] = []
    going: list[list[tuple[int, int, int, int]]] = []  # of the chains, those that a box may still follow
    for box in boxes:
        going = [chain for chain in going if box[2] - chain[-1][3] + 1 <= _gap(chain[-1])]
        chain = next((chain for chain in going if _follows(chain[-1], box)), None)
        if chain is None:
            chains.append(chain := [])
            going.append(chain)
        chain.append(box)
    # Dots in a row, windows of a house: all alike.
    return max((len(chain) for chain in chains if len({box[3] - box[2] for box in chain}) > 1), default=0)


def _is_letter_like(place: tuple[slice, slice], num_px: int) -> bool:
    height, width = place[0].stop - place[0].start, place[1].stop - place[1].start
    return _MIN_PX <= height <= _MAX_PX and 0.1 <= width / height <= 2.0 and 0.15 <= num_px / (height * width) <= 0.95


def _gap(last: tuple[int, int, int, int]) -> float:
    """How far the next letter may begin from the end of the last one."""
    return 1.2 * (last[1] - last[0]) + 1


def _follows(last: tuple[int, int, int, int], box: tuple[int, int, int, int]) -> bool:
    height = last[1] - last[0]
    is_level = abs(box[1] - last[1]) <= max(1, 0.3 * height) and abs((box[1] - box[0]) - height) <= max(2, 0.5 * height)
    return is_level and 0 < box[2] - last[3] + 1 <= _gap(last)
