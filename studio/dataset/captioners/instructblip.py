"""InstructBLIP (Dai 2023): BLIP-2 whose queries read the instruction, too."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts, read_tokenizer

ASKED = "Write a detailed description."
FACTS = Facts(
    "InstructBLIP",
    ("InstructBlipForConditionalGeneration",),
    prompt="instruction",
    asked=ASKED,
    licence="for research alone",
    hub_id="Salesforce/instructblip-flan-t5-xl",
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`, and beside its tokenizer the one of its queries."""
    import torch
    from transformers import BlipImageProcessorPil, InstructBlipForConditionalGeneration

    parts = load_parts(folder, FACTS, InstructBlipForConditionalGeneration, BlipImageProcessorPil)
    reader = read_tokenizer(folder / "qformer_tokenizer", FACTS)
    token, num = parts.model.config.image_token_index, parts.model.config.num_query_tokens

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        texts = [ask.prompt.strip() or ASKED] * len(pictures)
        read, asked = (each(texts, return_tensors="pt", padding=True) for each in (parts.tokenizer, reader))
        ids = torch.cat([torch.full((len(pictures), num), token), read.input_ids], 1)
        px = parts.pixels(images=list(pictures), return_tensors="pt").pixel_values
        given = {"qformer_input_ids": asked.input_ids, "qformer_attention_mask": asked.attention_mask}
        return {"pixel_values": px, "input_ids": ids, "attention_mask": torch.ones_like(ids), **given}

    return Generator(parts, inputs, FACTS)
