"""The embedded captioner: the names nearest to a picture (Radford et al. 2021), in the wording that the embedded model was trained on.

It knows about a thousand things, a few styles and plain backgrounds, and says so where a picture is nothing of that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.base import MAX_ALTERNATIVES, Ask, Facts, Suggestion
from studio.tower import Tower

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FACTS = Facts("embedded", thresholds=(0.5,), licence="as the embedded model")
BATCH = 16
CLEAR_STYLE = 0.6  # share from which a style is named
UNIFORM = 0.6  # share of the border that must be of one colour to be a background
NEAR = 24  # levels per channel between pixels of one colour
LIKE = 60.0  # distance in RGB from which a colour has another name, or none
BORDER_SIDE_PX = 64
UNMENTIONED = "white"
TINY = 1e-5
MAX_EXPONENT = 500.0  # beyond it e^x is no number, and the chance is nil


@dataclass(frozen=True)
class Guess:
    """What the towers make of one picture."""

    names: tuple[tuple[str, float], ...]  # the nearest names and their shares, best first
    style: str  # "" where none is clear, or the name is not believed
    confidence: float  # calibrated probability that the first name is right
    is_other: bool  # it is nearest to something that is none of the names
    other: str = ""  # what that is
    chances: tuple[float, ...] = ()  # calibrated, of each of the names


@dataclass
class _Texts:
    """Text features of one pair of towers, each computed once."""

    names: "Tensor"  # [N + O, D]: the names, then what is none of them
    styled: "dict[str, Tensor]" = field(default_factory=dict)  # [S, D] by name


_kept: dict[tuple[str, tuple[str, ...]], _Texts] = {}


@dataclass(frozen=True)
class Embedded:
    """The towers as a captioner; they stay in memory, for likeness and distance use them too."""

    tower: Tower
    batch: int = BATCH

    def caption(self, pictures: "Sequence[Image]", ask: Ask) -> list[Suggestion]:
        """The threshold that is asked for, or the one that was fitted with the towers."""
        words = self.tower.vocabulary
        least = words["threshold"] if ask.threshold is None else ask.threshold
        grounds = [background_of(picture, words["backgrounds"]) for picture in pictures]
        found = guess(self.tower.image_features(pictures), self.tower)
        return [_say(g, ground, least) for g, ground in zip(found, grounds, strict=True)]

    def unload(self) -> None:
        """Nothing to give back."""


def load(folder: Path | None = None) -> Embedded:
    """The captioner of the embedded model; it has no folder of its own."""
    return Embedded(_tower())


@cache
def _tower() -> Tower:
    return Tower()


def _say(found: Guess, ground: str, least: float) -> Suggestion:
    if found.is_other:
        return Suggestion("", found.confidence, reason=f"it looks like {with_article(found.other)}, for which there is no name here")
    choices = tuple((compose(name, found.style, ground), chance) for (name, _), chance in zip(found.names, found.chances, strict=True))
    if found.confidence < least:
        nearest = with_article(found.names[0][0])
        return Suggestion("", found.confidence, choices, f"nearest to {nearest}, but only {found.confidence:.0%} sure")
    return Suggestion(choices[0][0], found.confidence, choices)


def with_article(name: str) -> str:
    """`name` with "a" or "an" as in the captions of the embedded model."""
    return f"{'an' if name[0] in 'aeio' or name.startswith('umb') else 'a'} {name}"


def compose(name: str, style: str = "", background: str = "") -> str:
    """A caption as the embedded model was trained on: "anchor, noto style, on a red background"; white goes unmentioned."""
    text = f"{name}, {style} style" if style else with_article(name)
    return text if background in ("", UNMENTIONED) else f"{text}, on {with_article(background)} background"


def guess(features: "Tensor", tower: Tower) -> list[Guess]:
    """What pictures with these features [N, D] show; shares are among all names and what is none of them."""
    words = tower.vocabulary
    names = list(words["names"])
    shares = (words["scale"] * features @ _name_features(tower).T + _head_start(tower)).softmax(-1)
    named = shares[:, : len(names)].topk(min(MAX_ALTERNATIVES, len(names)))
    rows = zip(named.indices.tolist(), named.values.tolist(), shares.argmax(-1).tolist(), strict=True)
    found = []
    for places, values, nearest in rows:
        best = tuple((names[place], share) for place, share in zip(places, values, strict=True))
        chances = tuple(_calibrated(share, words["calibration"]) for share in values)
        other = words["other"][nearest - len(names)] if nearest >= len(names) else ""
        found.append(Guess(best, "", chances[0], bool(other), other, chances))
    return _with_styles(found, features, tower)


def _calibrated(share: float, line: Sequence[float]) -> float:
    """The probability that a name with this share is right."""
    share = min(max(share, TINY), 1 - TINY)
    odds = line[0] * math.log(share / (1 - share)) + line[1]
    return 1 / (1 + math.exp(min(-odds, MAX_EXPONENT)))


def _name_features(tower: Tower) -> "Tensor":
    """Features [N + O, D] of the plain captions of all names, then of what is none of them."""
    return _texts(tower).names


def _head_start(tower: Tower) -> "Tensor":
    """What each name's logit gains beforehand, [N + O]: people show well-known things more often than rare ones."""
    import torch

    words, common = tower.vocabulary, set(tower.vocabulary.get("common", ()))
    gain = math.log(words.get("common_odds", 1.0))
    return torch.tensor([gain if name in common else 0.0 for name in (*words["names"], *words["other"])])


