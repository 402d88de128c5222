"""Training steps per second against a loop that does what the diffusers LoRA example does.

Compared: the studio's loop (latents and text cached, only the denoiser in it) and the body of train_text_to_image_lora.py
(decode, VAE and text encoder in every step, AdamW through accelerate, `.item()`); batch 4, rank 8 on attention, fp32, averaging
(EMA) and clipping off in both. Beside it the studio with events, averaging, clipping, snapshots and resume points as they are
by default, and what each of these costs as a share of a step.

    python tests/bench/training.py [--rounds N]
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Timing, interleaved, load, num_parameters, parser, pictures, report, small_sd, spec_with

from studio.encode.build import pixels
from studio.encode.buckets import crops
from studio.evaluate.heldout import HeldOut
from studio.jobs.events import EventLog
from studio.sample.pair import Sampling, Shot, draw
from studio.store import Workspace
from studio.train.loop import Training, train
from tests.fixtures.runs import NoHooks, dataset, training

TARGET_RATIO, TARGET_SHARE = 1.4, 0.03
STEPS = 4  # per round
BATCH, RANK, LR = 4, 8, 1e-4
EQUAL = [f"train.batch_size={BATCH}", f"method.rank={RANK}", f"method.lr={LR}", "method.targets=attention"]
UNWRITTEN = ["train.resume_every=1000000", "train.snapshot_every=1000000"]  # writes are timed by themselves
BARE = ["train.max_grad_norm=0", "train.ema_decay=0", "train.min_snr_gamma=0", "data.caption_dropout=0"]
SMALL_REPEATS = 20  # of what takes about a millisecond


class Paused(Exception):
    """A round of steps is done."""


class Round(NoHooks):
    """Hooks that pause the loop after STEPS steps; it goes on from there when called again."""

    def stop_requested(self) -> bool:
        self.calls += 1
        if self.calls == STEPS:
            raise Paused
        return False


def studio_steps(run: Training, emit: Callable[..., None]) -> None:
    """STEPS steps of the studio's loop."""
    try:
        train(run, Round(), emit)
    except Paused:
        return
    raise AssertionError("the run ended before the benchmark")


