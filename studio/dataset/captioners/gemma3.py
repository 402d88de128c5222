"""Gemma 3 (Google 2025): a language model that sees, and does as it is told."""

from pathlib import Path

from studio.dataset.captioners.base import Facts
from studio.dataset.captioners.conversation import questions
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts
from studio.errors import StudioError

FACTS = Facts(
    "Gemma 3",
    ("Gemma3ForConditionalGeneration",),
    prompt="instruction",
    licence="Gemma's own",
    hub_id="google/gemma-3-4b-it",
)
PLAIN = "<start_of_turn>user\n{token}{prompt}<end_of_turn>\n<start_of_turn>model\n"
TOKENS = ("boi_token", "eoi_token", "image_token")


def load(folder: Path | None) -> Generator:
    """The weights in `folder`. StudioError where no tokens for pictures are named."""
    from transformers import Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil, Gemma3Processor

    parts = load_parts(folder, FACTS, Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil)
    if not all(hasattr(parts.tokenizer, name) for name in TOKENS):
        raise StudioError(f"{folder}: tokenizer_config.json names no tokens for pictures ({', '.join(TOKENS)}): fetch it again, whole")
    processor = Gemma3Processor(parts.pixels, parts.tokenizer, image_seq_length=parts.model.config.mm_tokens_per_image)
    return Generator(parts, questions(processor, parts.tokenizer.boi_token, PLAIN, in_lists=True), FACTS)