def _texts(tower: Tower) -> _Texts:
    words = (*tower.vocabulary["names"], *tower.vocabulary["other"])
    key = (tower.fingerprint, words)
    if key not in _kept:
        _kept.clear()
        _kept[key] = _Texts(tower.text_features([with_article(word) for word in words]))
    return _kept[key]


def _with_styles(guesses: list[Guess], features: "Tensor", tower: Tower) -> list[Guess]:
    """The guesses with the clearest style of their own name, told only where the name is believed: its texts take longest."""
    styles, scale, kept = tower.vocabulary["styles"], tower.vocabulary["scale"], _texts(tower).styled
    believed = [not g.is_other and g.confidence >= tower.vocabulary["threshold"] for g in guesses]
    missing = sorted({g.names[0][0] for g, is_believed in zip(guesses, believed, strict=True) if is_believed} - set(kept))
    if not styles:
        return guesses
    if missing:
        made = tower.text_features([compose(name, style) for name in missing for style in styles])
        kept.update(zip(missing, made.view(len(missing), len(styles), -1), strict=True))
    found = []
    for g, feature, is_believed in zip(guesses, features, believed, strict=True):
        shares = (scale * kept[g.names[0][0]] @ feature).softmax(-1).tolist() if is_believed else [0.0]
        found.append(replace(g, style=styles[shares.index(max(shares))]) if max(shares) >= CLEAR_STYLE else g)
    return found


def background_of(picture: "Image", colours: Any) -> str:
    """The name of the one colour around a picture, "" where there is none; `colours` as {name: (r, g, b)}, without which nothing is told.

    The border tells colours of the embedded model's own pictures better than its towers do.
    """
    import numpy as np
    from PIL import Image

    if not isinstance(colours, dict) or not colours:
        return ""
    side = (BORDER_SIDE_PX, BORDER_SIDE_PX)
    px = np.asarray(picture.convert("RGB").resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)
    border = np.concatenate([px[0], px[-1], px[:, 0], px[:, -1]])
    middle = np.median(border, 0)
    if (abs(border - middle).max(1) < NEAR).mean() < UNIFORM:
        return ""
    apart = {name: float(np.linalg.norm(middle - np.array(rgb))) for name, rgb in colours.items()}
    name = min(apart, key=apart.__getitem__)
    return name if apart[name] < LIKE else ""
