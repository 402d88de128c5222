"""Kosmos-2 (Peng 2023): a small language model that sees; a prompt is how the caption begins."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts

BEGUN = "An image of"
FACTS = Facts(
    "Kosmos-2",
    ("Kosmos2ForConditionalGeneration",),
    prompt="beginning",
    licence="MIT",
    hub_id="microsoft/kosmos-2-patch14-224",
)
GIVEN = ("pixel_values", "input_ids", "attention_mask", "image_embeds_position_mask")


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    from transformers import CLIPImageProcessorPil, Kosmos2ForConditionalGeneration, Kosmos2Processor

    parts = load_parts(folder, FACTS, Kosmos2ForConditionalGeneration, CLIPImageProcessorPil)
    processor = Kosmos2Processor(parts.pixels, parts.tokenizer)
    processor.num_image_tokens = parts.model.config.latent_query_num

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        given = processor(images=list(pictures), text=[ask.prompt.strip() or BEGUN] * len(pictures), return_tensors="pt", padding=True)
        return {name: given[name] for name in GIVEN}

    return Generator(parts, inputs, FACTS)