class DiffusersLoop:
    """The example's training step over a folder of pictures with captions."""

    def __init__(self, base: Path, folder: Path) -> None:
        import torch
        from accelerate import Accelerator
        from diffusers import DDPMScheduler
        from peft import LoraConfig

        self.parts = load(base)
        unet = self.parts.modules["unet"].train()
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        layers = [p for p in unet.parameters() if p.requires_grad]
        self.noise_scheduler = DDPMScheduler.from_config(self.parts.scheduler.config)
        self.accelerator = Accelerator(cpu=True)
        files = sorted(folder.glob("*.png"))
        loader = torch.utils.data.DataLoader(files, batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=self._read)
        optimizer = torch.optim.AdamW(layers, lr=LR, weight_decay=0.01)
        self.unet, self.optimizer, self.loader = self.accelerator.prepare(unet, optimizer, loader)
        self.batches = iter(self.loader)

    def _read(self, files: list[Path]) -> dict[str, Any]:
        """Decoded and resized pictures, and their tokens."""
        import torch
        from PIL import Image

        images = [Image.open(file) for file in files]
        px = torch.stack([pixels(image, crops(image.size, (256, 256), 1, "")[0], False) for image in images])
        captions = [file.with_suffix(".txt").read_text("utf-8") for file in files]
        tokens = self.parts.tokenizers["tokenizer"](captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        return {"px": px, "ids": tokens.input_ids}

    def _batch(self) -> dict[str, Any]:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return batch

    def steps(self) -> None:
        """STEPS steps."""
        for _ in range(STEPS):
            self._step(self._batch())

    def _step(self, batch: dict[str, Any]) -> None:
        import torch
        import torch.nn.functional as F

        vae, text_encoder = self.parts.modules["vae"], self.parts.modules["text_encoder"]
        with self.accelerator.accumulate(self.unet):
            z = vae.encode(batch["px"]).latent_dist.sample() * vae.config.scaling_factor
            eps = torch.randn_like(z)
            t = torch.randint(0, self.noise_scheduler.config.num_train_timesteps, (len(z),))
            z_t = self.noise_scheduler.add_noise(z, eps, t)
            embeds = text_encoder(batch["ids"], return_dict=False)[0]
            loss = F.mse_loss(self.unet(z_t, t, embeds, return_dict=False)[0].float(), eps.float())
            self.accelerator.gather(loss.repeat(BATCH)).mean().item()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()


def silent(kind: str, **values: Any) -> None:
    """Events off."""


def make_ways(base: Path, folder: Path, bare: Training, full: Training, log: EventLog) -> dict[str, Callable[[], object]]:
    """What is timed in turn; the full run writes its snapshot and resume point between rounds, each at another step."""
    import torch

    params = list(full.adapter.state().values())

    def emit() -> None:
        for _ in range(SMALL_REPEATS):
            log.emit("step", step=full.step, loss=0.123456789, grad_norm=0.0123456789, lr=LR, seconds=0.1234)
            log.flush()  # as in a run whose steps are longer than the log waits

    return {
        "diffusers": DiffusersLoop(base, folder).steps,
        "bare": lambda: studio_steps(bare, silent),
        "full": lambda: studio_steps(full, log.emit),
        "average": lambda: [full.average.update(full.step) for _ in range(SMALL_REPEATS)],
        "events": emit,
        "clipping": lambda: [torch.nn.utils.clip_grad_norm_(params, 1.0) for _ in range(SMALL_REPEATS)],
        "snapshot": full.save_snapshot,
        "resume_point": full.save_resume_point,
    }


def shares(timing: Timing, defaults: Any) -> dict[str, float]:
    """Seconds per step of events, averaging, snapshots and resume points at their default intervals, over those of a bare step."""
    step = timing.seconds("bare") / STEPS
    snapshot_every = defaults.train.steps / len(defaults.train.snapshot_steps)
    return {
        "events_share": timing.seconds("events") / SMALL_REPEATS / step,
        "average_share": timing.seconds("average") / SMALL_REPEATS / step,
        "snapshots_share": timing.seconds("snapshot") / snapshot_every / step,
        "resume_points_share": timing.seconds("resume_point") / defaults.train.resume_every / step,
    }


def evaluation_shares(run: Training, defaults: Any, step: float) -> dict[str, float]:
    """Held-out scores and previews at their default intervals, over a step of `step` seconds; not part of the target."""
    train_spec, preview = defaults.train, defaults.preview
    held_out = HeldOut(run.family, run.parts, run.encoded, defaults.evaluate.model_copy(update={"max_images": 1}))
    began = time.perf_counter()
    held_out.measure_base(run.adapter)
    per_picture = (time.perf_counter() - began) / 2  # one held-out picture and one of training
    num_pictures = 2 * min(defaults.evaluate.max_images, len(run.encoded.held_out))
    sampled = {"seed": preview.seed, "steps": preview.steps, "guidance": preview.guidance, "sampler": preview.sampler}
    shots = [Shot(sampling=Sampling(prompt=p, width=256, height=256, **sampled), strength=1.0) for p in preview.prompts]
    began = time.perf_counter()
    draw(run.family, run.parts, run.adapter, shots, batchable=False)
    drawing = time.perf_counter() - began
    return {
        "scores_share": per_picture * num_pictures * len(train_spec.snapshot_steps) / train_spec.steps / step,
        "previews_share": drawing * len(preview.at_steps) / train_spec.steps / step,
    }


def main() -> None:
    import torch

    rounds = parser(__doc__, 8).parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        base, folder, workspace = small_sd(root / "base"), pictures(root / "pictures"), Workspace.at(root / "workspace")
        data = dataset(workspace, root / "more", 40)
        defaults = spec_with(data, base, *EQUAL)
        bare = training(workspace, data, load(base), spec_with(data, base, *EQUAL, *UNWRITTEN, *BARE), root / "bare")
        full = training(workspace, data, load(base), spec_with(data, base, *EQUAL, *UNWRITTEN), root / "full")
        log = EventLog(root / "events.jsonl")
        timing = interleaved(make_ways(base, folder, bare, full, log), rounds)
        step = timing.seconds("bare") / STEPS
        parts = shares(timing, defaults)
        beside = evaluation_shares(full, defaults, step)
    ratios = [a / b for a, b in zip(timing.wall["full"], timing.wall["bare"], strict=True)]
    written = parts["snapshots_share"] + parts["resume_points_share"]
    all_on = timing.ratio("full", "bare") + written
    report(
        what="training",
        rounds=rounds,
        threads=torch.get_num_threads(),
        unet_parameters=num_parameters(load_count(bare)),
    )
