"""The model card of the embedded model: what it is, what it was made from, and figures that were measured."""

import hashlib
import json
from pathlib import Path

from studio.starter.figures import figures_of
from studio.starter.packages import HELD_OUT_STYLES, JUDGE_STYLES, LABELS, PHOTOGRAPHS, TRAIN_STYLES, Style
from studio.starter.photographs import NAMES
from studio.starter.pictures import read_concepts

GRADED = ("unet", "vae", "text_encoder", "judge")
SHEETS = {
    "concepts": "One picture per concept; the number is the judge's place",
    "styles": "The same concepts and seeds in the seven styles",
    "guidance": "The same concepts and seeds at three strengths of guidance",
    "negative": "Red things without a negative prompt, with the negative prompt red, and with blue",
    "icons": "Base above adapted: icons",
    "brain-mri": "Base above adapted: brain MRI",
    "satellite": "Base above adapted: satellite",
}

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
| `vision_encoder/` | CLIPVisionModelWithProjection, projection, vocabulary: captions, likeness; not for drawing | {vision_parameters} |
| `pixel/` | UNet2DModel at 32 px with a DDPM scheduler, without text: the base of the DDPM method | {pixel_parameters} |
| `judge/` | classifier of the concepts, from other styles, took no part in the generator's training | {judge_parameters} |

## Figures

{figures}

All figures are written by the commands that measure them (`figures.json`, `report.json`):

    python -m studio.starter.build --work WORK --out assets/starter --samples {samples}      # build
    python -m studio.starter.report --model assets/starter --out assets/starter              # report

{note}- **v-MSE**: squared error of the predicted v on the training latents, averaged over stratified timesteps with a fixed
  seed (lower is better; comparable between builds of this recipe only). **PSNR** is that of the autoencoder alone.
- **The judge** names one of {num_concepts} concepts; by chance it would be right first in {chance:.1%}, among its first five in
  {chance5:.1%}. It learned from {judge_words} alone, drawings that the generator never saw, and is only as good as its lines on
  real icons say. One picture per concept is drawn ("<concept>, noto style", DDIM, 25 steps, guidance 3, fixed seeds). The
  figures say that the model draws what it was taught, not that it invents.
- **Style told from the picture**: the same concept and noise in every style. Each picture's colours, edges and outlines
  (plain statistics, no network) are compared with each style's mean over the *other* concepts, after what the concept's
  pictures have in common is taken off: the nearest must be the style that was asked for. It says that a style word does
  the same to every concept, not that the style is drawn as its makers would.
- **Redness**: how far red exceeds green and blue, averaged over the picture. The second word is the control: a negative
  prompt that is not about red should not lower it.
- **Adaptation**: recipe LoRA, preset quick, seed 0, trained as the studio does, from loading to the chosen adapter. The
  loss is that of every held-out picture at fixed noise; the percentage is the geometric mean over pictures. The adapter
  of the lowest held-out loss is kept, so the figure is that of a chosen one among a few.
- **In the domain**: of pictures drawn with the domain's prompts, base and adapted from the same seeds, the share that lies
  nearer to the mean of the domain's training pictures (seen through the autoencoder) than to the mean of the base's own
  drawings of its concepts, on white and on coloured backgrounds. The last line of each demo says how far to believe
  that: real held-out pictures should be in the domain, drawings of other concepts should not. One kind of features
  serves all demos ({features}), the one that tells those two apart best.

{grid}

## Recipe

1. Icons are drawn at 128 px from pinned packages; names come from emojibase (CLDR).
2. Tokenizer: byte-pair encoding, trained on names, tags and captions.
3. Autoencoder: {vae_samples} crops, L1 + 4 MSE + 0.5 gradient L1 + 3e-4 KL; icons of the training styles, procedural textures
   (dead leaves, fractal noise, gratings, grey bodies, outlines) and nine photographs in the public domain or CC0, so that
   scans and photographs keep their edges.
4. Text and vision tower: contrastive, {tower_samples} pairs of icon and caption or tags; then the vision tower alone,
   {vision_samples} pictures against all names, tags, styles and backgrounds, 60 % of them in made-up styles.
