"""Put the trained parts together as a StableDiffusionPipeline folder in half precision, with the model card.

    python -m studio.starter.assemble --work WORK --out assets/starter

Works at any time during the UNet's training: the averaged weights of its newest state are taken.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from studio.errors import StudioError
from studio.starter.bench import Bench
from studio.starter.recipe import Recipe

MAX_BYTES = 40_000_000


def assemble(bench: Bench, out: Path, figures: dict) -> dict:
    """Write the finished model to `out`; returns its size and the UNet's step and v-MSE. StudioError above MAX_BYTES."""
    from studio.starter.card import write_card
    from studio.starter.report import REPORT_FILES

    parts, step = _trained_parts(bench)
    figures = _complete(figures, parts, step, bench)
    fresh = out.with_name(out.name + ".incoming")
    shutil.rmtree(fresh, ignore_errors=True)
    _write(parts, fresh, bench)
    for name in REPORT_FILES:  # the card shows a report only while it fits the weights
        if (out / name).exists():
            shutil.copyfile(out / name, fresh / name)
    (fresh / "figures.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_card(fresh, figures)
    num_bytes = sum(f.stat().st_size for f in fresh.rglob("*") if f.is_file())
    if num_bytes > MAX_BYTES:
        raise StudioError(f"The model is {num_bytes / 1e6:.1f} MB, above the budget of {MAX_BYTES / 1e6:.0f} MB.")
    _replace(fresh, out)
    return figures["unet"] | {"bytes": num_bytes}


def _trained_parts(bench: Bench) -> tuple[dict, int]:
    """({unet, vae, text, vision: modules in fp32}, the UNet's step); of the UNet the averaged weights of its newest state."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    from studio.starter.loop import read_ema
    from studio.starter.unet import make_unet

    work, unet = bench.work, make_unet(bench.recipe)
    weights, step = read_ema(work / "unet" / "state.safetensors")
    unet.load_state_dict(weights)
    return {
        "unet": unet.eval(),
        "vae": AutoencoderKL.from_pretrained(work / "vae").eval(),
        "text": CLIPTextModel.from_pretrained(work / "text_encoder"),
        "vision": CLIPVisionModelWithProjection.from_pretrained(work / "vision"),
    }, step


def _complete(figures: dict, parts: dict, step: int, bench: Bench) -> dict:
    """The stages' figures with those of the whole model: v-MSE, PSNR on the demos, parameters, recipe, and what a person noted."""
    from studio.starter.unet import Cache, measure_v_mse

    work, recipe = bench.work, bench.recipe
    cache = Cache.read(work / "latents.safetensors", "cpu")
    figures = figures | {
        "unet": {"samples": step * recipe.unet_batch, "v_mse": measure_v_mse(parts["unet"], cache)},
        "vae": figures["vae"] | measure_domains(parts["vae"], work / "packages", recipe.size_px),
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        "recipe": asdict(recipe),
    }
    if (work / "note.txt").exists():  # what a person adds about how this build went
        figures["note"] = (work / "note.txt").read_text(encoding="utf-8").strip()
    for part in ("judge", "pixel"):
        figures["parameters"][part] = figures.get(part, {}).get("parameters", 0)
    return figures


def _write(parts: dict, fresh: Path, bench: Bench) -> None:
    """Write the parts, in half precision, as the pipeline `fresh` with its towers, pixel base and judge beside it."""
    import torch
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

    from studio.starter.pixel import save_pixel
    from studio.starter.unet import make_scheduler
    from studio.tower import VOCABULARY

    work = bench.work
    pipeline = StableDiffusionPipeline(
        vae=parts["vae"],
        text_encoder=parts["text"],
        tokenizer=CLIPTokenizer.from_pretrained(work / "tokenizer"),
        unet=parts["unet"],
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(fresh, safe_serialization=True)
    parts["vision"].to(torch.float16).save_pretrained(fresh / "vision_encoder")
    for name in ("text_projection.safetensors", VOCABULARY):  # the towers share a space, and words
        shutil.copyfile(work / "vocabulary" / "vision_encoder" / name, fresh / "vision_encoder" / name)
    save_pixel(work / "pixel", fresh / "pixel", bench.recipe)
    _neutralise(fresh)
    if (work / "judge" / "judge.safetensors").exists():
        (fresh / "judge").mkdir()
        for name in ("judge.safetensors", "config.json"):
            shutil.copyfile(work / "judge" / name, fresh / "judge" / name)


def measure_domains(vae, packages: Path, size_px: int) -> dict[str, float]:
    """Return the autoencoder's PSNR on the demo domains that it never saw."""
    import numpy as np
    import torch
    from PIL import Image

    from studio.starter.demos import DEMOS
    from studio.starter.pictures import shrink
    from studio.starter.vae import psnr_db

    out = {}
    for demo in DEMOS[:2]:
        rgb = [np.asarray(Image.fromarray(item.picture).convert("RGB")) for item in demo.items(packages)]
        px = torch.from_numpy(np.stack([shrink(picture, size_px) for picture in rgb]))
        out[f"psnr_{demo.name}_db"] = round(psnr_db(vae, px), 2)
    return out


def _neutralise(folder: Path) -> None:
    """Make the files readable by all and drop the building machine's paths from the configuration files."""
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    for file in (*folder.rglob("config.json"), *folder.rglob("model_index.json")):
        config = json.loads(file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _replace(fresh: Path, out: Path) -> None:
    """Put the new folder in place of the old."""
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Parse the command line and assemble the newest weights."""
    parser = argparse.ArgumentParser(description="Assemble the embedded base model from a build's newest weights.")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="the model that the build began with")
    a = parser.parse_args()
    manifest = json.loads((a.work / "manifest.json").read_text(encoding="utf-8"))
    figures = {name: entry["figures"] for name, entry in manifest.items()}
    print(json.dumps(assemble(Bench(a.work, Recipe(), 0, "cpu", print, a.start), a.out, figures)))


if __name__ == "__main__":
    main()
