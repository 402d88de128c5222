"""The build's stages: files in, files and figures out. Torch is imported inside, so that the plan loads at once."""

import json
import shutil
from dataclasses import asdict

import numpy as np

from studio.starter import pictures as P
from studio.starter.bench import Bench, draw_others, find_tags, read_pictures, read_tags, training_rows, vae_bank, variants
from studio.starter.packages import JUDGE_STYLES, STYLES, TRAIN_STYLES


def make_pictures(bench: Bench) -> dict:
    """Render every icon of every style."""
    from safetensors.numpy import save_file

    rgba, icons = P.draw_all(bench.work / "packages", bench.progress)
    if bench.recipe.max_pictures:
        rgba, icons = rgba[: bench.recipe.max_pictures], icons[: bench.recipe.max_pictures]
    save_file({"rgba": rgba}, bench.work / "pictures.safetensors")
    (bench.work / "pictures.json").write_text(json.dumps([asdict(i) for i in icons]), encoding="utf-8")
    tags = find_tags(bench.work / "packages", sorted({i.name for i in icons}))
    (bench.work / "tags.json").write_text(json.dumps(tags), encoding="utf-8")
    return {"pictures": len(icons), "concepts": len({i.name for i in icons if i.concept})}


def make_vae(bench: Bench) -> dict:
    """Train the autoencoder and normalise its latents over the concepts."""
    import torch

    from studio.starter import vae as V
    from studio.starter.loop import Plan

    recipe = bench.recipe
    lr = 8e-4 if bench.start else 1.5e-3  # what has been trained is not shaken up again
    plan = Plan(recipe.vae_samples // recipe.vae_batch, recipe.vae_batch, lr, hold=0.2, seed=recipe.seed)
    folder = bench.work / "vae"
    folder.mkdir(exist_ok=True)
    vae = V.train_vae(torch.from_numpy(vae_bank(bench)), plan, folder, bench)
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

    recipe, folder, out = bench.recipe, bench.work / "packages", bench.work / "tokenizer"
    if bench.start:  # the weights to begin with belong to its tokens
        shutil.copytree(bench.start / "tokenizer", out, dirs_exist_ok=True)
        return {"vocabulary": len(json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])}
    return {"vocabulary": train_tokenizer(folder, recipe.vocab_size, recipe.token_length, out)}


def make_towers(bench: Bench) -> dict:
    """Train the contrastive pair on pictures, names and tags."""
    from studio.starter import towers as T

    folder = bench.work / "towers"
    folder.mkdir(exist_ok=True)
    rgba, icons = read_pictures(bench.work)
    rows = training_rows(icons, concepts_only=False)
    pair = T.train_towers(rgba[rows], [icons[r] for r in rows], read_tags(bench.work), folder, bench)
    T.text_trunk(pair.text).save_pretrained(bench.work / "text_encoder")
    pair.text.save_pretrained(folder / "text")
    pair.vision.save_pretrained(folder / "vision")
    return {"text_parameters": sum(p.numel() for p in pair.text.parameters())}


