"""Steps per second against a loop equal to the diffusers LoRA example (VAE and text encoder in the loop), same maths otherwise.

Batch 4, rank 8, attention targets, fp32, no clipping, no EMA in both; then ours with everything on.
    python tests/bench/training.py [rounds]
"""

import sys
import tempfile
import time
from pathlib import Path

from common import interleaved, report, small_sd

STEPS = 4
SETTINGS = ["train.batch_size=4", "method.rank=8", "method.targets=attention", "preview.every=0", "evaluate.num_timesteps=0", "data.crops=1"]
BARE = ["train.max_grad_norm=0", "train.ema_decay=0"]


def diffusers_loop(base: Path, data, spec):
    """One step of `train_text_to_image_lora.py`: decode, resize, VAE, text encoder, UNet, AdamW, `.item()`."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from peft import LoraConfig
    from PIL import Image

    from studio.encode.buckets import crops
    from studio.encode.build import pixels
    from studio.families import sd

    parts = sd.load(base, torch.float32, torch.device("cpu"))
    unet, vae, text, tokenizer = *(parts.modules[n] for n in ("unet", "vae", "text_encoder")), parts.tokenizers["tokenizer"]
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    layers = [p for p in unet.parameters() if p.requires_grad]
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(layers, lr=1e-4)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    unet.train()
    noise_scheduler = DDPMScheduler.from_config(parts.scheduler.config)
    rows, place = data.train_rows, 0

    def step():
        nonlocal place
        chosen = [rows[(place + i) % len(rows)] for i in range(4)]
        place += 4
        images = [Image.open(data.path(r)) for r in chosen]
        px = torch.stack([pixels(i, crops(i.size, (256, 256), 1, "")[0], False) for i in images])
        ids = tokenizer([data.caption(r) for r in chosen], padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
        latents = vae.encode(px).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        t = torch.randint(0, noise_scheduler.config.num_train_timesteps, (4,))
        prediction = unet(noise_scheduler.add_noise(latents, noise, t), t, text(ids)[0], return_dict=False)[0]
        loss = F.mse_loss(prediction.float(), noise.float(), reduction="mean")
        accelerator.gather(loss.repeat(4)).mean().item()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return lambda: [step() for _ in range(STEPS)]


def our_loop(base: Path, workspace, data, folder: Path, *settings: str):
    """The studio's own loop over STEPS steps; with events and snapshots where the settings ask for them."""
    import torch

    from studio.families import sd
    from studio.jobs.events import EventLog
    from studio.train.loop import train
    from tests.fixtures.runs import NoHooks, spec_for, training

    folder.mkdir()
    parts = sd.load(base, torch.float32, torch.device("cpu"))
    run = training(workspace, data, parts, spec_for(data, base, "train.steps=100000", *SETTINGS, *settings), folder)
    log = EventLog(folder / "events.jsonl")

    def some_steps():
        class Enough(NoHooks):
            def stop_requested(self):
                self.calls += 1
                return self.calls == STEPS

        run.save_resume_point, keep = (lambda: None), run.save_resume_point
        run.save_snapshot = lambda: None
        train(run, Enough(), log.emit)
        run.save_resume_point = keep

    return some_steps, run


def main(rounds: int) -> None:
    from studio.store import Workspace
    from tests.fixtures.runs import dataset

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        base, workspace = small_sd(root / "base"), Workspace.at(root / "workspace")
        from tests.fixtures import tiny

        original = tiny.images
        data = dataset_of(workspace, original, root)
        bare, run = our_loop(base, workspace, data, root / "bare", *BARE)
        full, full_run = our_loop(base, workspace, data, root / "full")
        seconds = interleaved({"diffusers": diffusers_loop(base, data, None), "ours": bare, "ours_all_on": full}, rounds)
        began = time.perf_counter()
        full_run.save_snapshot_cost = None
        from studio.train import checkpoint

        checkpoint.write_snapshot(root / "snap", 1, full_run.adapter.state(), full_run.average.tensors)
        snapshot = time.perf_counter() - began
        size = sum(p.numel() for p in run.parts.modules["unet"].parameters()) / 1e6
        report(
            what="training",
            unet_million=size,
            layers=run.adapter.num_layers,
            diffusers_steps_per_s=STEPS / seconds["diffusers"],
            ours_steps_per_s=STEPS / seconds["ours"],
            ratio=seconds["diffusers"] / seconds["ours"],
            all_on_steps_per_s=STEPS / seconds["ours_all_on"],
            all_on_ratio=seconds["diffusers"] / seconds["ours_all_on"],
            events_ema_clipping_share=seconds["ours_all_on"] / seconds["ours"] - 1,
            one_snapshot_s=snapshot,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
