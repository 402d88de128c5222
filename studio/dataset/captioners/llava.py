"""LLaVA (Liu 2023), LLaVA-NeXT (Liu 2024), and what is built like them, as JoyCaption: language models that see and do as told."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.conversation import conversation
from studio.dataset.captioners.folder import read_architecture
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts, picture_token
from studio.dataset.captioners.prompts import DEFAULT_PROMPT

PROCESSORS = {"LlavaForConditionalGeneration": "LlavaProcessor", "LlavaNextForConditionalGeneration": "LlavaNextProcessor"}
FACTS = Facts(
    "LLaVA",
    tuple(PROCESSORS),
    prompt="instruction",
    licence="see its card; JoyCaption's is Llama 3.1's",
    hub_id="fancyfeast/llama-joycaption-beta-one-hf-llava",
)
PLAIN = "USER: {token}\n{prompt} ASSISTANT:"


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    import transformers

    architecture = read_architecture(folder, FACTS.architectures)
    parts = load_parts(folder, FACTS, getattr(transformers, architecture), transformers.AutoImageProcessor)
    config = parts.model.config
    token = picture_token(folder, parts.tokenizer, config.image_token_index)
    options = {"vision_feature_select_strategy": config.vision_feature_select_strategy, "image_token": token}
    has_class_token = config.vision_config.model_type == "clip_vision_model"
    options |= {"patch_size": config.vision_config.patch_size, "num_additional_image_tokens": int(has_class_token)}
    processor = getattr(transformers, PROCESSORS[architecture])(parts.pixels, parts.tokenizer, **options)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        text = conversation(parts.tokenizer, token, ask.prompt.strip() or DEFAULT_PROMPT, PLAIN)
        given = processor(images=list(pictures), text=[text] * len(pictures), return_tensors="pt", padding=True)
        return {name: given[name] for name in ("pixel_values", "image_sizes", "input_ids", "attention_mask") if name in given}

    return Generator(parts, inputs, FACTS)
