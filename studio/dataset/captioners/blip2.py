"""BLIP-2 (Li 2023): a frozen vision tower and a frozen language model, joined by a few queries; a prompt is how the caption begins."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts
from studio.errors import StudioError

FACTS = Facts(
    "BLIP-2",
    ("Blip2ForConditionalGeneration",),
    prompt="beginning",
    licence="MIT; of the OPT versions for research alone",
    hub_id="Salesforce/blip2-opt-2.7b",
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`. StudioError where no image token is named."""
    import torch
    from transformers import Blip2ForConditionalGeneration, BlipImageProcessorPil

    parts = load_parts(folder, FACTS, Blip2ForConditionalGeneration, BlipImageProcessorPil)
    token, num = parts.model.config.image_token_index, parts.model.config.num_query_tokens
    if token is None:
        raise StudioError(f"{folder}: an old copy of BLIP-2, whose config.json names no image token: fetch it again")

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        text = parts.tokenizer([ask.prompt.strip()] * len(pictures), return_tensors="pt").input_ids.long()
        ids = torch.cat([torch.full((len(pictures), num), token), text], 1)
        px = parts.pixels(images=list(pictures), return_tensors="pt").pixel_values
        return {"pixel_values": px, "input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return Generator(parts, inputs, FACTS)
