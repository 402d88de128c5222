"""What files of weights do not hold, and `assets/configs` does: configurations of the published models, and their tokenizers.

A process reads each tokenizer once: models share them, and nobody changes one, for a word is learned in a copy.
"""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.store import ASSETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

CONFIGS = ASSETS / "configs"


def read(folder: Path, name: str) -> dict:
    """A bundled configuration."""
    return json.loads((folder / name).read_text("utf-8"))


@cache
def clip_tokenizer(pads_with: str = "end mark") -> "CLIPTokenizer":
    """CLIP's, which pads with its end mark, or, as OpenCLIP's does, with token 0 ("!")."""
    from transformers import CLIPTokenizer

    folder = CONFIGS / ("sd15" if pads_with == "end mark" else "sd21")
    return CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)


def open_clip_tokenizer() -> "CLIPTokenizer":
    """The same as OpenCLIP pads."""
    return clip_tokenizer("token 0")


@cache
def t5_tokenizer() -> "T5Tokenizer":
    """T5's, of 32,100 tokens."""
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(CONFIGS / "t5", local_files_only=True)


@cache
def qwen_tokenizer() -> "Qwen2Tokenizer":
    """That of Qwen2, Qwen2.5 and Qwen3: bytes, then one token for each merge in its order, then the added ones."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    told = read(CONFIGS / "qwen", "tokenizer_config.json")
    lines = (CONFIGS / "qwen" / "merges.txt").read_text("utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
    vocabulary = {token: i for i, token in enumerate([*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=told["model_max_length"])
    tokenizer.chat_template = told["chat_template"]
    tokenizer.add_tokens([AddedToken(token, special=token.startswith("<|"), normalized=False) for token in told["added_tokens"]])
    return tokenizer


TOKENIZERS: "dict[str, Callable[[], Any]]" = {
    "clip": clip_tokenizer, "open_clip": open_clip_tokenizer, "t5": t5_tokenizer, "qwen": qwen_tokenizer,
}  # fmt: skip
