"""A question about a picture as instructed models were trained to read it: by the tokenizer's template, else as their papers word it."""

import contextlib
from typing import Any

import jinja2

from studio.dataset.captioners.base import Ask
from studio.dataset.captioners.generate import Inputs
from studio.dataset.captioners.prompts import DEFAULT_PROMPT
from studio.errors import StudioError


def conversation(tokenizer: Any, token: str, prompt: str, plain: str) -> str:
    """One turn of a user with a picture, whose place is `token`, and `prompt`; `plain` is used where the tokenizer has no template.

    The text begins without the token for the beginning, which is put there when the text becomes tokens.
    StudioError where that template has no place for a picture.
    """
    prompt = prompt.replace(token, " ")
    if not tokenizer.chat_template:
        return plain.format(token=token, prompt=prompt)
    parts = [{"type": "image"}, {"type": "text", "text": prompt}]
    for content in (parts, f"{token}\n{prompt}"):  # templates for plain text, as JoyCaption's, take a string
        with contextlib.suppress(jinja2.TemplateError, TypeError):
            text = tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
            if text.count(token) == 1:
                return text.removeprefix(tokenizer.bos_token or "")
    raise StudioError(f"{tokenizer.name_or_path}: its chat template is damaged, or has no place for a picture: use another copy")


def questions(processor: Any, token: str, plain: str, in_lists: bool = False, left_out: tuple[str, ...] = ()) -> Inputs:
    """What the model is given of pictures: each with the question, by its `processor`, which may want the pictures `in_lists` of one.

    `left_out`: what tokenizers may say that this model cannot be told.
    """

    def inputs(pictures: Any, ask: Ask) -> dict[str, Any]:
        text = conversation(processor.tokenizer, token, ask.prompt.strip() or DEFAULT_PROMPT, plain)
        images = [[one] for one in pictures] if in_lists else list(pictures)
        given = processor(images=images, text=[text] * len(pictures), return_tensors="pt", padding=True)
        return {name: value for name, value in given.items() if name not in left_out}

    return inputs
