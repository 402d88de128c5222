"""Drawn pictures on sheets: PNG files that a person looks at beside the figures. Pictures are [N, 3, S, S] in [0, 1]."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from PIL import Image

COLUMNS = 12
GAP_PX, LABEL_PX, MARGIN_PX, FONT_PX = 4, 12, 84, 9
MAX_LETTERS = {"name": 11, "row": 17}
FIRST, AMONG_FIVE, MISSED = "#1a7f37", "#9a6700", "#cf222e"
INK = "#1f2933"


def save_concepts(pixels: "torch.Tensor", concepts: list[str], places: list[int], file: Path) -> None:
    """Write every concept's picture with its name and the judge's place (0 = best) as one PNG."""
    from PIL import Image, ImageDraw

    size_px = pixels.shape[-1]
    cell = (size_px + 2 * GAP_PX, size_px + LABEL_PX + GAP_PX)
    num_rows = -(-len(concepts) // COLUMNS)
    sheet = Image.new("RGB", (cell[0] * min(COLUMNS, len(concepts)), cell[1] * num_rows), "white")
    pen = ImageDraw.Draw(sheet)
    for n, (picture, name, place) in enumerate(zip(pixels, concepts, places, strict=True)):
        x, y = n % COLUMNS * cell[0] + GAP_PX, n // COLUMNS * cell[1] + GAP_PX // 2
        sheet.paste(to_image(picture), (x, y))
        colour = FIRST if place < 1 else AMONG_FIVE if place < 5 else MISSED
        pen.text((x, y + size_px), f"{name[: MAX_LETTERS['name']]} {place + 1}", fill=colour, font_size=FONT_PX)
    sheet.save(file, optimize=True)


def save_rows(rows: "list[tuple[str, torch.Tensor]]", columns: list[str], file: Path) -> None:
    """Write rows of pictures as one PNG, each with its label at the left; the names in `columns`, if any, stand above."""
    from PIL import Image, ImageDraw

    size_px, num_columns = rows[0][1].shape[-1], max(len(pictures) for _, pictures in rows)
    head_px = LABEL_PX + GAP_PX if columns else GAP_PX
    cell = size_px + GAP_PX
    sheet = Image.new("RGB", (MARGIN_PX + num_columns * cell, head_px + len(rows) * cell), "white")
    pen = ImageDraw.Draw(sheet)
    for n, name in enumerate(columns):
        pen.text((MARGIN_PX + n * cell, GAP_PX // 2), name[: MAX_LETTERS["name"]], fill=INK, font_size=FONT_PX)
    for y, (label, pictures) in enumerate(rows):
        top = head_px + y * cell
        pen.text((GAP_PX, top + size_px // 2 - FONT_PX), label[: MAX_LETTERS["row"]], fill=INK, font_size=FONT_PX)
        for x, picture in enumerate(pictures):
            sheet.paste(to_image(picture), (MARGIN_PX + x * cell, top))
    sheet.save(file, optimize=True)


def save_pairs(base: "torch.Tensor", adapted: "torch.Tensor", file: Path) -> None:
    """Write pairs of pictures as one PNG, base above adapted, in as many bands as they need."""
    rows = []
    for first in range(0, len(base), COLUMNS):
        rows += [("base", base[first : first + COLUMNS]), ("adapted", adapted[first : first + COLUMNS])]
    save_rows(rows, [], file)


def to_image(picture: "torch.Tensor") -> "Image.Image":
    """A picture [3, S, S] in [0, 1] as PIL image."""
    from PIL import Image

    return Image.fromarray((picture.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy())
