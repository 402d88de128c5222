"""The judge: a small classifier of the concepts that grades the generator's pictures and takes no part in its training.

It is trained with its own seed, with other distortions, also on a style that the generator never saw (flat), and
through the autoencoder, so that it is not put off by the autoencoder's softness. OpenMoji is left out of its training:
its accuracy there is the measure of how far to trust it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

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

    def forward(self, px: torch.Tensor) -> torch.Tensor:
        features = self.trunk(px)
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))


def soften(px: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Blur half of the pictures and add a little noise and contrast change: generated pictures are soft."""
    batch, size_px = len(px), px.shape[-1]
    small = F.interpolate(px, scale_factor=0.5, mode="bilinear", antialias=True)
    soft = F.interpolate(small, size=size_px, mode="bilinear")
    px = torch.where(torch.rand(batch, 1, 1, 1, generator=g) < 0.5, soft, px)
    px = px * (0.8 + 0.4 * torch.rand(batch, 1, 1, 1, generator=g))
    return px + 0.1 * torch.rand(batch, 1, 1, 1, generator=g) * torch.randn(px.shape, generator=g)


def train_judge(
    pool: torch.Tensor,
    labels: torch.Tensor,
    plan: Plan,
    size_px: int,
    folder: Path,
    device: str,
    progress: Callable[[str], None],
) -> Judge:
    """Train on icons uint8 RGBA [N, C, C, 4] with concept numbers [N]."""
    from studio.starter.towers import augment

    torch.manual_seed(plan.seed)
    judge = Judge(int(labels.max()) + 1).to(device)

    def loss_at(step: int) -> torch.Tensor:
        g = generator_at(plan.seed, step)
        rows = torch.randint(len(pool), (plan.batch,), generator=g)
        ground = torch.where(torch.rand(plan.batch, 1, generator=g) < 0.5, 255, torch.randint(256, (plan.batch, 3), generator=g))
        px = soften(augment(pool[rows], ground, size_px, g), g)
        return F.cross_entropy(judge(px.to(device)), labels[rows].to(device), label_smoothing=0.1)

    average = fit(judge, loss_at, plan, folder / "state.safetensors", progress)
    judge.load_state_dict(average, strict=False)
    return judge.eval()


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
