"""Captions as language models read them, each as long as it is: shared by the families that are conditioned on one."""

from pathlib import Path

from studio.errors import StudioError
from studio.families.base import Cond, Parts


def collate(conds: list[Cond]) -> Cond:
    """A batch {name: [B, L, …]} from captions of different lengths: zeros, and zeros in the mask, behind the shorter ones."""
    from torch.nn.utils.rnn import pad_sequence

    return {name: pad_sequence([c[name] for c in conds], batch_first=True) for name in conds[0]}


def num_chat_tokens(parts: Parts, caption: str, thinking: bool) -> int:
    """Tokens of a caption as the message of a chat."""
    tokenizer, messages = parts.tokenizers["tokenizer"], [{"role": "user", "content": caption}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking)
    return len(tokenizer(text).input_ids)


def check_width(path: Path, reads: int, writes: int) -> None:
    """StudioError unless the transformer reads vectors as wide as the text encoder's."""
    if reads != writes:
        raise StudioError(
            f"{path}: its transformer reads text {reads} wide, its text_encoder writes {writes}: put that of this very model there"
        )


def no_word(title: str, encoder: str) -> dict[str, str]:
    """Why textual inversion is refused, as a family's card says it."""
    return {"textual_inversion": f"{title} reads prompts with {encoder}, a language model, and no program reads a new word for it"}
