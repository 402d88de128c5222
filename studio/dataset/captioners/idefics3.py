"""Idefics3 (Laurençon 2024) and SmolVLM (Marafioti 2025): small language models that see a picture in parts, and do as they are told."""

from pathlib import Path

from studio.dataset.captioners.base import Facts
from studio.dataset.captioners.conversation import questions
from studio.dataset.captioners.folder import read_architecture
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts

FACTS = Facts(
    "SmolVLM",
    ("SmolVLMForConditionalGeneration", "Idefics3ForConditionalGeneration"),
    prompt="instruction",
    licence="Apache 2.0",
    hub_id="HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
)
PLAIN = "<|im_start|>User:{token}{prompt}<end_of_utterance>\nAssistant:"


def load(folder: Path | None) -> Generator:
    """The weights in `folder`. SmolVLM's own processor needs torchvision for videos; of pictures it makes what Idefics3's makes."""
    import transformers

    architecture = read_architecture(folder, FACTS.architectures)
    parts = load_parts(folder, FACTS, getattr(transformers, architecture), transformers.AutoImageProcessor)
    config = parts.model.config
    vision = config.vision_config
    num_tokens = (vision.image_size // vision.patch_size) ** 2 // config.scale_factor**2
    processor = transformers.Idefics3Processor(parts.pixels, parts.tokenizer, image_seq_len=num_tokens)
    return Generator(parts, questions(processor, processor.image_token, PLAIN, in_lists=True), FACTS)