5. UNet: {unet_samples} samples, batch {unet_batch}, AdamW 1e-3, constant and then cosine to 5 %, min-SNR 5, averaged weights (0.999),
   stratified timesteps, 10 % empty captions; two thirds of the icons are the concepts, the others other names.
   Latents and text embeddings are computed once.
6. Pixel base: the concepts at 32 px, v-prediction, min-SNR 5, mirrored at random.
7. What was tried, and what failed: `studio/starter/LOG.md`.

Captions: "red apple, noto style", "a red apple", "noto style red apple", each also "…, on a blue background".
Style words: {style_words}. Never in the training of the generator, the autoencoder or the text tower: {held_out_words}
(held out for adaptation and for the judge).

## Licences and attribution

The weights are derived from the drawings below. Some are CC BY 4.0: keep this section with the model.

| Style word | Icon set | Author | Licence | Package |
|---|---|---|---|---|
{attribution}

Photographs (skimage/data of {photographs}), for the autoencoder and the towers: {credits}.

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
    """Return the SHA-256 of all weights that a report depends on: whatever draws, and the judge."""
    digest = hashlib.sha256()
    for file in sorted(file for part in GRADED for file in (folder / part).glob("*.safetensors")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def attribution_row(style: Style, use: str = "") -> str:
    """Return one line of the attribution table; `use` says what the drawings served, where that is not drawing."""
    package = f"{style.package.name} {style.package.version}"
    return f"| {style.word}{use} | {style.title} | {style.author} | {style.licence} | {package} |"


def figure_rows(figures: dict, report: dict | None) -> str:
    """Return the measured figures as a table; what was not measured is not in it."""
    rows = [f"| {line.what} | {line.value} | {line.by} |" for line in figures_of(figures, report)]
    return "\n".join(["| Figure | Value | Measured by |", "|---|---|---|", *rows])


def read_report(folder: Path) -> dict | None:
    """Return the folder's report; None where it has none, or one of other weights."""
    file = folder / "report.json"
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return report if report and report.get("weights_sha256") == weights_hash(folder) else None


def sheet_lines(report: dict | None) -> str:
    """Return the report's sheets as pictures with captions."""
    sheets = (report or {}).get("sheets", {})
    return "\n\n".join(f"![{SHEETS.get(name, name)}]({file})" for name, file in sheets.items()) or "(no report yet)"


def write_card(folder: Path, figures: dict) -> None:
    """Write README.md of a model folder from the build's figures and the folder's report, if it has one."""
    report = read_report(folder)
    num_concepts = len(read_concepts())
    recipe = figures["recipe"]
    parameters = {f"{part}_parameters": f"{count:,}" for part, count in figures["parameters"].items()}
    text = CARD.format(
        num_concepts=num_concepts,
        note=f"{figures['note']}\n\n" if "note" in figures else "",
        grid=sheet_lines(report),
        widths=tuple(recipe["unet_widths"]),
        figures=figure_rows(figures, report),
        samples=figures["unet"]["samples"],
        chance=1 / num_concepts,
        chance5=5 / num_concepts,
        vae_samples=f"{recipe['vae_samples']:,}",
        tower_samples=f"{recipe['tower_samples']:,}",
        vision_samples=f"{recipe['vision_samples']:,}",
        unet_batch=recipe["unet_batch"],
        unet_samples=f"{figures['unet']['samples']:,}",
        style_words=", ".join(s.word for s in TRAIN_STYLES),
        judge_words=", ".join(s.word for s in JUDGE_STYLES),
        features=(report or {}).get("adaptation", {}).get("features", "not measured"),
        held_out_words=", ".join(s.word for s in HELD_OUT_STYLES),
        attribution="\n".join([*(attribution_row(s) for s in TRAIN_STYLES), *(attribution_row(s, " (judge)") for s in JUDGE_STYLES)]),
        labels=f"{LABELS.name} {LABELS.version}",
        photographs=f"{PHOTOGRAPHS.name} {PHOTOGRAPHS.version}",
        credits="; ".join(f"{name} ({credit})" for name, credit in NAMES.items()),
        **parameters,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def refresh_card(folder: Path) -> None:
    """Write the card again after a report."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    write_card(folder, figures)
