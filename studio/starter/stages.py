"""The build's stages: files in, files and figures out. Torch is imported inside, so that the plan loads at once."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from studio.starter import pictures as P
from studio.starter.captions import BACKGROUNDS
from studio.starter.packages import TRAIN_STYLES
from studio.starter.recipe import Recipe


@dataclass(frozen=True)
class Bench:
    """What a stage works with: the work folder, the recipe, the UNet's sample budget, the device, a log line sink."""

    work: Path
    recipe: Recipe
    samples: int
    device: str
    progress: Callable[[str], None]


def make_pictures(bench: Bench) -> dict:
    """Render every icon of every style."""
    from safetensors.numpy import save_file

    rgba, icons = P.draw_all(bench.work / "packages", bench.progress)
    if bench.recipe.max_pictures:
        rgba, icons = rgba[: bench.recipe.max_pictures], icons[: bench.recipe.max_pictures]
    save_file({"rgba": rgba}, bench.work / "pictures.safetensors")
    (bench.work / "pictures.json").write_text(json.dumps([asdict(i) for i in icons]), encoding="utf-8")
    return {"pictures": len(icons), "concepts": len({i.name for i in icons if i.concept})}


def read_pictures(work: Path) -> tuple[np.ndarray, list[P.Icon]]:
    """Return the rendered icons: uint8 RGBA [N, 128, 128, 4] and what each shows."""
    from safetensors.numpy import load_file

    icons = [P.Icon(**row) for row in json.loads((work / "pictures.json").read_text(encoding="utf-8"))]
    return load_file(work / "pictures.safetensors")["rgba"], icons


def vae_bank(bench: Bench) -> np.ndarray:
    """Build the autoencoder's pictures: icons of the training styles on white and on a random colour, and textures."""
    from studio.starter.textures import make_textures

    recipe = bench.recipe
    rgba, icons = read_pictures(bench.work)
    rng = np.random.default_rng(recipe.seed)
    styles = {s.word for s in TRAIN_STYLES}
    bank = []
    for picture, icon in zip(rgba, icons, strict=True):
        if icon.style in styles:
            for ground in ((255, 255, 255), tuple(rng.integers(0, 256, 3))):
                bank.append(P.shrink(P.flatten(picture, ground), recipe.size_px))
    return np.concatenate([np.stack(bank), make_textures(recipe.num_textures, recipe.size_px, recipe.seed)])


