"""BLIP (Li 2022): a short caption of what is to be seen, small and fast; a prompt is how it begins."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts

FACTS = Facts(
    "BLIP", ("BlipForConditionalGeneration",), prompt="beginning", licence="BSD 3-Clause", hub_id="Salesforce/blip-image-captioning-large"
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    from transformers import BlipForConditionalGeneration, BlipImageProcessorPil

    parts = load_parts(folder, FACTS, BlipForConditionalGeneration, BlipImageProcessorPil)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        text = parts.tokenizer([ask.prompt.strip()] * len(pictures), return_tensors="pt")
        return {
            "pixel_values": parts.pixels(images=list(pictures), return_tensors="pt").pixel_values,
            "input_ids": text.input_ids,
            "attention_mask": text.attention_mask,
        }

    return Generator(parts, inputs, FACTS, num_dropped=1)  # its own end of the prompt
