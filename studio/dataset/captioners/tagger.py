"""Taggers in ONNX, as WD14 (SmilingWolf): a picture's tags with a probability each, best first."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.base import Ask, Facts, Suggestion
from studio.dataset.captions import clean
from studio.errors import StudioError, printable
from studio.extras import need

if TYPE_CHECKING:
    from PIL.Image import Image

MODEL, TAGS = "model.onnx", "selected_tags.csv"
GENERAL, CHARACTER = 0.35, 0.85
FACTS = Facts(
    "WD14 tagger", files=(MODEL, TAGS), thresholds=(GENERAL, CHARACTER), licence="Apache 2.0", hub_id="SmilingWolf/wd-vit-tagger-v3"
)
RATING_KIND, CHARACTER_KIND = "9", "4"
FACES = {
    "0_0",
    "(o)_(o)",
    "+_+",
    "+_-",
    "._.",
    "<o>_<o>",
    "<|>_<|>",
    "=_=",
    ">_<",
    "3_3",
    "6_9",
    ">_o",
    "@_@",
    "^_^",
    "o_o",
    "u_u",
    "x_x",
    "|_|",
    "||_||",
}
MAX_TAGS = 200_000
SIZE_PX = 448  # where the model does not say
BATCH = 8
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
WHITE = (255, 255, 255)


@dataclass
class Tagger:
    """A session of onnxruntime, and what its outputs are called."""

    session: Any
    names: list[str]
    kinds: list[str]  # of each name: general, character, rating
    size_px: int
    is_single: bool  # made for one picture at a time
    batch: int = BATCH

    def caption(self, pictures: "Sequence[Image]", ask: Ask) -> list[Suggestion]:
        """Tags above the thresholds, joined by commas; "" and why where there is none."""
        import numpy as np

        if not pictures:
            return []
        ask.alive()
        general = GENERAL if ask.threshold is None else ask.threshold
        character = CHARACTER if ask.character_threshold is None else ask.character_threshold
        pixels = np.stack([square_bgr(picture, self.size_px) for picture in pictures])
        given = self.session.get_inputs()[0].name
        passes = [one[None] for one in pixels] if self.is_single else [pixels]
        chances = np.concatenate([self.session.run(None, {given: each})[0] for each in passes])
        return [self._said([float(c) for c in row], general, character) for row in chances]

    def _said(self, chances: list[float], general: float, character: float) -> Suggestion:
        least = {RATING_KIND: 2.0, CHARACTER_KIND: character}
        found = [(c, name) for c, name, kind in zip(chances, self.names, self.kinds, strict=True) if c >= least.get(kind, general)]
        if not found:
            return Suggestion("", reason=f"no tag is above the threshold {general:g}")
        found.sort(key=lambda each: -each[0])
        return Suggestion(", ".join(name for _, name in found))

    def unload(self) -> None:
        """Let go of the weights."""
        self.session = None


def square_bgr(picture: "Image", size_px: int) -> Any:
    """The picture on a white square, as these models were trained: float32 [S, S, 3], blue first, 0 to 255."""
    import numpy as np
    from PIL import Image

    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), WHITE)
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    if side != size_px:
        canvas = canvas.resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(canvas, np.float32)[:, :, ::-1])


def load(folder: Path | None) -> Tagger:
    """The model and its list of tags in `folder`; StudioError where they do not belong together."""
    runtime = need("tagger")
    names, kinds = read_tags(folder / TAGS)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        providers = [name for name in PROVIDERS if name in runtime.get_available_providers()]
        session = runtime.InferenceSession(str(folder / MODEL), options, providers=providers)
    except Exception as error:
        raise StudioError(f"{folder / MODEL}: cannot be loaded ({printable(str(error)).strip()[:160]}): fetch the tagger again") from None
    given, told = session.get_inputs(), session.get_outputs()
    shape = list(given[0].shape)
    if len(given) != 1 or len(shape) != 4 or shape[3] != 3:
        raise StudioError(f"{folder / MODEL}: no tagger: it takes {shape}, not pictures of height, width and three colours")
    num = told[0].shape[-1]
    if isinstance(num, int) and num != len(names):
        raise StudioError(f"{folder}: {MODEL} knows {num} tags, {TAGS} names {len(names)}: fetch both from the same place")
    size = shape[1] if isinstance(shape[1], int) and shape[1] > 0 else SIZE_PX
    return Tagger(session, names, kinds, size, is_single=isinstance(shape[0], int))


def read_tags(file: Path) -> tuple[list[str], list[str]]:
    """(names as captions have them, their kinds) of `selected_tags.csv`; every cell is text, whatever it begins with."""
    names, kinds = [], []
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                name, kind = row.get("name"), row.get("category")
                if name is None or kind is None:
                    raise StudioError(f"{file}: no table of tags: it needs the columns name and category")
                names.append(clean(name if name in FACES else name.replace("_", " "))[0])
                kinds.append(kind.strip())
                if len(names) > MAX_TAGS:
                    raise StudioError(f"{file}: more than {MAX_TAGS:,} tags: this is no tagger's list")
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise StudioError(f"{file}: cannot be read ({printable(str(error))[:120]}): fetch the tagger again") from None
    if not names:
        raise StudioError(f"{file}: it names no tag: fetch the tagger again")
    return names, kinds
