"""The bench that the build's stages work at, and the pictures and words on it that the networks learn from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.starter import pictures as P
from studio.starter.captions import BACKGROUNDS
from studio.starter.packages import TRAIN_STYLES
from studio.starter.recipe import Recipe

OTHER_NAMES = 0.06  # how often an icon that is no concept is drawn, against one that is


@dataclass(frozen=True)
class Bench:
    """What a stage works with: the work folder, the recipe, the UNet's sample budget, the device, a log line sink."""

    work: Path
    recipe: Recipe
    samples: int
    device: str
    progress: Callable[[str], None]
    start: Path | None = None  # a finished model whose weights the networks begin with, where they fit


def read_pictures(work: Path) -> tuple[np.ndarray, list[P.Icon]]:
    """Return the rendered icons: uint8 RGBA [N, 128, 128, 4] and what each shows."""
    from safetensors.numpy import load_file

    icons = [P.Icon(**row) for row in json.loads((work / "pictures.json").read_text(encoding="utf-8"))]
    return load_file(work / "pictures.safetensors")["rgba"], icons


def vae_bank(bench: Bench) -> np.ndarray:
    """Build the autoencoder's pictures: icons of the training styles on white and on a random colour, textures, photographs."""
    recipe = bench.recipe
    rgba, icons = read_pictures(bench.work)
    rng = np.random.default_rng(recipe.seed)
    styles = {s.word for s in TRAIN_STYLES}
    bank = []
    for picture, icon in zip(rgba, icons, strict=True):
        if icon.style in styles:
            for ground in ((255, 255, 255), tuple(rng.integers(0, 256, 3))):
                bank.append(P.shrink(P.flatten(picture, ground), recipe.size_px))
    return np.concatenate([np.stack(bank), *draw_others(bench, recipe.num_textures, recipe.num_crops, recipe.seed)])


def draw_others(bench: Bench, num_textures: int, num_crops: int, seed: int) -> list[np.ndarray]:
    """Return textures and crops of photographs, uint8 RGB [M, S, S, 3] each; a recipe without photographs gets textures twice."""
    from studio.starter.photographs import make_crops
    from studio.starter.textures import make_textures

    size_px = bench.recipe.size_px
    textures = make_textures(num_textures, size_px, seed)
    if not bench.recipe.num_crops:
        return [textures, make_textures(num_textures, size_px, seed + 100)]
    return [textures, make_crops(bench.work / "packages", num_crops, size_px, seed)]


def training_rows(icons: list[P.Icon], concepts_only: bool) -> list[int]:
    """Return the rows of the training styles: every icon, or the concepts only."""
    styles = {s.word for s in TRAIN_STYLES}
    return [n for n, i in enumerate(icons) if i.style in styles and (i.concept or not concepts_only)]


def find_tags(packages: Path, names: list[str]) -> dict[str, list[str]]:
    """Return {name: tags} (emojibase), without the name itself."""
    labels = {label.lower(): tags for label, tags in P.read_labels(packages).items()}
    concepts = P.read_concepts()
    out = {}
    for name in names:
        spellings = [name, *(icon.replace("-", " ") for icon in concepts.get(name, []))]
        found = next((labels[s] for s in spellings if s in labels), [])
        out[name] = [tag for tag in found if tag != name]
    return out


def read_tags(work: Path) -> dict[str, list[str]]:
    """Return {name: tags} of what the icons show."""
    return json.loads((work / "tags.json").read_text(encoding="utf-8"))


def variants(icon: P.Icon, rgba: np.ndarray, size_px: int, rng: np.random.Generator) -> list[tuple[np.ndarray, str, float]]:
    """Return (picture, background, how often it is drawn) for one icon; what a concept is mostly shown as is the icon as it is.

    Other names come twice, as they are and on a colour: they teach shapes and outlines in general, and are drawn less often.
    """
    colours = [c for c in BACKGROUNDS if c != "white"]
    whole = P.shrink(P.flatten(rgba), size_px)
    if icon.concept:
        out, grounds = [(whole, "white", 0.65)], ["white", "white", *rng.choice(colours, 4, replace=False)]
    else:
        out, grounds = [(whole, "white", 0.8 * OTHER_NAMES)], [rng.choice(colours)]
    for background in grounds:
        shift_px = rng.integers(-3, 4, 2)
        mirror = bool(rng.random() < 0.5)
        px = P.place(rgba, size_px, BACKGROUNDS[background], rng.uniform(0.8, 1.0), shift_px, mirror)
        chance = (0.05 if background == "white" else 0.0625) if icon.concept else 0.2 * OTHER_NAMES
        out.append((px, str(background), chance))
    return out
