"""The training step of the diffusers LoRA example (train_text_to_image_lora.py), to compare with: everything in the loop."""

from pathlib import Path
from typing import Any

from common import load

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class Example:
    """Trains a LoRA as the example does, over a folder of pictures with captions: decode, VAE, text encoder, UNet, AdamW, `.item()`.

    Clipping, trackers and checkpoints are left out.
    """

    def __init__(self, base: Path, folder: Path, batch_size: int, rank: int, lr: float) -> None:
        import torch
        from accelerate import Accelerator
        from diffusers import DDPMScheduler
        from peft import LoraConfig

        parts = load(base)
        self.vae, self.text_encoder, self.tokenizer = parts.modules["vae"], parts.modules["text_encoder"], parts.tokenizers["tokenizer"]
        self.size_px, self.scheduler = parts.facts.size_px, DDPMScheduler.from_config(parts.scheduler.config)
        unet = parts.modules["unet"].train()
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))
        trained = [p for p in unet.parameters() if p.requires_grad]
        self.num_trained = sum(p.numel() for p in trained)
        optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01)
        files = sorted(folder.glob("*.png"))
        loader = torch.utils.data.DataLoader(files, batch_size, shuffle=True, drop_last=True, collate_fn=self._read)
        self.accelerator = Accelerator(cpu=True)
        self.unet, self.optimizer, self.loader = self.accelerator.prepare(unet, optimizer, loader)
        self.batches = iter(self.loader)

    def _read(self, files: list[Path]) -> dict[str, Any]:
        """Pictures px [B, 3, H, W] in [-1, 1], decoded and resized, and the tokens of their captions."""
        import numpy
        import torch
        from PIL import Image

        size = (self.size_px, self.size_px)
        images = [numpy.asarray(Image.open(file).convert("RGB").resize(size, Image.Resampling.BILINEAR)) for file in files]
        px = torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1
        captions = [file.with_suffix(".txt").read_text("utf-8") for file in files]
        how = {"padding": "max_length", "max_length": self.tokenizer.model_max_length, "truncation": True, "return_tensors": "pt"}
        return {"px": px, "ids": self.tokenizer(captions, **how).input_ids}

    def train(self, steps: int) -> None:
        """So many optimizer steps."""
        for _ in range(steps):
            batch = next(self.batches, None)
            if batch is None:
                self.batches = iter(self.loader)
                batch = next(self.batches)
            self._step(batch)

    def _step(self, batch: dict[str, Any]) -> None:
        import torch
        import torch.nn.functional as F

        with self.accelerator.accumulate(self.unet):
            z = self.vae.encode(batch["px"]).latent_dist.sample() * self.vae.config.scaling_factor
            eps = torch.randn_like(z)
            t = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(z),))
            embeds = self.text_encoder(batch["ids"])[0]
            prediction = self.unet(self.scheduler.add_noise(z, eps, t), t, embeds).sample
            loss = F.mse_loss(prediction.float(), eps.float())
            self.accelerator.gather(loss.repeat(len(z))).mean().item()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
