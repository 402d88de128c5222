"""Grade a model of the starter's concepts: draw each one, let the judge rank the concepts, print a grid.

python -m studio.starter.report --model assets/starter --out WORK/report
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from studio.errors import StudioError

STYLE = "noto"
GUIDANCE = 3.0
NUM_STEPS = 25
SEED = 7
BATCH = 16
GRID_COLUMNS = 12


def report(model: Path, out: Path, progress: Callable[[str], None] | None = None) -> dict:
    """Draw every concept with the pipeline in `model`, rank it with model/judge, write report.json and report.png.

    Returns {"concepts", "top1", "top5", "chance_top1", "grid", "places"}: shares in [0, 1], and for every concept the
    judge's place of it (1 is best). Nothing is downloaded.
    """
    import torch

    from studio.starter.card import refresh_card, weights_hash
    from studio.starter.judge import load_judge, rank

    model, out = Path(model), Path(out)
    if not (model / "judge" / "judge.safetensors").exists():
        raise StudioError(f"{model} has no judge/judge.safetensors. Give the folder that `starter build` made.")
    judge, concepts = load_judge(model / "judge")
    pixels = draw_concepts(model, concepts, progress)
    places = rank(judge, pixels * 2 - 1, torch.arange(len(concepts))).tolist()
    out.mkdir(parents=True, exist_ok=True)
    grid = out / "report.png"
    save_grid(pixels, concepts, places, grid)
    result = {
        "concepts": len(concepts),
        "top1": round(sum(p < 1 for p in places) / len(places), 3),
        "top5": round(sum(p < 5 for p in places) / len(places), 3),
        "chance_top1": round(1 / len(concepts), 3),
        "grid": grid.name,
        "unet_sha256": weights_hash(model),
        "settings": {"style": STYLE, "guidance": GUIDANCE, "steps": NUM_STEPS, "seed": SEED, "scheduler": "DDIM"},
        "places": {name: place + 1 for name, place in zip(concepts, places, strict=True)},
    }
    (out / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if (out / "figures.json").exists():
        refresh_card(out)
    return result | {"grid": str(grid)}


def draw_concepts(model: Path, concepts: list[str], progress: Callable[[str], None] | None):
    """Return one picture per concept, float [N, 3, S, S] in [0, 1], each from a seed of its own."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, local_files_only=True, safety_checker=None)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for first in range(0, len(concepts), BATCH):
        names = concepts[first : first + BATCH]
        drawn = pipeline(
            [f"{name}, {STYLE} style" for name in names],
            num_inference_steps=NUM_STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(SEED + first + n) for n in range(len(names))],
            output_type="pt",
        ).images
        pictures.append(drawn.float().cpu())
        if progress:
            progress(f"report: {first + len(names)} of {len(concepts)} concepts drawn")
    return torch.cat(pictures)


def save_grid(pixels, concepts: list[str], places: list[int], file: Path) -> None:
    """Write the pictures with their names and the judge's places as one PNG."""
    from PIL import Image, ImageDraw

    size_px, label_px = pixels.shape[-1], 12
    cell = (size_px + 8, size_px + label_px + 6)
    num_rows = -(-len(concepts) // GRID_COLUMNS)
    sheet = Image.new("RGB", (cell[0] * GRID_COLUMNS, cell[1] * num_rows), "white")
    pen = ImageDraw.Draw(sheet)
    for n, (picture, name, place) in enumerate(zip(pixels, concepts, places, strict=True)):
        x, y = n % GRID_COLUMNS * cell[0] + 4, n // GRID_COLUMNS * cell[1] + 2
        array = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
        sheet.paste(Image.fromarray(array), (x, y))
        colour = "#1a7f37" if place < 1 else "#9a6700" if place < 5 else "#cf222e"
        pen.text((x, y + size_px), f"{name[:11]} {place + 1}", fill=colour, font_size=9)
    sheet.save(file)


def main() -> None:
    """Parse the command line and print the shares."""
    parser = argparse.ArgumentParser(description="Grade a model of the starter's concepts.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    result = report(a.model, a.out, print)
    print(json.dumps({k: v for k, v in result.items() if k != "places"}))


if __name__ == "__main__":
    main()
