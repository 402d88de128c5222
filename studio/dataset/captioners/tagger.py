"""Taggers in ONNX, as WD14 (SmilingWolf): a picture's tags with a probability each, best first."""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.base import Ask, Facts, Suggestion
from studio.dataset.captions import clean
from studio.errors import StudioError, printable
from studio.extras import need
from studio.families.folder import read_config

if TYPE_CHECKING:
    from PIL.Image import Image

MODEL, TAGS = "model.onnx", "selected_tags.csv"
GENERAL, CHARACTER = 0.35, 0.85
FACTS = Facts(
    "WD14 tagger",
    files=(MODEL, TAGS),
    thresholds=(GENERAL, CHARACTER),
    switches=("rating", "escape"),
    licence="Apache 2.0",
    hub_id="SmilingWolf/wd-vit-tagger-v3",
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
FLOATS = ("tensor(float)", "tensor(float16)")
BRACKETS = re.compile(r"[()\[\]]")
MIN_DEVIATION = 1e-3
SIZE_PX = 448  # where the model does not say
BATCH = 8
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Layout:
    """What a network is given, and which of its outputs has the tags."""

    given: str
    told: str
    size_px: int
    num: int | None  # pictures at once, where that is fixed
    is_half: bool
    colours_first: tuple[list[float], list[float]] | None  # mean and deviation of its levels, for networks that take [N, 3, S, S]

    def pixels(self, picture: "Image") -> Any:
        """The picture as the network takes it."""
        import numpy as np

        px = square_bgr(picture, self.size_px)
        if self.colours_first:
            mean, deviation = (np.asarray(each, np.float32) for each in self.colours_first)
            px = ((px - mean) / deviation).transpose(2, 0, 1)
        return px.astype(np.float16 if self.is_half else np.float32)


@dataclass
class Tagger:
    """A session of onnxruntime, and what its outputs are called."""

    session: Any
    names: list[str]
    kinds: list[str]  # of each name: general, character, rating
    layout: Layout
    batch: int = BATCH

    def caption(self, pictures: "Sequence[Image]", ask: Ask) -> list[Suggestion]:
        """Tags above the thresholds, likeliest first, joined by commas; "" and why where there is none."""
        import numpy as np

        chances = []
        step = self.layout.num or max(1, len(pictures))
        for at in range(0, len(pictures), step):
            ask.alive()
            part = [self.layout.pixels(picture) for picture in pictures[at : at + step]]
            full = np.stack(part + part[-1:] * ((self.layout.num or 0) - len(part)))
            chances += list(self.session.run([self.layout.told], {self.layout.given: full})[0][: len(part)].astype(np.float32))
        return [self._said([float(c) for c in _shares(row)], ask) for row in chances]

    def _said(self, chances: list[float], ask: Ask) -> Suggestion:
        if any(math.isnan(c) for c in chances):
            return Suggestion("", reason="the tagger gave no numbers (NaN): its file is damaged")
        general = GENERAL if ask.threshold is None else ask.threshold
        least = {RATING_KIND: 2.0, CHARACTER_KIND: CHARACTER if ask.character_threshold is None else ask.character_threshold}
        every = sorted(zip(chances, self.names, self.kinds, strict=True), key=lambda each: -each[0])
        found = [name for c, name, kind in every if name and c >= least.get(kind, general)]
        ratings = [name for _, name, kind in every if kind == RATING_KIND][:1] if ask.rating else []
        tags = list(dict.fromkeys(found + ratings))
        if not tags:
            return Suggestion("", reason=f"no tag is above the threshold {general:g}")
        return Suggestion(", ".join(BRACKETS.sub(r"\\\g<0>", tag) if ask.escape and tag not in FACES else tag for tag in tags))

    def unload(self) -> None:
        """Let go of the weights."""
        self.session = None


def _shares(row: Any) -> Any:
    """Chances in [0, 1]; networks that end in logits say them as such."""
    import numpy as np

    return row if np.nanmin(row) >= 0 and np.nanmax(row) <= 1 else 1 / (1 + np.exp(-row))


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
    return Tagger(session, names, kinds, _layout(session, folder, len(names)))


def _layout(session: Any, folder: Path, num_tags: int) -> Layout:
    """How the network in `folder` is asked; StudioError where it takes no pictures, or tells other tags than these."""
    given, told = session.get_inputs(), session.get_outputs()
    shape = list(given[0].shape)
    colours_last = len(shape) == 4 and shape[3] == 3
    if len(given) != 1 or len(shape) != 4 or not (colours_last or shape[1] == 3) or given[0].type not in FLOATS:
        raise StudioError(f"{folder / MODEL}: no tagger: it takes {shape}, not pictures of height, width and three colours")
    sizes = [each.shape[-1] if len(each.shape) == 2 else 0 for each in told]
    fits = [each.name for each, size in zip(told, sizes, strict=True) if size == num_tags or isinstance(size, str)]
    if not fits:
        raise StudioError(f"{folder}: {MODEL} knows {max(sizes)} tags, {TAGS} names {num_tags}: fetch both from the same place")
    size = shape[1 if colours_last else 2]
    first = None if colours_last else _levels(folder)
    size_px, num = (each if isinstance(each, int) and each > 0 else None for each in (size, shape[0]))
    return Layout(given[0].name, fits[0], size_px or SIZE_PX, num, given[0].type == FLOATS[1], first)


def _levels(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of the levels from 0 to 255 that a network with colours first was trained on, as timm's config.json has them."""
    values = read_config(folder / "config.json") if (folder / "config.json").is_file() else {}
    said = values.get("pretrained_cfg")
    mean, deviation = (said.get(name) if isinstance(said, dict) else None for name in ("mean", "std"))
    if not all(isinstance(each, list) and len(each) == 3 and all(isinstance(v, int | float) for v in each) for each in (mean, deviation)):
        return [0.0] * 3, [1.0] * 3
    return [255 * v for v in mean[::-1]], [255 * max(v, MIN_DEVIATION) for v in deviation[::-1]]  # blue first


def read_tags(file: Path) -> tuple[list[str], list[str]]:
    """(names as captions have them, their kinds) of `selected_tags.csv`; every cell is text, whatever it begins with.

    StudioError where it is damaged, too long or none.
    """
    names, kinds = [], []
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                name, kind = row.get("name"), row.get("category")
                if name is None or kind is None:
                    raise StudioError(f"{file}: no table of tags: it needs the columns name and category")
                names.append(clean(name if name in FACES else name.replace("_", " ").replace(",", " "))[0])
                kinds.append(kind.strip())
                if len(names) > MAX_TAGS:
                    raise StudioError(f"{file}: more than {MAX_TAGS:,} tags: this is no tagger's list")
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise StudioError(f"{file}: cannot be read ({printable(str(error))[:120]}): fetch the tagger again") from None
    if not names:
        raise StudioError(f"{file}: it names no tag: fetch the tagger again")
    return names, kinds
