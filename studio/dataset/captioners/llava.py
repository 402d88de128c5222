"""LLaVA (Liu 2023), LLaVA-NeXT (Liu 2024), and what is built like them, as JoyCaption: language models that see and do as told."""

from pathlib import Path

from studio.dataset.captioners.base import Facts
from studio.dataset.captioners.conversation import questions
from studio.dataset.captioners.folder import read_architecture
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts, picture_token

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
    return Generator(parts, questions(processor, token, PLAIN, left_out=("token_type_ids",)), FACTS)
