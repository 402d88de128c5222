"""The contrastive pair: a CLIP text tower and a small CLIP vision tower, trained together on the icons.

The text tower then conditions the generator, frozen, so that its embeddings can be cached.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
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
from studio.starter.bench import Bench
from studio.starter.captions import BACKGROUNDS, captions
from studio.starter.distort import canvas_rgba, flatten, resample
from studio.starter.loop import Plan, fit, generator_at, load_weights
from studio.starter.recipe import Recipe

PROJECTION_DIM = 128
WORDINGS = (0, 0, 0, 2, 2, 1, 3)  # the plain caption and the tags (3) are rare: they fit the same concept in every style


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


def train_towers(rgba: np.ndarray, icons: list[P.Icon], tags: dict[str, list[str]], folder: Path, bench: Bench) -> Pair:
    """Train both towers on the given icons (training styles only) and the tags of their names; half of each batch are the concepts."""
    recipe, device = bench.recipe, bench.device
    torch.manual_seed(recipe.seed)
    tokenizer = CLIPTokenizer.from_pretrained(bench.work / "tokenizer")
    pair = Pair(make_text(recipe, tokenizer), make_vision(recipe))
    if bench.start:
        begin(pair, bench.start)
    pair.to(device)
    steps, lr = recipe.tower_samples // recipe.tower_batch, 2e-4 if bench.start else 1e-3
    plan = Plan(steps, recipe.tower_batch, lr, hold=0.3, weight_decay=0.1, ema_decay=0.998, seed=recipe.seed)
    pool = canvas_rgba(rgba)
    weights = torch.tensor([1.0 / sum(i.concept for i in icons) if i.concept else 0.0 for i in icons])
    weights = weights + torch.full_like(weights, 1.0 / len(icons))
    names, colours = list(BACKGROUNDS), torch.tensor(list(BACKGROUNDS.values()))

    def loss_at(step: int) -> torch.Tensor:
        g = generator_at(plan.seed, step)
        rows = torch.multinomial(weights, min(plan.batch, len(icons)), generator=g)
        ground = torch.randint(len(names), (len(rows),), generator=g) * (torch.rand(len(rows), generator=g) < 0.5)
        wording = torch.tensor(WORDINGS)[torch.randint(len(WORDINGS), (len(rows),), generator=g)].tolist()
        texts = []
        for row, back, which in zip(rows.tolist(), ground.tolist(), wording, strict=True):
            icon = icons[row]
            words = captions(icon.name, icon.style, names[back])
            texts.append(words[which] if which < len(words) else tag_text(icon.name, tags.get(icon.name, []), g))
        px = resample(flatten(pool[rows], colours[ground]), recipe.size_px, g) * 2 - 1
        logits = pair(tokenize(tokenizer, texts, "longest").to(device), px.to(device))
        wanted = torch.arange(len(rows), device=device)
        return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))

    average = fit(pair, loss_at, plan, folder / "state.safetensors", bench.progress)
    pair.load_state_dict(average, strict=False)
    return pair.eval()


def tag_text(name: str, tags: list[str], g: torch.Generator) -> str:
    """Return up to three tags of a name in random order, "fruit, red, ripe"; the name where it has none."""
    order = torch.randperm(len(tags), generator=g)[:3].tolist()
    return ", ".join(tags[n] for n in order) or name


def begin(pair: Pair, model: Path) -> None:
    """Begin with the towers of a finished model folder."""
    projection = load_file(model / "vision_encoder" / "text_projection.safetensors")["text_projection.weight"]
    pair.text.text_projection.weight.data.copy_(projection.float())
    trunk = load_file(model / "text_encoder" / "model.safetensors")
    prefix = "text_model." if not next(iter(trunk)).startswith("text_model.") else ""
    left = pair.text.load_state_dict({prefix + k: v.float() for k, v in trunk.items()}, strict=False)
    assert not left.unexpected_keys and left.missing_keys in ([], ["text_projection.weight"]), left
    load_weights(pair.vision, model / "vision_encoder" / "model.safetensors")


def text_trunk(text: CLIPTextModelWithProjection) -> CLIPTextModel:
    """Return the tower without its projection, in the layout that Stable Diffusion pipelines load."""
    trunk = CLIPTextModel(text.config)
    own = {k.removeprefix("text_model."): v for k, v in text.state_dict().items() if "text_projection" not in k}
    prefix = "text_model." if next(iter(trunk.state_dict())).startswith("text_model.") else ""
    trunk.load_state_dict({prefix + k: v for k, v in own.items()})
    return trunk.eval()
