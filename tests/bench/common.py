"""What the benchmarks share: a narrow model of Stable Diffusion 1.5's topology, pictures, and interleaved timing."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio import quiet

quiet.silence()


def small_sd(folder: Path) -> Path:
    """Save the model the figures are about: UNet 32/64/128/128 (about 9 M parameters), 32x32 latents from 256 px, text 12x96."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from studio.store import ASSETS

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / "configs" / "sd15" / "tokenizer", local_files_only=True)
    marks = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    text = CLIPTextConfig(vocab_size=49408, hidden_size=96, intermediate_size=384, num_hidden_layers=12, num_attention_heads=4, **marks)
    levels = 4
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel(sample_size=32, block_out_channels=(32, 64, 128, 128), attention_head_dim=4, cross_attention_dim=96),
        vae=AutoencoderKL(
            block_out_channels=(16, 32, 64, 64),
            latent_channels=4,
            layers_per_block=2,
            norm_num_groups=16,
            sample_size=256,
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
        ),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way over rounds of A B C, A B C, …; one round before counts as warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(**figures: object) -> None:
    """One JSON line."""
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}))
