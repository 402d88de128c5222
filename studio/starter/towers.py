"""The contrastive pair: a CLIP text tower and a small CLIP vision tower, trained together on the icons.

The text tower then conditions the generator, frozen, so that its embeddings can be cached.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from studio.starter import pictures as P
from studio.starter.captions import BACKGROUNDS, captions
from studio.starter.loop import Plan, fit, generator_at
from studio.starter.recipe import Recipe

PROJECTION_DIM = 128
WORDINGS = (0, 0, 0, 2, 2, 1)  # the plain caption is rare here: it fits the same concept in every style
CANVAS_PX = 80  # pictures are cut to recipe.size_px from this canvas, at random places


def make_text(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Return an untrained text tower."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            intermediate_size=recipe.text_width * 3,
            num_hidden_layers=recipe.tower_layers,
            num_attention_heads=recipe.text_width // 32,
            max_position_embeddings=recipe.token_length,
            projection_dim=PROJECTION_DIM,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_vision(recipe: Recipe) -> CLIPVisionModelWithProjection:
    """Return an untrained vision tower: 8 px patches."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=recipe.vision_width,
            intermediate_size=recipe.vision_width * 3,
            num_hidden_layers=recipe.tower_layers * 2,
            num_attention_heads=recipe.vision_width // 32,
            image_size=recipe.size_px,
            patch_size=8,
            projection_dim=PROJECTION_DIM,
        )
    )


class Pair(nn.Module):
    """Text tower, vision tower and the learned temperature (Radford et al. 2021)."""

    def __init__(self, text: nn.Module, vision: nn.Module):
        super().__init__()
        self.text, self.vision = text, vision
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, tokens: torch.Tensor, px: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, B] of captions (rows) and pictures (columns)."""
        text = F.normalize(self.text(input_ids=tokens).text_embeds, dim=-1)
        image = F.normalize(self.vision(pixel_values=px).image_embeds, dim=-1)
        return self.log_scale.exp().clamp(max=50) * text @ image.T


def tokenize(tokenizer: CLIPTokenizer, texts: list[str], padding: str = "max_length") -> torch.Tensor:
    """Return token ids [B, token_length], or as long as the longest text (equal: the tower is causal)."""
    return tokenizer(texts, padding=padding, truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").input_ids


def canvas_rgba(rgba: np.ndarray) -> torch.Tensor:
    """Resize pictures [N, 128, 128, 4] to CANVAS_PX, colours premultiplied so that edges stay clean: uint8."""
    from PIL import Image

    out = [Image.fromarray(p).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BOX) for p in rgba]
    return torch.from_numpy(np.stack([np.asarray(p) for p in out]))


def augment(rgba: torch.Tensor, grounds: torch.Tensor, size_px: int, g: torch.Generator) -> torch.Tensor:
    """Composite uint8 [B, C, C, 4] over colours [B, 3] and resample it moved and mirrored: [B, 3, S, S] in [-1, 1]."""
    batch = len(rgba)
    alpha = rgba[..., 3:].float() / 255
    px = (rgba[..., :3].float() * alpha + grounds[:, None, None].float() * (1 - alpha)).permute(0, 3, 1, 2)
    scale = 0.9 + 0.3 * torch.rand(batch, generator=g)
    shift = 0.2 * torch.rand(batch, 2, generator=g) - 0.1
    mirror = 1 - 2 * (torch.rand(batch, generator=g) < 0.5).float()
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
    grid = F.affine_grid(theta, (batch, 3, size_px, size_px), align_corners=False)
    return F.grid_sample(px, grid, padding_mode="border", align_corners=False) / 127.5 - 1


def train_towers(
    rgba: np.ndarray,
    icons: list[P.Icon],
    recipe: Recipe,
    folder: Path,
    device: str,
    progress: Callable[[str], None],
) -> Pair:
    """Train both towers on the given icons (training styles only); half of each batch are the concepts."""
    torch.manual_seed(recipe.seed)
    tokenizer = CLIPTokenizer.from_pretrained(folder.parent / "tokenizer")
    pair = Pair(make_text(recipe, tokenizer), make_vision(recipe)).to(device)
    steps = recipe.tower_samples // recipe.tower_batch
    plan = Plan(steps, recipe.tower_batch, 1e-3, hold=0.3, weight_decay=0.1, ema_decay=0.998, seed=recipe.seed)
    pool = canvas_rgba(rgba)
    weights = torch.tensor([1.0 / sum(i.concept for i in icons) if i.concept else 0.0 for i in icons])
    weights = weights + torch.full_like(weights, 1.0 / len(icons))
    names, colours = list(BACKGROUNDS), torch.tensor(list(BACKGROUNDS.values()))

    def loss_at(step: int) -> torch.Tensor:
        g = generator_at(plan.seed, step)
        rows = torch.multinomial(weights, min(plan.batch, len(icons)), generator=g)
        ground = torch.randint(len(names), (len(rows),), generator=g) * (torch.rand(len(rows), generator=g) < 0.5)
        wording = torch.tensor(WORDINGS)[torch.randint(len(WORDINGS), (len(rows),), generator=g)]
        texts = [
            captions(icons[r].name, icons[r].style, names[b])[w]
            for r, b, w in zip(rows.tolist(), ground.tolist(), wording.tolist(), strict=True)
        ]
        px = augment(pool[rows], colours[ground], recipe.size_px, g)
        logits = pair(tokenize(tokenizer, texts, "longest").to(device), px.to(device))
        wanted = torch.arange(len(rows), device=device)
        return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))

    average = fit(pair, loss_at, plan, folder / "state.safetensors", progress)
    pair.load_state_dict(average, strict=False)
    return pair.eval()


def text_trunk(text: CLIPTextModelWithProjection) -> CLIPTextModel:
    """Return the tower without its projection, in the layout that Stable Diffusion pipelines load."""
    trunk = CLIPTextModel(text.config)
    own = {k.removeprefix("text_model."): v for k, v in text.state_dict().items() if "text_projection" not in k}
    prefix = "text_model." if next(iter(trunk.state_dict())).startswith("text_model.") else ""
    trunk.load_state_dict({prefix + k: v for k, v in own.items()})
    return trunk.eval()


@torch.no_grad()
def rank_concepts(pair: Pair, tokenizer: CLIPTokenizer, px: torch.Tensor, wanted: list[str], names: list[str]) -> dict:
    """Rank all names for each picture [N, 3, S, S]: how often its own is first, and among the first five."""
    device = pair.log_scale.device
    tokens = tokenize(tokenizer, [captions(n, "")[1] for n in names]).to(device)
    text = F.normalize(pair.text(input_ids=tokens).text_embeds, dim=-1)
    image = torch.cat([F.normalize(pair.vision(pixel_values=b.to(device)).image_embeds, dim=-1) for b in px.split(128)])
    order = (image @ text.T).argsort(-1, descending=True).cpu()
    place = (order == torch.tensor([names.index(w) for w in wanted])[:, None]).float().argmax(-1)
    return {"top1": round(float((place < 1).float().mean()), 3), "top5": round(float((place < 5).float().mean()), 3)}
