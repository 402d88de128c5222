"""Does attention at 16x16 help the embedded generator, and does a text tower that learns with it?

Three trainings from the same weights on the same draws: attention up to 16x16 with a frozen text tower (as shipped), attention up
to 8x8, and 16x16 with the text tower learning too (a tenth of the learning rate). Blocks that a model lacks begin as nothing.
The measure is the squared error of v over fixed draws that no training saw.

    python tests/bench/generator_choices.py --work WORK --start MODEL [--samples N]    # WORK: of a build that has made its latents
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import num_threads, report
from safetensors.torch import load_file
from transformers import CLIPTextModel

from studio.starter import unet as U
from studio.starter.recipe import Recipe

SEED, NUM_HELD_BATCHES, WARMUP = 77, 12, 20
CHOICES = {"16_frozen": (16, False), "8_frozen": (8, False), "16_text_learns": (16, True)}


def train(work: Path, start: Path, samples: int, side: int, text_learns: bool) -> dict[str, Any]:
    """Train one variant; v-MSE before and after, and seconds per step."""
    torch.manual_seed(0)
    recipe, scheduler = replace(Recipe(), unet_attention_side=side), U.make_scheduler()
    tensors = load_file(work / "latents.safetensors")
    rows = torch.arange(len(tensors["tokens"]))  # a batch names its captions; the tower reads them, or their cached features are looked up
    cache = U.Cache(tensors["latents"], tensors["chances"], tensors["captions"], rows)
    unet = U.make_unet(recipe)
    U.begin(unet, start)
    text = CLIPTextModel.from_pretrained(start / "text_encoder", dtype=torch.float32)
    groups = [{"params": list(unet.parameters()), "lr": 1e-3}]
    if text_learns:
        groups.append({"params": list(text.parameters()), "lr": 1e-4})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)
    peaks = [group["lr"] for group in groups]

    def losses(step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        z, row, noise, t = U.draw_batch(cache, recipe.unet_batch, step, seed)
        embeds = text(tensors["tokens"][row]).last_hidden_state if text_learns else tensors["embeds"][row]
        return U.v_losses(unet, scheduler, (z, embeds, noise, t)), t

    @torch.no_grad()
    def v_mse() -> float:
        return round(float(torch.stack([losses(n, 99)[0].mean() for n in range(NUM_HELD_BATCHES)]).mean()), 4)

    steps, before, seconds = samples // recipe.unet_batch, v_mse(), []
    for step in range(steps):
        began = time.perf_counter()
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):  # up, then down to nothing: the end is what is compared
            group["lr"] = peak * min(1.0, (step + 1) / WARMUP, 2 * (steps - step) / steps)
        loss, t = losses(step, SEED)
        (loss * U.min_snr_weights(scheduler, t)).mean().backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    return {"before": before, "after": v_mse(), "step_s": round(sorted(seconds)[steps // 2], 3)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--start", type=Path, required=True)
    options.add_argument("--samples", type=int, default=12_800)
    a = options.parse_args()
    figures = {name: train(a.work, a.start, a.samples, *choice) for name, choice in CHOICES.items()}
    report(what="generator_choices", samples=a.samples, threads=num_threads(), **figures)


if __name__ == "__main__":
    main()