def make_vae(bench: Bench) -> dict:
    """Train the autoencoder and normalise its latents over the concepts."""
    import torch

    from studio.starter import vae as V
    from studio.starter.loop import Plan

    recipe = bench.recipe
    plan = Plan(recipe.vae_samples // recipe.vae_batch, recipe.vae_batch, 1.5e-3, hold=0.2, seed=recipe.seed)
    folder = bench.work / "vae"
    folder.mkdir(exist_ok=True)
    vae = V.train_vae(torch.from_numpy(vae_bank(bench)), plan, folder, bench.device, bench.progress)
    rgba, icons = read_pictures(bench.work)
    styles = {s.word for s in TRAIN_STYLES}
    by_use = {"seen": [], "unseen": []}
    for picture, icon in zip(rgba, icons, strict=True):
        if icon.concept:
            by_use["seen" if icon.style in styles else "unseen"].append(P.shrink(P.flatten(picture), recipe.size_px))
    px = {use: torch.from_numpy(np.stack(rows)) for use, rows in by_use.items() if rows}
    V.fold_normalisation(vae, V.encode(vae, px["seen"]))
    vae.save_pretrained(folder, safe_serialization=True)
    return {f"psnr_{use}_styles_db": round(V.psnr_db(vae, rows), 2) for use, rows in px.items()}


def make_tokenizer(bench: Bench) -> dict:
    """Train the tokenizer."""
    from studio.starter.tokenizer import train_tokenizer

    recipe = bench.recipe
    folder = bench.work / "packages"
    return {"vocabulary": train_tokenizer(folder, recipe.vocab_size, recipe.token_length, bench.work / "tokenizer")}


def training_rows(icons: list[P.Icon], concepts_only: bool) -> list[int]:
    """Return the rows of the training styles: every icon, or the concepts only."""
    styles = {s.word for s in TRAIN_STYLES}
    return [n for n, i in enumerate(icons) if i.style in styles and (i.concept or not concepts_only)]


def make_towers(bench: Bench) -> dict:
    """Train the contrastive pair; its retrieval is measured on styles that it never saw."""
    import torch
    from transformers import CLIPTokenizer

    from studio.starter import towers as T
    from studio.starter.vae import to_pixels

    folder = bench.work / "towers"
    folder.mkdir(exist_ok=True)
    rgba, icons = read_pictures(bench.work)
    rows = training_rows(icons, concepts_only=False)
    chosen = [icons[r] for r in rows]
    pair = T.train_towers(rgba[rows], chosen, bench.recipe, folder, bench.device, bench.progress)
    T.text_trunk(pair.text).save_pretrained(bench.work / "text_encoder")
    pair.text.save_pretrained(folder / "text")
    pair.vision.save_pretrained(folder / "vision")
    tokenizer = CLIPTokenizer.from_pretrained(bench.work / "tokenizer")
    names = sorted({i.name for i in chosen if i.concept})
    figures = {"text_parameters": sum(p.numel() for p in pair.text.parameters())}
    figures["vision_parameters"] = sum(p.numel() for p in pair.vision.parameters())
    for style in ("noto", "openmoji", "flat"):
        seen = [n for n, i in enumerate(icons) if i.style == style and i.name in names and i.concept]
        if seen:
            px = np.stack([P.shrink(P.flatten(rgba[n]), bench.recipe.size_px) for n in seen])
            wanted = [icons[n].name for n in seen]
            ranks = T.rank_concepts(pair, tokenizer, to_pixels(torch.from_numpy(px)), wanted, names)
            figures |= {f"{style}_{k}": v for k, v in ranks.items()}
    return figures


def variants(rgba: np.ndarray, size_px: int, rng: np.random.Generator) -> list[tuple[np.ndarray, str, float]]:
    """Return (picture, background, how often it is drawn) for one icon: two of three draws are the icon as it is."""
    out = [(P.shrink(P.flatten(rgba), size_px), "white", 0.65)]
    colours = [c for c in BACKGROUNDS if c != "white"]
    for background in ["white", "white", *rng.choice(colours, 4, replace=False)]:
        shift_px = rng.integers(-3, 4, 2)
        mirror = bool(rng.random() < 0.5)
        px = P.place(rgba, size_px, BACKGROUNDS[background], rng.uniform(0.8, 1.0), shift_px, mirror)
        out.append((px, str(background), 0.05 if background == "white" else 0.0625))
    return out


def make_latents(bench: Bench) -> dict:
    """Encode the concepts' pictures and captions once."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

    from studio.starter.captions import captions
    from studio.starter.loop import write_tensors
    from studio.starter.towers import tokenize
    from studio.starter.vae import encode

    rgba, icons = read_pictures(bench.work)
    rng = np.random.default_rng(bench.recipe.seed)
    pictures, chances, rows, texts = [], [], [], {"": 0}
    for n in training_rows(icons, concepts_only=True):
        for px, background, chance in variants(rgba[n], bench.recipe.size_px, rng):
            pictures.append(px)
            chances.append(chance)
            words = captions(icons[n].name, icons[n].style, background)
            rows.append([texts.setdefault(text, len(texts)) for text in words])
    vae = AutoencoderKL.from_pretrained(bench.work / "vae").to(bench.device).eval()
    latents = encode(vae, torch.from_numpy(np.stack(pictures)))
    tokenizer = CLIPTokenizer.from_pretrained(bench.work / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(bench.work / "text_encoder").to(bench.device).eval()
    tokens = tokenize(tokenizer, list(texts))
    with torch.no_grad():
        embeds = torch.cat([text_encoder(b.to(bench.device)).last_hidden_state.cpu() for b in tokens.split(256)])
    tensors = {"latents": latents, "chances": torch.tensor(chances), "captions": torch.tensor(rows), "embeds": embeds}
    write_tensors(tensors, bench.work / "latents.safetensors")
    return {"latents": len(latents), "captions": len(texts), "latent_std": round(float(latents.std()), 3)}


def make_unet(bench: Bench) -> dict:
    """Train the generator."""
    from studio.starter import unet as U

    folder = bench.work / "unet"
    folder.mkdir(exist_ok=True)
    cache = U.Cache.read(bench.work / "latents.safetensors", bench.device)
    unet = U.train_unet(cache, bench.recipe, bench.samples, folder, bench.progress)
    plan = U.unet_plan(bench.recipe, bench.samples)
    return {
        "samples": plan.steps * plan.batch,
        "parameters": sum(p.numel() for p in unet.parameters()),
        "v_mse": U.measure_v_mse(unet, cache),
    }


def make_judge(bench: Bench) -> dict:
    """Train the judge, which takes no part in the generator's training; openmoji is its test."""
    import torch

    from studio.starter import judge as J
    from studio.starter.loop import Plan
    from studio.starter.towers import canvas_rgba
    from studio.starter.vae import to_pixels

    recipe = bench.recipe
    folder = bench.work / "judge"
    folder.mkdir(exist_ok=True)
    rgba, icons = read_pictures(bench.work)
    styles = {s.word for s in TRAIN_STYLES} | {"flat"}
    concepts = sorted({i.name for i in icons if i.concept})
    rows = [n for n, i in enumerate(icons) if i.concept and i.style in styles]
    labels = torch.tensor([concepts.index(icons[n].name) for n in rows])
    plan = Plan(recipe.judge_samples // 64, 64, 2e-3, hold=0.3, weight_decay=0.05, ema_decay=0.995, seed=J.SEED)
    judge = J.train_judge(canvas_rgba(rgba[rows]), labels, plan, recipe.size_px, folder, bench.device, bench.progress).cpu()
    J.save_judge(judge, concepts, recipe.size_px, folder)
    figures = {"parameters": sum(p.numel() for p in judge.parameters())}
    for style in ("noto", "openmoji"):
        chosen = [n for n, i in enumerate(icons) if i.concept and i.style == style]
        if chosen:
            px = np.stack([P.shrink(P.flatten(rgba[n]), recipe.size_px) for n in chosen])
            wanted = torch.tensor([concepts.index(icons[n].name) for n in chosen])
            place = J.rank(judge, to_pixels(torch.from_numpy(px)), wanted)
            figures[f"{style}_top1"] = round(float((place < 1).float().mean()), 3)
            figures[f"{style}_top5"] = round(float((place < 5).float().mean()), 3)
    return figures
