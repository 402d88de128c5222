"""Build the embedded base model: one resumable command of stages, each of which skips itself when it is done.

    python -m studio.starter.build --work WORK --out assets/starter --samples 400000
    python -m studio.starter.build --work WORK --out BETTER --samples 150000 --start assets/starter    # go on from a finished model

A stage is done when `manifest.json` in the work folder names it with the hash of its settings; it is written last.
Killed at any moment, the same command continues. Changing `--samples` changes the UNet's plan only.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from studio.starter import stages
from studio.starter.bench import Bench
from studio.starter.card import weights_hash
from studio.starter.recipe import Recipe
from studio.starter.vocabulary import make_vocabulary
from studio.store import write_json


@dataclass(frozen=True)
class Stage:
    """One step of the build: `run(bench)` makes its files; `fields` are the recipe's settings that it depends on."""

    name: str
    run: Callable[[Bench], dict]
    fields: tuple[str, ...]
    needs: tuple[str, ...] = ()


STAGES = (
    Stage("pictures", stages.make_pictures, ("max_pictures",)),
    Stage("tokenizer", stages.make_tokenizer, ("vocab_size", "token_length"), ("pictures",)),
    Stage(
        "vae",
        stages.make_vae,
        ("size_px", "seed", "num_textures", "num_crops", "vae_widths", "vae_samples", "vae_batch"),
        ("pictures",),
    ),
    Stage(
        "towers",
        stages.make_towers,
        ("size_px", "seed", "text_width", "vision_width", "tower_layers", "tower_samples", "tower_batch"),
        ("tokenizer",),
    ),
    Stage("vision", stages.make_vision, ("num_textures", "vision_samples"), ("towers",)),
    Stage("vocabulary", make_vocabulary, ("num_textures",), ("vision",)),
    Stage("latents", stages.make_latents, ("size_px", "seed"), ("vae", "towers")),
    Stage("unet", stages.make_unet, ("unet_widths", "unet_batch", "unet_attention_side"), ("latents",)),
    Stage("judge", stages.make_judge, ("size_px", "judge_samples"), ("pictures",)),
    Stage("pixel", stages.make_pixel, ("seed", "pixel_px", "pixel_widths", "pixel_samples", "unet_batch"), ("pictures",)),
)


def keys(recipe: Recipe, samples: int, start: Path | None = None) -> dict[str, str]:
    """Return {stage: hash of its settings, of the model that it begins with and of the stages before it}."""
    out, before = {}, weights_hash(start) if start else ""
    for stage in STAGES:
        parts = [stage.name, recipe.digest(*stage.fields), before, *(out[n] for n in stage.needs)]
        if stage.name == "unet":
            parts.append(str(samples))
        out[stage.name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return out


def drop_foreign_state(work: Path, name: str, key: str) -> None:
    """Remove a stage's half-trained state when it was made with other settings than those of `key`."""
    mark = work / "keys" / name
    mark.parent.mkdir(exist_ok=True)
    if mark.exists() and mark.read_text(encoding="utf-8") != key:
        (work / name / "state.safetensors").unlink(missing_ok=True)
    mark.write_text(key, encoding="utf-8")


def build(bench: Bench, out: Path, until: str | None = None) -> dict:
    """Run every stage that is not done, up to `until`, and assemble `out`; returns the figures of all stages."""
    bench.work.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        with (bench.work / "log.txt").open("a", encoding="utf-8") as log:
            log.write(text + "\n")
        bench.progress(text)

    at = replace(bench, progress=say)
    manifest_file = bench.work / "manifest.json"
    manifest = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
    wanted = keys(bench.recipe, bench.samples, bench.start)
    for stage in STAGES:
        done = manifest.get(stage.name, {})
        if done.get("key") != wanted[stage.name]:
            say(f"{stage.name}: started")
            drop_foreign_state(bench.work, stage.name, keys(bench.recipe, 0, bench.start)[stage.name])
            figures = stage.run(at)
            manifest[stage.name] = {"key": wanted[stage.name], "figures": figures}
            write_json(manifest_file, manifest)
            say(f"{stage.name}: done {json.dumps(figures)}")
        if stage.name == until:
            return {name: entry["figures"] for name, entry in manifest.items()}
    from studio.starter.assemble import assemble

    figures = {name: entry["figures"] for name, entry in manifest.items()}
    figures["assemble"] = assemble(bench, Path(out), figures)
    return figures


def best_device() -> str:
    """The device to train on where none was named: cuda, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description="Build the embedded base model.")
    parser.add_argument("--work", type=Path, required=True, help="folder of the intermediate files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--samples", type=int, default=400_000, help="UNet training samples in all")
    parser.add_argument("--device", help="cuda or cpu; default: cuda when there is one")
    parser.add_argument("--start", type=Path, help="a finished model whose networks are trained further")
    parser.add_argument("--until", choices=[s.name for s in STAGES], help="stop after this stage")
    a = parser.parse_args()
    say = partial(print, flush=True)
    build(Bench(a.work, Recipe(), a.samples, a.device or best_device(), say, a.start), a.out, a.until)


if __name__ == "__main__":
    main()
