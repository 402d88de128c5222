"""ViT-GPT2 (Kumar 2022): a vision transformer and a GPT-2 that attends to it; a short caption, fast."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts
from studio.errors import StudioError, printable
from studio.families.folder import read_config

FACTS = Facts("ViT-GPT2", ("VisionEncoderDecoderModel",), licence="Apache 2.0")


def load(folder: Path | None) -> Generator:
    """The weights in `folder`; StudioError where they belong to a reader of documents, which has the same class."""
    from transformers import VisionEncoderDecoderModel, ViTImageProcessorPil

    decoder = read_config(folder / "config.json").get("decoder")
    kind = decoder.get("model_type") if isinstance(decoder, dict) else None
    if kind != "gpt2":
        raise StudioError(f"{folder}: it writes with {printable(str(kind))[:40]}, as readers of documents do; a captioner has gpt2 there")
    parts = load_parts(folder, FACTS, VisionEncoderDecoderModel, ViTImageProcessorPil)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        return {"pixel_values": parts.pixels(images=list(pictures), return_tensors="pt").pixel_values}

    return Generator(parts, inputs, FACTS)
