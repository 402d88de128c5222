"""A question about a picture as instructed models were trained to read it: by the tokenizer's template, else as their papers word it."""

from typing import Any


def conversation(tokenizer: Any, token: str, prompt: str, plain: str) -> str:
    """One turn of a user with a picture, whose place is `token`, and `prompt`; `plain` is used where the tokenizer has no template.

    The text begins without the token for the beginning, which is put there when the text becomes tokens.
    """
    if not tokenizer.chat_template:
        return plain.format(token=token, prompt=prompt)
    parts = [{"type": "image"}, {"type": "text", "text": prompt}]
    text = tokenizer.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False)
    if text.count(token) != 1:  # templates for plain text, as JoyCaption's, take a string
        turn = [{"role": "user", "content": f"{token}\n{prompt}"}]
        text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    begin = tokenizer.bos_token or ""
    return text.removeprefix(begin) if begin else text