def make_vision(bench: Bench) -> dict:
    """Go on with the vision tower while the text tower stands still; its retrieval is measured on styles that it never saw."""
    import torch
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

    from studio.starter import towers as T
    from studio.starter import vision as V
    from studio.starter.vae import to_pixels

    recipe, folder = bench.recipe, bench.work / "towers"
    rgba, icons = read_pictures(bench.work)
    rows = training_rows(icons, concepts_only=False)
    chosen = [icons[r] for r in rows]
    words = V.Words.of(chosen, read_tags(bench.work))
    others = draw_others(bench, recipe.num_textures // 2, recipe.num_crops, 5)
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text")
    vision = CLIPVisionModelWithProjection.from_pretrained(folder / "vision")
    pair = V.train_vision(T.Pair(text, vision), rgba[rows], chosen, words, others, bench).cpu()
    (bench.work / "vision").mkdir(exist_ok=True)
    pair.vision.save_pretrained(bench.work / "vision")
    pair.text.save_pretrained(bench.work / "vision" / "text")
    tokenizer = CLIPTokenizer.from_pretrained(bench.work / "tokenizer")
    concepts = sorted({i.name for i in chosen if i.concept})
    figures = {"parameters": sum(p.numel() for p in vision.parameters()), "names": len(words.names) - len(V.OTHER)}
    for style in ("noto", "flat", "openmoji"):
        seen = [n for n, i in enumerate(icons) if i.style == style and i.concept and i.name in concepts]
        if seen:
            px = to_pixels(torch.from_numpy(np.stack([P.shrink(P.flatten(rgba[n]), recipe.size_px) for n in seen])))
            wanted = [icons[n].name for n in seen]
            figures |= {f"{style}_{k}": v for k, v in V.rank_names(pair, tokenizer, px, wanted, concepts).items()}
            figures |= {f"{style}_of_all_{k}": v for k, v in V.rank_names(pair, tokenizer, px, wanted, words.names).items()}
    return figures


def make_latents(bench: Bench) -> dict:
    """Encode the pictures and captions of the training styles once."""
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
    for n in training_rows(icons, concepts_only=False):
        for px, background, chance in variants(icons[n], rgba[n], bench.recipe.size_px, rng):
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
    tensors = {
        "latents": latents,
        "chances": torch.tensor(chances),
        "captions": torch.tensor(rows),
        "embeds": embeds.float(),
        "tokens": tokens,
    }
    write_tensors(tensors, bench.work / "latents.safetensors")
    return {"latents": len(latents), "captions": len(texts), "latent_std": round(float(latents.std()), 3)}


def make_unet(bench: Bench) -> dict:
    """Train the generator."""
    from studio.starter import unet as U

    folder = bench.work / "unet"
    folder.mkdir(exist_ok=True)
    cache = U.Cache.read(bench.work / "latents.safetensors", bench.device)
    unet = U.train_unet(cache, bench.samples, folder, bench)
    plan = U.unet_plan(bench.recipe, bench.samples)
    return {
        "samples": plan.steps * plan.batch,
        "parameters": sum(p.numel() for p in unet.parameters()),
        "v_mse": U.measure_v_mse(unet, cache),
    }


def make_pixel(bench: Bench) -> dict:
    """Train the pixel base on the concepts in the training styles."""
    from studio.starter import pixel as X

    folder = bench.work / "pixel"
    folder.mkdir(exist_ok=True)
    rgba, icons = read_pictures(bench.work)
    bank = X.pixel_bank(rgba[training_rows(icons, concepts_only=True)], bench.recipe)
    unet = X.train_pixel(bank, folder, bench)
    samples = bench.recipe.pixel_samples // bench.recipe.unet_batch * bench.recipe.unet_batch
    return {"samples": samples, "parameters": sum(p.numel() for p in unet.parameters()), "v_mse": X.measure_v_mse(unet, bank)}


def make_judge(bench: Bench) -> dict:
    """Train the judge on its own styles, which nothing else here learns from; it is measured on styles that it never saw."""
    import torch

    from studio.starter import judge as J
    from studio.starter.loop import Plan
    from studio.starter.vae import to_pixels

    recipe, folder = bench.recipe, bench.work / "judge"
    folder.mkdir(exist_ok=True)
    rgba, icons = read_pictures(bench.work)
    styles = {s.word for s in JUDGE_STYLES}
    concepts = sorted({i.name for i in icons if i.concept})
    rows = [n for n, i in enumerate(icons) if i.concept and i.style in styles]
    labels = torch.tensor([concepts.index(icons[n].name) for n in rows])
    plan = Plan(recipe.judge_samples // 64, 64, 2e-3, hold=0.4, weight_decay=0.05, ema_decay=0.995, seed=J.SEED)
    judge = J.train_judge(rgba[rows], labels, plan, folder, bench)
    J.save_judge(judge, concepts, recipe.size_px, folder)
    figures = {"parameters": sum(p.numel() for p in judge.parameters()), "styles": sorted(styles)}
    for style in [s.word for s in STYLES if s.word not in styles]:
        chosen = [n for n, i in enumerate(icons) if i.concept and i.style == style]
        if chosen:
            px = np.stack([P.shrink(P.flatten(rgba[n]), recipe.size_px) for n in chosen])
            wanted = torch.tensor([concepts.index(icons[n].name) for n in chosen])
            place = J.rank(judge, to_pixels(torch.from_numpy(px)), wanted)
            figures[f"{style}_top1"] = round(float((place < 1).float().mean()), 3)
            figures[f"{style}_top5"] = round(float((place < 5).float().mean()), 3)
    return figures
