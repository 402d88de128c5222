"""Which pictures of a set lie on their side or head: each turn of them is compared with all the others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from studio.dataset.alike import BLOCK
from studio.dataset.doctor.base import USUAL_FROM
from studio.dataset.doctor.bearing import CELLS, bearings

MIN_PICTURES = 2 * USUAL_FROM
NUM_NEAREST = 3
MAX_OTHERS = 1000  # that each picture is compared with, so that large datasets take seconds
# Share of pictures that fit the others best as they are: 1.00 of MRI slices, 0.45 of icons, 0.43 of satellite pictures; 0.25 is chance.
MIN_UPRIGHT = 0.8
MIN_GAIN = 1.8  # times nearer to the others once turned; MRI slices that are upright reach 0.8, turned ones begin at 2
MIN_UNUSUAL = 2.0  # times the gain of nine in ten of the others
NUM_KIN = 8  # nearest others by which a kind of pictures within a mixed set is told
MIN_KIN_GAIN = 2.6  # one satellite picture of 67 reaches it by chance
_LEAST = 1e-3  # of a distance: pictures that are nearly the same must not decide by noise


def lying(pixels: Sequence[str], prints: np.ndarray, measures: Sequence[dict[str, Any] | None]) -> dict[str, tuple[int, float]]:
    """By pixel hash of uint8 [N, S, S, 3]: quarter turns clockwise that set it upright, and how many times better it fits the others then.

    Two ways: the turned picture is nearer to others that themselves have an up in common, or what the set teaches about its up says so
    (`bearing`). Planted among MRI slices of three planes, 97 of 100 turned pictures are found and no upright one; in a mix of slices,
    icons, satellite pictures and photographs a fifth, with one false alarm in 400. Icons, textures and all but one satellite picture in 67
    stay silent. An image tower trained on icons tells half of them, with false alarms, and is not asked.
    """
    if len(prints) < MIN_PICTURES:
        return {}
    known = [i for i, each in enumerate(measures) if each and each.get("slopes")]
    slopes = np.frombuffer(bytes.fromhex("".join(measures[i]["slopes"] for i in known)), np.uint8).reshape(-1, 2, CELLS, CELLS)
    learned = {known[i]: each for i, each in bearings(prints[known], slopes.astype(np.float32)).items()}
    return {pixels[i]: each for i, each in sorted((learned | _beside_kin(prints)).items())}


def _beside_kin(prints: np.ndarray) -> dict[int, tuple[int, float]]:
    """By index: the turn of pictures that are much nearer to others once turned, and how many times; those others must have an up."""
    near, kin = _nearness(prints)
    others = near[1:].max(0)
    gain = (1 - near[0] + _LEAST) / (1 - others + _LEAST)
    is_upright = near[0] > others
    if is_upright.mean() >= MIN_UPRIGHT:
        hits = np.flatnonzero(gain >= max(MIN_GAIN, MIN_UNUSUAL * float(np.quantile(gain, 0.9))))
    else:
        hits = [i for i in np.flatnonzero(gain >= MIN_KIN_GAIN) if is_upright[kin[i]].mean() >= MIN_UPRIGHT]
    return {int(i): (int(near[1:, i].argmax()) + 1, round(float(gain[i]), 1)) for i in hits}


def _nearness(prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation of each picture, turned clockwise by 0 to 3 quarters, with its nearest others as they are: [4, N].

    And which others are nearest to it in its best turn: indices [N, NUM_KIN].
    """
    size = prints.shape[1] // CELLS
    cells = prints.reshape(len(prints), CELLS, size, CELLS, size, 3).mean((2, 4), dtype=np.float32)
    refs = np.unique(np.linspace(0, len(prints) - 1, MAX_OTHERS).astype(int))
    upright, blocks = _unit(cells[refs]), range(0, len(prints), BLOCK)  # thousands at once would be hundreds of MiB
    parts = [_nearest(cells[at : at + BLOCK], upright, np.searchsorted(refs, (at, at + BLOCK)), refs, at) for at in blocks]
    return np.concatenate([near for near, _ in parts], 1), np.concatenate([kin for _, kin in parts])


def _nearest(cells: np.ndarray, upright: np.ndarray, own: np.ndarray, refs: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """`_nearness` of the pictures from `start` on, of which those in refs[own[0] : own[1]] are among the others themselves."""
    themselves = np.arange(*own)
    found, kin = [], []
    for turns in range(4):
        cosine = _unit(np.rot90(cells, -turns, (1, 2))) @ upright.T
        cosine[refs[themselves] - start, themselves] = -1
        order = np.argpartition(-cosine, NUM_KIN - 1, axis=1)[:, :NUM_KIN]
        found.append(-np.partition(-np.take_along_axis(cosine, order, 1), NUM_NEAREST, axis=1)[:, :NUM_NEAREST].mean(1))
        kin.append(refs[order])
    near = np.array(found)
    return near, np.array(kin)[near.argmax(0), np.arange(len(cells))]


def _unit(cells: np.ndarray) -> np.ndarray:
    flat = cells.reshape(len(cells), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
