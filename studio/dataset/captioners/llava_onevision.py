"""LLaVA-OneVision (Li 2024): a language model that sees a picture as a whole and in parts, and does as it is told."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.conversation import conversation
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts, picture_token
from studio.dataset.captioners.prompts import DEFAULT_PROMPT

FACTS = Facts(
    "LLaVA-OneVision",
    ("LlavaOnevisionForConditionalGeneration",),
    prompt="instruction",
    licence="Apache 2.0",
    hub_id="llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
)
PLAIN = "<|im_start|>user {token}\n{prompt}<|im_end|><|im_start|>assistant\n"


def load(folder: Path | None) -> Generator:
    """The weights in `folder`. Its processor needs torchvision for videos alone: only its count of a picture's tokens is taken."""
    import transformers

    class Counted(transformers.LlavaOnevisionProcessor):
        """Knows how many tokens a picture of a size takes."""

        def __init__(self, pixels: Any, config: Any) -> None:
            vision = config.vision_config
            self.image_processor, self.num_image_tokens = pixels, (vision.image_size // vision.patch_size) ** 2
            self.vision_aspect_ratio = config.vision_aspect_ratio

        def of(self, height: int, width: int, side: int) -> int:
            return self._get_number_of_features(height, width, side, side)

    classes = transformers.LlavaOnevisionForConditionalGeneration, transformers.LlavaOnevisionImageProcessorPil
    parts = load_parts(folder, FACTS, *classes)
    config, tokenizer = parts.model.config, parts.tokenizer
    token, counted = picture_token(folder, tokenizer, config.image_token_index), Counted(parts.pixels, config)
    missing = int(config.vision_feature_select_strategy == "default")

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        seen = parts.pixels(images=list(pictures), return_tensors="pt")
        text = conversation(tokenizer, token, ask.prompt.strip() or DEFAULT_PROMPT, PLAIN)
        counts = [counted.of(*size, seen.pixel_values.shape[-1]) - missing for size in seen.image_sizes.tolist()]
        read = tokenizer([text.replace(token, token * count) for count in counts], return_tensors="pt", padding=True)
        given = {name: seen[name] for name in ("pixel_values", "image_sizes", "batch_num_images") if name in seen}
        return given | {"input_ids": read.input_ids, "attention_mask": read.attention_mask}

    return Generator(parts, inputs, FACTS)
