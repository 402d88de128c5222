"""The model card of the embedded model: what it is, what it was made from, and figures that were measured."""

import hashlib
import json
from pathlib import Path

from studio.starter.packages import HELD_OUT_STYLES, LABELS, TRAIN_STYLES, Style
from studio.starter.pictures import read_concepts

CARD = """---
model_name: Domain Studio starter
license: other
license_name: Apache-2.0, MIT and CC BY 4.0 by parts, see its README.md
---

# The embedded base model

A small text-to-image diffusion model at 64 px in the layout of `StableDiffusionPipeline`: it lets every feature of
Domain Studio be tried at once, offline and without a GPU. It draws {num_concepts} well-known things in seven emoji
styles and nothing else. It is a teaching and testing model: do not expect more of it.

| Part | What | Parameters |
|---|---|---|
| `text_encoder/` | CLIPTextModel, 2 layers, trained with the vision tower, then frozen | {text_parameters} |
| `vae/` | AutoencoderKL, factor 4, 4 channels; normalisation folded in, `scaling_factor` 1 | {vae_parameters} |
| `unet/` | UNet2DConditionModel {widths}, v-prediction, cosine schedule | {unet_parameters} |
| `vision_encoder/` | CLIPVisionModelWithProjection and the text projection; unused in drawing | {vision_parameters} |
| `judge/` | classifier of the concepts, other seed, took no part in the generator's training | {judge_parameters} |

## Figures

{figures}

All figures are written by the build and the report themselves (`figures.json`, `report.json`):

    python -m studio.starter.build --work WORK --out assets/starter --samples {samples}
    python -m studio.starter.report --model assets/starter --out assets/starter

{note}**v-MSE** is the squared error of the predicted v on the training latents, averaged over stratified timesteps with a
fixed seed (lower is better; comparable between builds of this recipe only). **Top-1/top-5** say how often the judge
names the wanted one of {num_concepts} concepts first, or among its first five, on one picture per concept
("<concept>, noto style", DDIM, 25 steps, guidance 3, fixed seeds); chance is {chance:.1%} and {chance5:.1%}. The judge
itself is only as good as its line above says, and it has seen the icons that the model was trained on: the figures
say that the model draws what it was taught, not that it invents. **PSNR** is that of the autoencoder alone.

{grid}

## Recipe

1. Icons are drawn at 128 px from pinned packages; names come from emojibase (CLDR).
2. Tokenizer: byte-pair encoding, trained on names, tags and captions.
3. Autoencoder: {vae_samples} crops, L1 + 2 MSE + 0.5 gradient L1 + 3e-4 KL; icons of the training styles and procedural
   textures (dead leaves, fractal noise, gratings, grey bodies), so that scans and photographs keep their edges.
4. Text and vision tower: contrastive, {tower_samples} pairs of icon and caption.
5. UNet: {unet_samples} samples, batch {unet_batch}, AdamW 1e-3, constant for 60 % and then cosine to 5 %, min-SNR 5, averaged
   weights (0.999), stratified timesteps, 10 % empty captions; latents and text embeddings are computed once.

Captions: "red apple, noto style", "a red apple", "noto style red apple", each also "…, on a blue background".
Style words: {style_words}. Never in the training of the generator, the autoencoder or the text tower: {held_out_words}
(held out for adaptation; the judge was also trained on flat).

## Licences and attribution

The weights are derived from the drawings below. Some are CC BY 4.0: keep this section with the model.

| Style word | Icon set | Author | Licence | Package |
|---|---|---|---|---|
{attribution}

Concept names: emojibase ({labels}), MIT, after Unicode CLDR. Drawings were rasterised, resized, mirrored and put on
coloured backgrounds. Licence texts: Apache-2.0 (apache.org/licenses/LICENSE-2.0), CC BY 4.0
(creativecommons.org/licenses/by/4.0), MIT (below).

> MIT License. Copyright (c) Microsoft Corporation (Fluent Emoji). Permission is hereby granted, free of charge, to any
> person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software
> without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute,
> sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
> subject to the following conditions: The above copyright notice and this permission notice shall be included in all
> copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
> EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE
> AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
> LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
> SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of a model folder's UNet weights."""
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def attribution_row(style: Style) -> str:
    """Return one line of the attribution table."""
    package = f"{style.package.name} {style.package.version}"
    return f"| {style.word} | {style.title} | {style.author} | {style.licence} | {package} |"


def figure_rows(figures: dict, report: dict | None) -> str:
    """Return the measured figures as a table; what was not measured is not in it."""
    rows = [("UNet training samples", figures.get("unet", {}).get("samples"))]
    rows.append(("v-MSE", figures.get("unet", {}).get("v_mse")))
    if report:
        for share in ("top1", "top5"):
            rows.append((f"Judge on the model's pictures, {share.replace('top', 'top-')}", f"{report[share]:.1%}"))
    for key, text in (("noto", "icons in noto (seen)"), ("openmoji", "icons in openmoji (a style that it never saw)")):
        for share in ("top1", "top5"):
            value = figures.get("judge", {}).get(f"{key}_{share}")
            rows.append((f"Judge on real {text}, {share.replace('top', 'top-')}", value and f"{value:.1%}"))
            value = figures.get("towers", {}).get(f"{key}_{share}")
            rows.append((f"Vision tower on real {text}, {share.replace('top', 'top-')}", value and f"{value:.1%}"))
    for key, text in (
        ("psnr_seen_styles_db", "icons of the training styles"),
        ("psnr_unseen_styles_db", "icons of unseen styles"),
        ("psnr_brain-mri_db", "brain MRI (never seen)"),
        ("psnr_satellite_db", "Blue Marble (never seen)"),
    ):
        value = figures.get("vae", {}).get(key)
        rows.append((f"Autoencoder PSNR, {text}", value and f"{value:.1f} dB"))
    return "\n".join(["| Figure | Value |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows if v is not None)])


def write_card(folder: Path, figures: dict) -> None:
    """Write README.md of a model folder from the build's figures and the folder's report, if it has one."""
    file = folder / "report.json"
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if report and report["unet_sha256"] != weights_hash(folder):
        report = None  # made with other weights
    num_concepts = len(read_concepts())
    recipe = figures["recipe"]
    parameters = {f"{part}_parameters": f"{count:,}" for part, count in figures["parameters"].items()}
    text = CARD.format(
        num_concepts=num_concepts,
        note=f"{figures['note']}\n\n" if "note" in figures else "",
        grid="![One picture per concept; the number is the judge's place](report.png)" if report else "(no report yet)",
        widths=tuple(recipe["unet_widths"]),
        figures=figure_rows(figures, report),
        samples=figures["unet"]["samples"],
        chance=1 / num_concepts,
        chance5=5 / num_concepts,
        vae_samples=f"{recipe['vae_samples']:,}",
        tower_samples=f"{recipe['tower_samples']:,}",
        unet_batch=recipe["unet_batch"],
        unet_samples=f"{figures['unet']['samples']:,}",
        style_words=", ".join(s.word for s in TRAIN_STYLES),
        held_out_words=", ".join(s.word for s in HELD_OUT_STYLES),
        attribution="\n".join(attribution_row(s) for s in TRAIN_STYLES),
        labels=f"{LABELS.name} {LABELS.version}",
        **parameters,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def refresh_card(folder: Path) -> None:
    """Write the card again after a report."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    write_card(folder, figures)
