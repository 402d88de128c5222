"""The numbers of the starter model in one place; tests build a tiny one by replacing fields."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Recipe:
    """Sizes and sample budgets of every stage. The UNet's budget is the build's `samples` argument."""

    size_px: int = 64
    seed: int = 0
    num_textures: int = 8000
    num_crops: int = 3000
    vocab_size: int = 4096
    token_length: int = 32
    text_width: int = 192
    vision_width: int = 96
    tower_layers: int = 2
    unet_widths: tuple[int, ...] = (32, 64, 128, 192)
    unet_attention_side: int = 16  # the widest latent that attention looks at
    vae_widths: tuple[int, ...] = (16, 32, 64)
    vae_samples: int = 144_000
    vae_batch: int = 32
    tower_samples: int = 90_000
    tower_batch: int = 128
    vision_samples: int = 260_000
    unet_batch: int = 64
    pixel_px: int = 32
    pixel_widths: tuple[int, ...] = (32, 64, 96, 128)
    pixel_samples: int = 300_000
    judge_samples: int = 60_000
    max_pictures: int | None = None  # tests: fewer pictures

    def digest(self, *fields: str) -> str:
        """Return a short hash of the named fields (all when none is named)."""
        chosen = {k: v for k, v in asdict(self).items() if not fields or k in fields}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
