"""The judge: a small classifier of the concepts that grades the generator's pictures and takes no part in its training.

It is another network than the towers, with a seed of its own, and learns from four icon sets (JUDGE_STYLES) that neither
the generator nor the towers ever see: it knows none of the generator's styles. Its accuracy on the real icons of those
styles, and of OpenMoji, which nothing here learns from, is the measure of how far to trust it.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from studio.starter.bench import Bench
from studio.starter.distort import canvas_rgba, erase, flatten, recolour, resample, restyle
from studio.starter.loop import Plan, fit, generator_at, write_tensors

WIDTHS = (24, 48, 96, 128)
SEED = 4711


class Judge(nn.Module):
    """Four strided convolution blocks and a linear head: [B, 3, S, S] in [-1, 1] -> logits [B, num_concepts]."""

    def __init__(self, num_concepts: int):
        super().__init__()
        blocks, before = [], 3
        for width in WIDTHS:
            blocks += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
            ]
            before = width
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Linear(before * 2, num_concepts)

    def features(self, px: torch.Tensor) -> torch.Tensor:
        """Return what the head reads: the trunk's mean and maximum over the picture, [B, 2 W]."""
        features = self.trunk(px)
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)

    def forward(self, px: torch.Tensor) -> torch.Tensor:
        """The logits [B, classes] of pictures [B, 3, S, S]."""
        return self.head(self.features(px))


def train_judge(rgba: np.ndarray, labels: torch.Tensor, plan: Plan, folder: Path, bench: Bench) -> Judge:
    """Train on icons uint8 RGBA [N, 128, 128, 4] with the numbers of their concepts [N]; half are shown in made-up styles."""
    torch.manual_seed(plan.seed)
    judge = Judge(int(labels.max()) + 1).to(bench.device)
    pool = canvas_rgba(rgba)

    def loss_at(step: int) -> torch.Tensor:
        g = generator_at(plan.seed, step)
        rows = torch.randint(len(pool), (plan.batch,), generator=g)
        ground = torch.where(torch.rand(plan.batch, 1, generator=g) < 0.5, 255, torch.randint(256, (plan.batch, 3), generator=g))
        px, num = flatten(pool[rows], ground), plan.batch // 2
        px[:num] = restyle(pool[rows[:num]], px[:num], g)
        px[num:] = recolour(px[num:], g)
        px = erase(resample(px, bench.recipe.size_px, g, tilt=0.2) * 2 - 1, g)
        px = px + 0.1 * torch.rand(plan.batch, 1, 1, 1, generator=g) * torch.randn(px.shape, generator=g)
        return F.cross_entropy(judge(px.to(bench.device)), labels[rows].to(bench.device), label_smoothing=0.1)

    average = fit(judge, loss_at, plan, folder / "state.safetensors", bench.progress)
    judge.load_state_dict(average, strict=False)
    return judge.cpu().eval()


def save_judge(judge: Judge, concepts: list[str], size_px: int, folder: Path) -> None:
    """Write judge.safetensors (half precision) and config.json."""
    write_tensors({k: v.half() for k, v in judge.state_dict().items()}, folder / "judge.safetensors")
    text = json.dumps({"concepts": concepts, "size_px": size_px}, indent=1) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def load_judge(folder: Path) -> tuple[Judge, list[str]]:
    """Return the judge and the concepts in the order of its logits."""
    concepts = json.loads((folder / "config.json").read_text(encoding="utf-8"))["concepts"]
    judge = Judge(len(concepts))
    judge.load_state_dict({k: v.float() for k, v in load_file(folder / "judge.safetensors").items()})
    return judge.eval(), concepts


@torch.no_grad()
def rank(judge: Judge, px: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the place (0 = best) of the wanted concept [B] among all, for pictures [B, 3, S, S] in [-1, 1]."""
    logits = torch.cat([judge(b) for b in px.split(128)])
    own = logits.gather(1, wanted[:, None])
    return (logits > own).sum(1)
