"""The model that ships: loads offline in plain diffusers, fits its budget, and draws better than noise."""

import json
from pathlib import Path

import pytest
import torch

from studio.starter.assemble import MAX_BYTES
from studio.starter.judge import load_judge, rank
from studio.starter.packages import HELD_OUT_STYLES, TRAIN_STYLES

MODEL = Path(__file__).parents[2] / "assets" / "starter"


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_model_keeps_within_its_budget_and_holds_no_pickle():
    files = [f for f in MODEL.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= MAX_BYTES
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".md", ".png"}


def test_the_parts_are_what_the_card_says(pipeline):
    assert pipeline.safety_checker is None and pipeline.vae.config.scaling_factor == 1.0
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert type(pipeline.text_encoder).__name__ == "CLIPTextModel"
    figures = json.loads((MODEL / "figures.json").read_text(encoding="utf-8"))
    assert figures["parameters"]["unet"] == sum(p.numel() for p in pipeline.unet.parameters())
    assert pipeline.tokenizer.model_max_length == pipeline.text_encoder.config.max_position_embeddings


def test_configurations_name_no_path_of_the_building_machine():
    for file in MODEL.rglob("*.json"):
        if file.name != "tokenizer.json":
            text = file.read_text(encoding="utf-8")
            assert "_name_or_path" not in text and "/work" not in text and "/tmp" not in text


def test_the_tokenizer_knows_every_character(pipeline):
    for text in ("red apple, noto style", "Zürich 42 <sks>", "脑 🧠"):
        ids = pipeline.tokenizer(text).input_ids
        end = pipeline.tokenizer.eos_token_id
        assert ids[-1] == end and end not in ids[1:-1], "an unknown character would end the text"


def test_it_draws_better_than_noise(pipeline):
    judge, concepts = load_judge(MODEL / "judge")
    wanted = [n for n, c in enumerate(concepts) if c in ("red apple", "red heart", "sunflower", "basketball", "ghost", "frog")]
    drawn = pipeline(
        [f"{concepts[n]}, noto style" for n in wanted],
        num_inference_steps=15,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(n) for n in wanted],
        output_type="pt",
    ).images
    noise = torch.rand(drawn.shape, generator=torch.Generator().manual_seed(0))
    target = torch.tensor(wanted)
    ours, theirs = (rank(judge, px * 2 - 1, target).float().mean().item() for px in (drawn, noise))
    assert ours < 10 and ours < theirs / 2


def test_the_card_attributes_every_training_style():
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for style in TRAIN_STYLES:
        row = next(line for line in card.splitlines() if line.startswith(f"| {style.word} |"))
        assert style.author in row and style.licence in row and style.package.version in row
    assert not any(line.startswith(f"| {style.word} |") for style in HELD_OUT_STYLES for line in card.splitlines())
    assert "Copyright (c) Microsoft" in card
