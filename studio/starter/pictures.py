"""Icons to pictures: which icon shows which concept in which style, drawn as RGBA arrays."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from studio.starter.packages import LABELS, STYLES, Style, fetch, read_json

RENDER_PX = 128
CONCEPTS_FILE = Path(__file__).with_name("concepts.txt")
# Unicode's groups (emojibase): people, skin-tone components, symbols and flags teach a 64 px model nothing useful.
DROPPED_GROUPS = (None, 1, 2, 8, 9)


@dataclass(frozen=True)
class Icon:
    """One drawing: `name` is what captions call it; `concept` is True for the concepts that the model must draw."""

    style: str
    name: str
    icon: str
    concept: bool


def read_concepts() -> dict[str, list[str]]:
    """Return {caption name: [icon names to look for]} in the order of CONCEPTS_FILE."""
    concepts = {}
    for line in CONCEPTS_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, icons = line.partition(":")
            concepts[name.strip()] = [icon.strip() for icon in icons.split(",")]
    return concepts


def find_icon(known: set[str], wanted: list[str]) -> str | None:
    """Return the first of the `wanted` names that an icon set knows, tolerating each set's way of spelling."""
    for name in wanted:
        for spelling in (name, name.replace("-", ""), f"{name}-1"):
            if spelling in known:
                return spelling
    return None


def read_labels(folder: Path) -> dict[str, list[str]]:
    """Return {CLDR label: tags} of everything that has a picture worth learning (emojibase)."""
    rows = read_json(fetch(LABELS, folder), "package/en/data.json")
    return {row["label"]: row.get("tags", []) for row in rows if row.get("group") not in DROPPED_GROUPS}


def select_icons(folder: Path) -> list[Icon]:
    """List every icon to draw: the concepts in all styles, then all further CLDR names (for the text tower)."""
    concepts = read_concepts()
    labels = sorted(read_labels(folder))
    icons = []
    for style in STYLES:
        icon_set = read_json(fetch(style.package, folder), "package/icons.json")
        known = set(icon_set["icons"]) | set(icon_set.get("aliases", {}))
        used = set()
        for name, wanted in concepts.items():
            icon = find_icon(known, wanted)
            if icon:
                icons.append(Icon(style.word, name, icon, True))
                used.add(icon)
        for label in labels:
            icon = find_icon(known, [label.lower().replace(" ", "-")])
            if icon and icon not in used:
                icons.append(Icon(style.word, label.lower(), icon, False))
                used.add(icon)
    return icons


def open_style(style: Style, folder: Path) -> dict:
    """Return the icon set of a style as its package's JSON."""
    return read_json(fetch(style.package, folder), "package/icons.json")


def draw(icon_set: dict, icon: str, size_px: int = RENDER_PX) -> np.ndarray | None:
    """Render one icon to uint8 RGBA [size_px, size_px, 4]; None when the drawing is broken."""
    import resvg_py

    alias = icon_set.get("aliases", {}).get(icon, {})
    entry = icon_set["icons"].get(alias.get("parent", icon))
    if entry is None or {"rotate", "hFlip", "vFlip"} & set(alias):
        return None
    width = entry.get("width", icon_set.get("width", 16))
    height = entry.get("height", icon_set.get("height", 16))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size_px}" height="{size_px}" viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
    )
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px)
    except ValueError:
        return None
    rgba = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
    return rgba if rgba.shape[:2] == (size_px, size_px) and rgba[..., 3].mean() > 5 else None


def draw_all(folder: Path, progress=None) -> tuple[np.ndarray, list[Icon]]:
    """Render every selected icon: uint8 RGBA [N, RENDER_PX, RENDER_PX, 4] and the N icons."""
    icons = select_icons(folder)
    pictures, kept = [], []
    for style in STYLES:
        icon_set = open_style(style, folder)
        chosen = [icon for icon in icons if icon.style == style.word]
        for icon in chosen:
            picture = draw(icon_set, icon.icon)
            if picture is not None:
                pictures.append(picture)
                kept.append(icon)
        if progress:
            progress(f"pictures: {style.word}, {sum(i.style == style.word for i in kept)} of {len(chosen)} drawn")
    return np.stack(pictures), kept


def flatten(rgba: np.ndarray, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """Composite uint8 RGBA [..., 4] over one colour: uint8 RGB [..., 3]."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


def shrink(rgb: np.ndarray, size_px: int) -> np.ndarray:
    """Resize uint8 RGB [H, W, 3] to [size_px, size_px, 3] by area-true Lanczos."""
    return np.asarray(Image.fromarray(rgb).resize((size_px, size_px), Image.Resampling.LANCZOS))


def place(rgba: np.ndarray, size_px: int, background: tuple, scale: float, shift_px: tuple, mirror: bool) -> np.ndarray:
    """Draw uint8 RGBA [H, W, 4] scaled, shifted and maybe mirrored on one colour: uint8 RGB [size_px, size_px, 3]."""
    side = round(size_px * scale)
    icon = Image.fromarray(rgba).convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")
    if mirror:
        icon = icon.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = Image.new("RGBA", (size_px, size_px), (*(int(c) for c in background), 255))
    corner = ((size_px - side) // 2 + int(shift_px[0]), (size_px - side) // 2 + int(shift_px[1]))
    layer = Image.new("RGBA", (size_px, size_px), (0, 0, 0, 0))
    layer.paste(icon, corner)
    return np.asarray(Image.alpha_composite(canvas, layer).convert("RGB"))
