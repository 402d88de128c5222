"""PaliGemma (Beyer 2024), versions 1 and 2: captions in three lengths by the tasks that it was trained on."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts

DETAILS = {"brief": "cap en", "detailed": "caption en", "long": "describe en"}
FACTS = Facts(
    "PaliGemma",
    ("PaliGemmaForConditionalGeneration",),
    details=DETAILS,
    detail="detailed",
    licence="Gemma's own",
    hub_id="google/paligemma2-3b-mix-448",
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    from transformers import PaliGemmaForConditionalGeneration, PaliGemmaProcessor, SiglipImageProcessorPil

    parts = load_parts(folder, FACTS, PaliGemmaForConditionalGeneration, SiglipImageProcessorPil)
    vision = parts.model.config.vision_config
    parts.pixels.image_seq_length = (vision.image_size // vision.patch_size) ** 2
    processor = PaliGemmaProcessor(parts.pixels, parts.tokenizer)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        task = f"<image>{DETAILS[ask.detail or FACTS.detail]}"
        given = processor(images=list(pictures), text=[task] * len(pictures), return_tensors="pt", padding=True)
        return {name: value for name, value in given.items() if name != "labels"}  # which are for training

    return Generator(parts, inputs, FACTS)
