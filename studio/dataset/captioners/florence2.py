"""Florence-2 (Xiao 2024): captions in three lengths by task tokens, in a model below a billion parameters."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts
from studio.errors import StudioError

DETAILS = {"brief": "<CAPTION>", "detailed": "<DETAILED_CAPTION>", "long": "<MORE_DETAILED_CAPTION>"}
FACTS = Facts(
    "Florence-2",
    ("Florence2ForConditionalGeneration",),
    details=DETAILS,
    detail="detailed",
    licence="MIT",
    hub_id="florence-community/Florence-2-base",
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`, as `florence-community` has them: the first release asks for code of its own, and is refused.

    StudioError where what a picture takes is not said.
    """
    from transformers import CLIPImageProcessorPil, Florence2ForConditionalGeneration, Florence2Processor

    parts = load_parts(folder, FACTS, Florence2ForConditionalGeneration, CLIPImageProcessorPil)
    if not hasattr(parts.tokenizer, "image_token"):
        parts.tokenizer.image_token_id = parts.model.config.image_token_id
        parts.tokenizer.image_token = parts.tokenizer.convert_ids_to_tokens(parts.model.config.image_token_id)
    if not isinstance(getattr(parts.pixels, "image_seq_length", None), int):
        raise StudioError(f"{folder}: preprocessor_config.json does not say how many tokens a picture takes: fetch it again, whole")
    processor = Florence2Processor(parts.pixels, parts.tokenizer)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        task = DETAILS[ask.detail or FACTS.detail]
        return dict(processor(images=list(pictures), text=[task] * len(pictures), return_tensors="pt"))

    return Generator(parts, inputs, FACTS)
