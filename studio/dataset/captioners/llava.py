"""LLaVA (Liu 2023) and what is built like it, JoyCaption among them: a language model that sees, and does as it is told."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator, load_parts
from studio.dataset.captioners.prompts import DEFAULT_PROMPT

FACTS = Facts(
    "LLaVA",
    ("LlavaForConditionalGeneration",),
    prompt="instruction",
    licence="see its card; JoyCaption's is Llama 3.1's",
    hub_id="fancyfeast/llama-joycaption-beta-one-hf-llava",
)


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    from transformers import AutoImageProcessor, LlavaForConditionalGeneration, LlavaProcessor

    parts = load_parts(folder, FACTS, LlavaForConditionalGeneration, AutoImageProcessor)
    config = parts.model.config
    token = parts.tokenizer.convert_ids_to_tokens(config.image_token_index)
    options = {"vision_feature_select_strategy": config.vision_feature_select_strategy, "image_token": token}
    has_class_token = config.vision_config.model_type == "clip_vision_model"
    options |= {"patch_size": config.vision_config.patch_size, "num_additional_image_tokens": int(has_class_token)}
    processor = LlavaProcessor(parts.pixels, parts.tokenizer, **options)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        text = _conversation(parts.tokenizer, token, ask.prompt.strip() or DEFAULT_PROMPT)
        given = processor(images=list(pictures), text=[text] * len(pictures), return_tensors="pt")
        return {name: given[name] for name in ("pixel_values", "input_ids", "attention_mask")}

    return Generator(parts, inputs, FACTS)


def _conversation(tokenizer: Any, token: str, prompt: str) -> str:
    """The prompt as the tokenizer's own template words it; where it has none, as LLaVA 1.5 was trained."""
    if not tokenizer.chat_template:
        return f"USER: {token}\n{prompt} ASSISTANT:"
    parts = [{"type": "image"}, {"type": "text", "text": prompt}]
    text = tokenizer.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False)
    if token not in text:  # templates for plain text, as JoyCaption's, take a string
        plain = [{"role": "user", "content": f"{token}\n{prompt}"}]
        text = tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False)
    begin = tokenizer.bos_token or ""
    return text.removeprefix(begin) if begin else text  # it is put there once more when the text becomes tokens
