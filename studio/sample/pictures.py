"""Picture files that say how they were made, and grids of them."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio import __version__
from studio.store import write_bytes

if TYPE_CHECKING:
    from PIL import Image

GAP, LABEL_HEIGHT = 8, 20
PAPER, INK = "#f4f5f7", "#1f2933"


def write_png(path: Path, image: "Image.Image", settings: dict[str, Any]) -> None:
    """Write `image` as PNG with its settings in the `studio` text chunk (JSON), atomically."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("studio", json.dumps({"version": __version__, **settings}, ensure_ascii=False))
    data = io.BytesIO()
    image.save(data, "PNG", pnginfo=info)
    write_bytes(path, data.getvalue())


def read_settings(path: Path) -> dict[str, Any]:
    """The settings a picture of ours was made with; empty for other pictures."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        image.load()
        return json.loads(getattr(image, "text", {}).get("studio", "{}"))


def make_grid(rows: "list[list[Image.Image]]", labels: list[str], min_cell_px: int = 160) -> "Image.Image":
    """One picture: a row per label, small pictures enlarged by whole factors so that they stay crisp."""
    from PIL import Image, ImageDraw

    width, height = rows[0][0].size
    factor = max(1, -(-min_cell_px // max(width, height)))
    cell_w, cell_h = width * factor, height * factor
    columns = max(len(r) for r in rows)
    row_h = LABEL_HEIGHT + cell_h + GAP
    sheet = Image.new("RGB", (GAP + columns * (cell_w + GAP), GAP + len(rows) * row_h), PAPER)
    pen = ImageDraw.Draw(sheet)
    for y, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = GAP + y * row_h
        pen.text((GAP, top + 2), label, fill=INK, font_size=13)
        for x, image in enumerate(row):
            enlarged = image.resize((cell_w, cell_h), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (GAP + x * (cell_w + GAP), top + LABEL_HEIGHT))
    return sheet
