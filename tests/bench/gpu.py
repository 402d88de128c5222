"""LoRA steps on a GPU in the real sizes of base models, by the studio's own loop: steps per second, share of the FLOP limit, memory.

Weights are random, latents and text embeddings made up, as they come from the cache; rank 16 on the attention layers, bf16,
averaging, clipping and Min-SNR as by default. Ways: launched (kernel by kernel), recorded (CUDA graphs), compiled (recorded, its
blocks compiled first), grouped and grouped-compiled (the same with the LoRA layers of one input computed together: grouped.py, a
candidate that the studio does not have). The limit is what one step's operations, counted by torch on that very step, take at the
rate of a large matrix product on the same GPU.

    python tests/bench/gpu.py [--cases sdxl-1024-b1,flux-512-b1] [--ways launched,recorded] [--steps N] [--seconds N] [--out FILE]
"""

import argparse
import gc
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import num_parameters
from grouped import GroupedSteps, gradient_error

from studio import registry
from studio.encode.build import Encoded, Item
from studio.families.base import Facts, Parts
from studio.methods import several
from studio.spec import RunSpec
from studio.train.loop import Training, train
from tests.fixtures.runs import NoHooks

PICTURES = 8
WAYS = ("launched", "recorded", "compiled", "grouped", "grouped-compiled")
FLUX_TOKENS = 512
SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
    "sample_size": 128, "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": 2048,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True,
}  # fmt: skip
TINY = {"block_out_channels": (32, 64), "cross_attention_dim": 16, "norm_num_groups": 8, "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
FLUX = {"guidance_embeds": True}  # else diffusers' defaults: 19 double and 38 single blocks, 24 heads of 128


@dataclass(frozen=True)
class Case:
    """A base in its real shape, a picture size and a micro-batch."""

    family: str
    px: int
    batch: int
    config: dict[str, Any]
    cond: dict[str, tuple[int, ...]]
    channels: int = 4


CASES = {
    "tiny": Case("sd", 64, 2, TINY, {"embeds": (7, 16)}),  # for trying this out on a CPU
    "sd15-512-b1": Case("sd", 512, 1, SD15, {"embeds": (77, 768)}),
    "sd15-512-b4": Case("sd", 512, 4, SD15, {"embeds": (77, 768)}),
    "sdxl-1024-b1": Case("sdxl", 1024, 1, SDXL, {"embeds": (77, 2048), "pooled": (1280,)}),
    "sdxl-1024-b4": Case("sdxl", 1024, 4, SDXL, {"embeds": (77, 2048), "pooled": (1280,)}),
    "flux-512-b1": Case("flux", 512, 1, FLUX, {"embeds": (FLUX_TOKENS, 4096), "pooled": (768,)}, 16),
    "flux-1024-b1": Case("flux", 1024, 1, FLUX, {"embeds": (FLUX_TOKENS, 4096), "pooled": (768,)}, 16),
}


class Made:
    """A cache whose entries are made up: the latents of pictures, and their captions' embeddings."""

    def __init__(self, case: Case) -> None:
        import torch

        rng, side = torch.Generator().manual_seed(0), case.px // 8
        shape = (case.channels, side, side)
        self._entries = {f"z{i}": {"mean": torch.randn(shape, generator=rng), "std": torch.ones(shape)} for i in range(PICTURES)}
        told = {f"c{i}": {n: torch.randn(s, generator=rng).bfloat16() for n, s in case.cond.items()} for i in range(PICTURES)}
        self._entries |= told

    def read(self, key: str) -> dict[str, Any]:
        """An entry."""
        return self._entries[key]


def build(case: Case, device: Any) -> Parts:
    """The denoiser with random weights, made on the device in bf16, and what the loop asks of its base."""
    import torch
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, UNet2DConditionModel

    is_flow = case.family == "flux"
    with torch.device("meta"):
        module = (FluxTransformer2DModel if is_flow else UNet2DConditionModel)(**case.config)
    module = module.to_empty(device=device).bfloat16()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.normal_(0, 0.02) if p.ndim > 1 else p.fill_(0.0 if name.endswith("bias") else 1.0)
    module.requires_grad_(False).eval()
    if is_flow:
        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    else:
        scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    facts = Facts(case.px, 16, 8, case.channels, "flow" if is_flow else "epsilon", 1000)
    name = registry.family(case.family).card.denoiser
    return Parts({name: module}, {}, scheduler, facts, device, torch.bfloat16, Path("random"), {"patch": 2, "zeros_for_empty": True})


def training(case: Case, parts: Parts, way: str, steps: int) -> Training:
    """A run of the loop on made-up pictures."""
    family = registry.family(case.family)
    values = {
        "dataset": "made", "methods": [{"kind": "lora", "rank": 16, "targets": "attention"}], "base": {"source": "random"},
        "train": {"steps": steps, "batch_size": case.batch, "resume_every": 10**6, "early_stop": False, "compile": "compiled" in way},
        "data": {"caption_dropout": 0.0},
    }  # fmt: skip
    spec, size = RunSpec.model_validate(values), (case.px, case.px)
    geometry = ((case.px, case.px, 0, 0, case.px, case.px),)
    items = [Item(f"{i}.png", "train", size, (f"z{i}",), geometry, f"picture {i}", f"c{i}") for i in range(PICTURES)]
    encoded = Encoded(items, "c0", Made(case), 0, 0, [])
    adapter = several.attach(parts, spec.methods, family.card, 0)
    run = Training(spec, family, parts, adapter, encoded, Path("unwritten"), "bf16", record=way != "launched")
    if way.startswith("grouped"):
        run.recorded = GroupedSteps(run, compiled="compiled" in way)
    return run


def count_tflop(run: Training) -> float:
    """The operations of one step's forward and backward pass, in units of 1e12."""
    from torch.utils.flop_counter import FlopCounterMode

    from studio.train.objective import batch_loss

    with FlopCounterMode(display=False) as counter, run.accelerator.autocast():
        batch_loss(run.family, run.parts, run.draw(0), 5.0, 1).backward()
    run.optimizer.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 1e12


def matmul_tflop_per_s(device: Any, size: int = 8192, repeats: int = 20) -> float:
    """The rate of a large bf16 matrix product of random numbers."""
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    _wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        a @ b
    _wait(device)
    return repeats * 2 * size**3 / (time.perf_counter() - began) / 1e12


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


class Times(NoHooks):
    """Hooks that note when each step ended; a step's loss is read, so that it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def stop_requested(self) -> bool:
        self.at.append(time.perf_counter())
        return False


def measure(case: Case, parts: Parts, way: str, steps: int, warm_up: int = 4) -> dict[str, Any]:
    """Figures of one way."""
    import torch

    device = parts.device
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run, hooks, said = training(case, parts, way, steps + warm_up), Times(), []
    run.save_resume_point = lambda: None  # nothing is written
    error = {"gradient_error": gradient_error(run)} if way == "grouped" else {}
    began = time.perf_counter()
    try:
        train(run, hooks, lambda kind, **values: said.append(values.get("message")) if kind == "warning" else None)
        _wait(device)
        seconds = sorted(b - a for a, b in zip(hooks.at[warm_up - 1 :], hooks.at[warm_up:], strict=False))
        step = seconds[len(seconds) // 2]
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        told = {"way": way, "ms": step * 1e3, "steps_per_s": 1 / step, "peak_gib": peak, "first_steps_s": hooks.at[warm_up - 1] - began}
        return told | error | ({"said": said} if said else {})
    finally:
        run.adapter.detach()


def main() -> None:
    import torch

    from studio.device import pick_device

    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--cases", default=",".join(CASES))
    ask.add_argument("--ways", default=",".join(WAYS))
    ask.add_argument("--steps", type=int, default=20)
    ask.add_argument("--seconds", type=float, default=1e9, help="begin nothing more after these")
    ask.add_argument("--out", type=Path)
    asked, device, began = ask.parse_args(), pick_device(), time.monotonic()
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    limit, found, parts, at = matmul_tflop_per_s(device, *([] if device.type == "cuda" else [512])), [], None, None
    print(json.dumps({"device": name, "torch": torch.__version__, "matmul_tflop_per_s": round(limit, 1)}), flush=True)
    for key in asked.cases.split(","):
        case = CASES[key]
        if at != case.config:
            parts = None
            gc.collect()
            parts, at = build(case, device), case.config
        counted = training(case, parts, "launched", 1)
        tflop = count_tflop(counted)
        counted.adapter.detach()
        for way in asked.ways.split(","):
            if time.monotonic() - began > asked.seconds:
                continue
            row = {"case": key, "parameters": num_parameters(next(iter(parts.modules.values()))), "tflop": tflop}
            row |= measure(case, parts, way, asked.steps)
            row["share"] = tflop * row["steps_per_s"] / limit
            found.append(row)
            print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps({"device": name, "matmul_tflop_per_s": limit, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
