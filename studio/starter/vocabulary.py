"""The captioner's vocabulary, and how far to believe it: scale, calibration and threshold, fitted on styles new to the towers."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from studio.starter.bench import Bench, draw_others, read_pictures, read_tags, training_rows
from studio.starter.captions import BACKGROUNDS
from studio.starter.packages import JUDGE_STYLES, TRAIN_STYLES

if TYPE_CHECKING:
    from studio.tower import Tower

SCALES = (10.0, 13.0, 16.0, 20.0, 25.0)
MAX_NAMED = 0.02  # of the textures and photographs: what the threshold lets pass
MIN_THRESHOLD = 0.5  # what is written should be right more often than not
UNLIKELY = 1e-3  # stands for the share of a name that is not among the first five
COMMON_ODDS = 30.0  # how much likelier a thing that the model draws is than any other name, before the picture is seen
COMMON_WEIGHT = 8.0  # of a picture of such a thing in the fit


def lay_out(work: Path, folder: Path) -> None:
    """Put the towers into `folder` as they lie in a finished model."""
    from safetensors.torch import load_file, save_file

    for source, part in (("tokenizer", "tokenizer"), ("text_encoder", "text_encoder"), ("vision", "vision_encoder")):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
        for file in (work / source).glob("*"):
            if file.is_file() and file.name != "state.safetensors":
                shutil.copyfile(file, folder / part / file.name)
    weights = load_file(work / "vision" / "text" / "model.safetensors")["text_projection.weight"]
    save_file({"text_projection.weight": weights.half()}, folder / "vision_encoder" / "text_projection.safetensors")


def write_vocabulary(folder: Path, values: dict[str, Any]) -> "Tower":
    """Write the vocabulary beside the vision tower and open the towers with it."""
    from studio.tower import VOCABULARY, Tower

    (folder / "vision_encoder" / VOCABULARY).write_text(json.dumps(values, indent=0) + "\n", encoding="utf-8")
    return Tower(folder)


def make_vocabulary(bench: Bench) -> dict:
    """Write the vocabulary and fit its reading; measured on OpenMoji and the demos, which took no part."""
    from studio.starter.pictures import flatten
    from studio.starter.vision import OTHER

    work, folder = bench.work, bench.work / "vocabulary"
    lay_out(work, folder)
    rgba, icons = read_pictures(work)
    seen = [icons[n] for n in training_rows(icons, concepts_only=False)]
    tags = read_tags(work)
    names = {name: tags[name] for name in sorted({i.name for i in seen})}
    values = {"names": names, "other": list(OTHER), "styles": [s.word for s in TRAIN_STYLES]}
    values |= {"common": sorted({i.name for i in seen if i.concept}), "common_odds": COMMON_ODDS}
    values |= {"backgrounds": {k: list(v) for k, v in BACKGROUNDS.items()}, "scale": 1.0, "calibration": [1.0, 0.0], "threshold": 0.0}
    judged = {s.word for s in JUDGE_STYLES}
    rows = [n for n, i in enumerate(icons) if i.style in judged and i.name in names]
    pictures, wanted = [Image.fromarray(flatten(rgba[n])) for n in rows], [icons[n].name for n in rows]
    few = max(8, bench.recipe.num_textures // 20)
    others = [Image.fromarray(px) for part in draw_others(bench, few, few, 11) for px in part]  # seen in no batch
    features = write_vocabulary(folder, values).image_features(pictures + others)
    fitted = fit_reading(features, wanted + [""] * len(others), folder, values)
    bench.progress(f"vocabulary: {json.dumps(fitted)}")
    tower = write_vocabulary(folder, values | fitted)
    unseen = [n for n, i in enumerate(icons) if i.style == "openmoji" and i.concept]
    figures = measure(tower, [Image.fromarray(flatten(rgba[n])) for n in unseen], [icons[n].name for n in unseen], "openmoji")
    return fitted | figures | measure_demos(tower)


def fit_reading(features, wanted: list[str], folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Choose the scale under which the right names are likeliest, then fit P(name is right) = sigmoid(a logit(top share) + b).

    Both by maximum likelihood, common things counting COMMON_WEIGHT times; "" is right for nothing.
    """
    import torch

    from studio.dataset.captioners.embedded import guess

    weights = torch.tensor([COMMON_WEIGHT if w in values["common"] else 1.0 for w in wanted]).double()
    best: dict[str, Any] = {"nll": float("inf")}
    for scale in SCALES:
        guesses = guess(features, write_vocabulary(folder, values | {"scale": scale}))
        own = torch.tensor([max(dict(g.names).get(w, 0.0), UNLIKELY) for g, w in zip(guesses, wanted, strict=True)])
        named = torch.tensor([bool(w) for w in wanted])
        nll = float(-(own.log() * weights)[named].sum() / weights[named].sum())
        if nll < best["nll"]:
            share = torch.tensor([g.names[0][1] for g in guesses]).double().clamp(1e-5, 1 - 1e-5)
            right = torch.tensor([float(g.names[0][0] == w) for g, w in zip(guesses, wanted, strict=True)]).double()
            a, b = fit_line(share.logit(), right, weights)
            unknown = (a * share.logit() + b).sigmoid()[~named].quantile(1 - MAX_NAMED)
            best = {"nll": round(nll, 4), "scale": scale, "calibration": [round(a, 4), round(b, 4)]}
            best["threshold"] = round(max(MIN_THRESHOLD, float(unknown)), 3)
    return best


def fit_line(x, right, weights) -> tuple[float, float]:
    """Return a and b of the logistic regression P(right) = sigmoid(a x + b) on doubles [N] (Platt 1999)."""
    import torch
    from torch.nn import functional as F

    line = torch.zeros(2, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(line[0] * x + line[1], right, weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    return tuple(line.detach().tolist())


def measure(tower: "Tower", pictures: list[Image.Image], wanted: list[str], word: str) -> dict[str, float]:
    """Return how often the own name is first, and among the first five, of all names; and the calibration error (ECE, ten bins)."""
    from studio.dataset.captioners.embedded import guess

    guesses = guess(tower.image_features(pictures), tower)
    first = np.array([g.names[0][0] == w for g, w in zip(guesses, wanted, strict=True)], float)
    five = np.array([w in [name for name, _ in g.names] for g, w in zip(guesses, wanted, strict=True)], float)
    sure = np.array([g.confidence for g in guesses])
    bins = np.minimum((sure * 10).astype(int), 9)
    error = sum(abs(first[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any())
    named = sure >= tower.vocabulary["threshold"]
    figures = {"top1": first.mean(), "top5": five.mean(), "calibration_error": error, "named": named.mean()}
    figures["right_where_named"] = first[named].mean() if named.any() else 0.0
    return {f"{word}_{key}": round(float(value), 3) for key, value in figures.items()}


def measure_demos(tower: "Tower") -> dict[str, float]:
    """Return the share of pictures outside its world of which the captioner says that it does not know them."""
    from studio.dataset.captioners.embedded import guess
    from studio.dataset.intake import DEMOS

    out = {}
    for demo in ("brain-mri", "satellite"):
        files = sorted(f for f in (DEMOS / demo).iterdir() if f.suffix in (".png", ".jpg"))
        guesses = guess(tower.file_features(files), tower)
        unknown = [g.is_other or g.confidence < tower.vocabulary["threshold"] for g in guesses]
        out[f"{demo}_unknown"] = round(sum(unknown) / len(unknown), 3)
    return out
