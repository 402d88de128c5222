"""The vision tower's second schooling: the text tower stands still (Zhai et al. 2022, LiT) and every name is a candidate.

Its texts are then computed once, so that each picture is told apart from all names, tags, styles and backgrounds at
every step; half of the pictures are shown in made-up styles, and textures and photographs teach it what it does not know.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTokenizer

from studio.starter import distort as D
from studio.starter import pictures as P
from studio.starter.bench import Bench
from studio.starter.captions import BACKGROUNDS, captions
from studio.starter.loop import Plan, fit, generator_at
from studio.starter.packages import TRAIN_STYLES
from studio.starter.towers import Pair, tokenize

OTHER = ("texture", "photograph")  # what is none of the names
NUM_OTHER = 24  # of them in each batch
MIN_NAMES_PER_TAG = 4
RESTYLED_SHARE = 0.6
CONCEPT_WEIGHT = 6.0  # how often a concept is drawn, against any other name: what people show is mostly well known


@dataclass(frozen=True)
class Words:
    """What pictures may be told apart by, in the order of the rows of the texts."""

    names: list[str]  # the last ones are OTHER
    tags: list[str]
    tagged: torch.Tensor  # [names, tags]: 1 where a name has a tag

    @classmethod
    def of(cls, icons: list[P.Icon], tags: dict[str, list[str]]) -> "Words":
        """Collect the names of `icons` and the tags that several of them share."""
        names = sorted({i.name for i in icons})
        count: dict[str, int] = {}
        for name in names:
            for tag in tags.get(name, []):
                count[tag] = count.get(tag, 0) + 1
        shared = sorted(tag for tag, num in count.items() if num >= MIN_NAMES_PER_TAG)
        tagged = torch.zeros(len(names) + len(OTHER), max(1, len(shared)))
        for row, name in enumerate(names):
            for tag in set(tags.get(name, [])) & set(shared):
                tagged[row, shared.index(tag)] = 1
        return cls([*names, *OTHER], shared or ["thing"], tagged)


@torch.no_grad()
def pool_texts(pair: Pair, tokenizer: CLIPTokenizer, words: Words, device: str) -> dict[str, torch.Tensor]:
    """Return what the standing text trunk says before its projection: names [N, D], tags, styled [N, S, D], grounded [N, G, D]."""
    texts = {"names": [captions(n, "")[1] for n in words.names], "tags": words.tags}
    texts["styled"] = [captions(n, s.word)[0] for n in words.names for s in TRAIN_STYLES]
    texts["grounded"] = [captions(n, "", ground)[1] for n in words.names for ground in BACKGROUNDS]
    out = {}
    for kind, rows in texts.items():
        parts = []
        for n in range(0, len(rows), 512):
            ids = tokenize(tokenizer, rows[n : n + 512], "longest").to(device)
            parts.append(pair.text.text_model(input_ids=ids).pooler_output)
        out[kind] = torch.cat(parts)
    width = out["names"].shape[1]
    return out | {kind: out[kind].view(len(words.names), -1, width) for kind in ("styled", "grounded")}


class Locked(nn.Module):
    """The vision tower, the text projection and the temperature: what still learns."""

    def __init__(self, pair: Pair):
        super().__init__()
        self.vision, self.projection, self.log_scale = pair.vision, pair.text.text_projection, pair.log_scale

    def similarity(self, image: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Scaled cosines of features [B, D] with texts [T, W] (-> [B, T]) or with own texts [B, T, W] (-> [B, T])."""
        text = F.normalize(self.projection(pooled), dim=-1)
        return self.log_scale.exp().clamp(max=50) * (image @ text.T if text.ndim == 2 else (text @ image[..., None])[..., 0])


