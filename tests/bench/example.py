"""The steps of the diffusers examples train_text_to_image_lora.py and textual_inversion.py, to compare with: everything in the loop."""

from pathlib import Path
from typing import Any

from common import load

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class Pictures:
    """Batches of a folder of pictures with captions, decoded and resized in every step."""

    def __init__(self, parts: Any, folder: Path, batch_size: int, accelerator: Any) -> None:
        import torch

        self.size_px, self.tokenizer = parts.facts.size_px, parts.tokenizers["tokenizer"]
        files = sorted(folder.glob("*.png"))
        loader = torch.utils.data.DataLoader(files, batch_size, shuffle=True, drop_last=True, collate_fn=self._read)
        self.loader = accelerator.prepare(loader)
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

    def next(self) -> dict[str, Any]:
        """The next batch, from the beginning again after the last."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return batch


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
        self.vae, self.text_encoder = parts.modules["vae"], parts.modules["text_encoder"]
        self.scheduler = DDPMScheduler.from_config(parts.scheduler.config)
        unet = parts.modules["unet"].train()
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))
        trained = [p for p in unet.parameters() if p.requires_grad]
        self.num_trained = sum(p.numel() for p in trained)
        optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01)
        self.accelerator = Accelerator(cpu=True)
        self.unet, self.optimizer = self.accelerator.prepare(unet, optimizer)
        self.pictures = Pictures(parts, folder, batch_size, self.accelerator)

    def train(self, steps: int) -> None:
        """So many optimizer steps."""
        for _ in range(steps):
            self._step(self.pictures.next())

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


class WordExample:
    """Learns a word as the example does: the whole table of embeddings in the optimizer, all rows but the new ones copied back."""

    def __init__(self, base: Path, folder: Path, batch_size: int, num_vectors: int, lr: float) -> None:
        import torch
        from accelerate import Accelerator
        from diffusers import DDPMScheduler

        parts = load(base)
        self.vae, self.unet, text_encoder = (parts.modules[name] for name in ("vae", "unet", "text_encoder"))
        self.scheduler = DDPMScheduler.from_config(parts.scheduler.config)
        tokenizer = parts.tokenizers["tokenizer"]
        words = ["<thing>", *(f"<thing>_{n}" for n in range(1, num_vectors))]
        tokenizer.add_tokens(words)
        self.phrase, ids = " ".join(words), tokenizer.convert_tokens_to_ids(words)
        text_encoder.resize_token_embeddings(len(tokenizer))
        table = text_encoder.get_input_embeddings()
        table.weight.requires_grad_(True)
        with torch.no_grad():
            table.weight[ids] = table.weight[0].clone()
        self.original, self.others = table.weight.detach().clone(), torch.ones(len(tokenizer), dtype=torch.bool)
        self.others[ids] = False
        optimizer = torch.optim.AdamW(table.parameters(), lr=lr, weight_decay=0.01)
        self.accelerator = Accelerator(cpu=True)
        self.text_encoder, self.optimizer = self.accelerator.prepare(text_encoder.train(), optimizer)
        self.pictures = Pictures(parts, folder, batch_size, self.accelerator)

    def train(self, steps: int) -> None:
        """So many optimizer steps."""
        for _ in range(steps):
            self._step(self.pictures.next())

    def _step(self, batch: dict[str, Any]) -> None:
        import torch
        import torch.nn.functional as F

        with self.accelerator.accumulate(self.text_encoder):
            z = self.vae.encode(batch["px"]).latent_dist.sample().detach() * self.vae.config.scaling_factor
            eps = torch.randn_like(z)
            t = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(z),))
            tokenizer = self.pictures.tokenizer
            ids = tokenizer([f"a photo of {self.phrase}"] * len(z), padding="max_length", truncation=True, return_tensors="pt").input_ids
            embeds = self.text_encoder(ids)[0]
            prediction = self.unet(self.scheduler.add_noise(z, eps, t), t, embeds).sample
            loss = F.mse_loss(prediction.float(), eps.float())
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            with torch.no_grad():
                self.accelerator.unwrap_model(self.text_encoder).get_input_embeddings().weight[self.others] = self.original[self.others]
        loss.detach().item()
