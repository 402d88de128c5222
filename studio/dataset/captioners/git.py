"""GIT (Wang 2022): one small transformer that reads a picture and writes its caption; a prompt is how it begins."""

from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Ask, Facts
from studio.dataset.captioners.generate import Generator
from studio.dataset.captioners.loading import load_parts

FACTS = Facts("GIT", ("GitForCausalLM",), prompt="beginning", licence="MIT", hub_id="microsoft/git-large-coco")


def load(folder: Path | None) -> Generator:
    """The weights in `folder`."""
    from transformers import CLIPImageProcessorPil, GitForCausalLM

    parts = load_parts(folder, FACTS, GitForCausalLM, CLIPImageProcessorPil)

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        ids = parts.tokenizer([ask.prompt.strip()] * len(pictures), return_tensors="pt").input_ids[:, :-1]  # without the end of a text
        px = parts.pixels(images=list(pictures), return_tensors="pt").pixel_values
        return {"pixel_values": px, "input_ids": ids}

    return Generator(parts, inputs, FACTS)
