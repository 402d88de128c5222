"""Qwen-VL (Bai 2025), versions 2, 2.5 and 3: a language model that sees, and does as it is told."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.folder import read_architecture
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts, picture_token
from studio.dataset.captioners.prompts import DEFAULT_PROMPT

CLASSES = tuple(f"{version}ForConditionalGeneration" for version in ("Qwen3VL", "Qwen3VLMoe", "Qwen2_5_VL", "Qwen2VL"))
FACTS = Facts(
    "Qwen-VL",
    CLASSES,
    prompt="instruction",
    licence="Apache 2.0; of some sizes Qwen's own",
    hub_id="Qwen/Qwen3-VL-4B-Instruct",
)
MAX_PIXELS = 768 * 768  # per picture: what is larger is seen reduced, else a photograph fills the context


def load(folder: Path | None) -> Generator:
    """The weights in `folder`.

    Its processor needs torchvision for videos alone: picture processor and tokenizer are loaded one by one, and the
    picture's place in the text is widened here as `Qwen2VLProcessor` does.
    """
    import torch
    import transformers

    parts = load_parts(folder, FACTS, getattr(transformers, read_architecture(folder, CLASSES)), transformers.Qwen2VLImageProcessorPil)
    config, tokenizer = parts.model.config, parts.tokenizer
    token = picture_token(folder, tokenizer, config.image_token_id)
    area = config.vision_config.spatial_merge_size**2

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        seen = parts.pixels(images=[_reduced(picture) for picture in pictures], return_tensors="pt")
        prompt = (ask.prompt.strip() or DEFAULT_PROMPT).replace(token, " ")
        texts = [
            f"<|im_start|>user\n<|vision_start|>{token * int(grid.prod() // area)}<|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
            for grid in seen.image_grid_thw
        ]
        text = tokenizer(texts, return_tensors="pt", padding=True)
        given = {"pixel_values": seen.pixel_values, "image_grid_thw": seen.image_grid_thw}
        kinds = (text.input_ids == config.image_token_id).to(torch.int32)
        return given | {"input_ids": text.input_ids, "attention_mask": text.attention_mask, "mm_token_type_ids": kinds}

    return Generator(parts, inputs, FACTS)


def _reduced(picture: Any) -> Any:
    """The picture with at most MAX_PIXELS; never enlarged."""
    from PIL import Image

    share = (MAX_PIXELS / (picture.width * picture.height)) ** 0.5
    if share >= 1:
        return picture
    return picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))), Image.Resampling.LANCZOS)