def draw_pictures(pool: torch.Tensor, others: torch.Tensor, weights: torch.Tensor, size_px: int, batch: int, g: torch.Generator) -> tuple:
    """Return pictures [B, 3, S, S] in [-1, 1], rows of the icons [B - O], their background, and how many are restyled (the first ones)."""
    rows = torch.multinomial(weights, batch - NUM_OTHER, replacement=True, generator=g)
    num = int(len(rows) * RESTYLED_SHARE)
    colours = torch.tensor(list(BACKGROUNDS.values()))
    ground = torch.randint(len(colours), (len(rows),), generator=g) * (torch.rand(len(rows), generator=g) < 0.5)
    shade = colours[ground]
    loud = torch.rand(num, 1, generator=g) < 0.3
    shade[:num] = torch.where(loud, torch.randint(256, (num, 3), generator=g), shade[:num])
    px = D.flatten(pool[rows], shade)
    px[:num] = D.restyle(pool[rows[:num]], px[:num], g)
    icons = D.erase(D.resample(px, size_px, g, tilt=0.25) * 2 - 1, g)
    kind = torch.arange(NUM_OTHER) % len(OTHER)
    chosen = torch.stack([others[k][int(torch.randint(len(others[k]), (1,), generator=g))] for k in kind.tolist()])
    rest = D.recolour(chosen.permute(0, 3, 1, 2).float() / 255, g) * 2 - 1
    return torch.cat([icons, rest]), rows, ground, num


def train_vision(pair: Pair, rgba: np.ndarray, icons: list[P.Icon], words: Words, others: list[np.ndarray], bench: Bench) -> Pair:
    """Go on with the vision tower on `icons` and on `others`, uint8 RGB [M, S, S, 3] for each of OTHER."""
    recipe, device = bench.recipe, bench.device
    torch.manual_seed(recipe.seed)
    tokenizer = CLIPTokenizer.from_pretrained(bench.work / "tokenizer")
    texts = pool_texts(pair, tokenizer, words, device)
    locked = Locked(pair).to(device)
    plan = Plan(recipe.vision_samples // recipe.tower_batch, recipe.tower_batch, 1e-3, 0.4, weight_decay=0.1, ema_decay=0.998, seed=1)
    pool, unlike = D.canvas_rgba(rgba), [torch.from_numpy(o) for o in others]
    name_of = torch.tensor([words.names.index(i.name) for i in icons])
    style_of = torch.tensor([[s.word for s in TRAIN_STYLES].index(i.style) for i in icons])
    weights = torch.tensor([CONCEPT_WEIGHT if i.concept else 1.0 for i in icons])
    other_of = len(words.names) - len(OTHER) + torch.arange(NUM_OTHER) % len(OTHER)

    def loss_at(step: int) -> torch.Tensor:
        g = generator_at(plan.seed, step)
        px, rows, ground, num = draw_pictures(pool, unlike, weights, recipe.size_px, plan.batch, g)
        image = F.normalize(locked.vision(pixel_values=px.to(device)).image_embeds, dim=-1)
        names = torch.cat([name_of[rows], other_of]).to(device)
        loss = F.cross_entropy(locked.similarity(image, texts["names"]), names, label_smoothing=0.05)
        tagged = words.tagged.to(device)[names]
        chances = locked.similarity(image, texts["tags"]).log_softmax(-1)
        loss = loss - 0.3 * ((chances * tagged).sum(-1) / tagged.sum(-1).clamp(min=1)).mean()
        plain, own = image[num : len(rows)], names[num : len(rows)]
        styles, grounds = style_of[rows[num:]].to(device), ground[num:].to(device)
        loss = loss + 0.3 * F.cross_entropy(locked.similarity(plain, texts["styled"][own]), styles)
        return loss + 0.3 * F.cross_entropy(locked.similarity(plain, texts["grounded"][own]), grounds)

    folder = bench.work / "vision"
    folder.mkdir(exist_ok=True)
    average = fit(locked, loss_at, plan, folder / "state.safetensors", bench.progress)
    locked.load_state_dict(average, strict=False)
    return pair.eval()


@torch.no_grad()
def rank_names(pair: Pair, tokenizer: CLIPTokenizer, px: torch.Tensor, wanted: list[str], names: list[str]) -> dict[str, float]:
    """Rank all names for each picture [N, 3, S, S]: how often its own is first, and among the first five."""
    device = pair.log_scale.device
    tokens = tokenize(tokenizer, [captions(n, "")[1] for n in names])
    text = torch.cat([F.normalize(pair.text(input_ids=t.to(device)).text_embeds, dim=-1) for t in tokens.split(512)])
    image = torch.cat([F.normalize(pair.vision(pixel_values=b.to(device)).image_embeds, dim=-1) for b in px.split(128)])
    order = (image @ text.T).argsort(-1, descending=True).cpu()
    place = (order == torch.tensor([names.index(w) for w in wanted])[:, None]).float().argmax(-1)
    return {"top1": round(float((place < 1).float().mean()), 3), "top5": round(float((place < 5).float().mean()), 3)}
