"""A captioner's folder loaded into memory: safetensors alone, never from the network, in a precision that fits, without torchvision."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.dataset.captioners.base import Facts
from studio.device import dtype_of, is_out_of_memory, memory_gib, pick_device, pick_precision
from studio.errors import StudioError, printable
from studio.families.folder import read_config

SHARE = 0.9  # of free memory that weights may take
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
PICTURES = ("preprocessor_config.json", "processor_config.json")
KEPT = (  # of how a folder generates: what belongs to its words; how they are chosen is decided here
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "no_repeat_ngram_size", "repetition_penalty", "min_new_tokens",
)  # fmt: skip


@dataclass
class Parts:
    """What a folder holds: model on its device, tokenizer, and how pictures become pixels."""

    model: Any
    tokenizer: Any
    pixels: Any
    device: Any


def load_parts(folder: Path, facts: Facts, model_class: Any, pixels_class: Any) -> Parts:
    """The parts in `folder`, from safetensors alone and never from the network; StudioError in one line where they do not fit."""
    from transformers import GenerationConfig

    device = pick_device()
    if not any((folder / name).is_file() for name in PICTURES):
        raise StudioError(f"{folder}: no preprocessor_config.json says how {facts.title} sees pictures: fetch it again, whole")
    dtype = _dtype_that_fits(folder, device)
    tokenizer = read_tokenizer(folder, facts)
    with _told(folder, facts):
        pixels = pixels_class.from_pretrained(folder, local_files_only=True)
        options = {"use_safetensors": True, "dtype": dtype, "output_loading_info": True, "local_files_only": True}
        model, told = model_class.from_pretrained(folder, **options)
    if told["missing_keys"] or told["mismatched_keys"]:
        name = sorted(str(key) for key in (told["missing_keys"] or told["mismatched_keys"]))[0]
        raise StudioError(f"{folder}: its weights lack what {facts.title} needs ({printable(name)[:80]} …): fetch it again, whole")
    said = {name: value for name in KEPT if (value := getattr(model.generation_config, name, None)) is not None}
    model.generation_config = GenerationConfig(**said | {"pad_token_id": tokenizer.pad_token_id})
    if not model.config.is_encoder_decoder:
        tokenizer.padding_side = "left"
    return Parts(model.to(device).eval(), tokenizer, pixels, device)


def read_tokenizer(folder: Path, facts: Facts) -> Any:
    """The tokenizer in `folder`, with the template for questions that may lie beside it; it can fill up what is short.

    StudioError where there is none.
    """
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in VOCABULARIES):  # else the library makes one that knows no word
        raise StudioError(f"{folder}: no tokenizer is here ({', '.join(VOCABULARIES[:3])} …): fetch it again, whole")
    with _told(folder, facts):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    beside = folder / "chat_template.json"
    if not tokenizer.chat_template and beside.is_file():
        kept = read_config(beside).get("chat_template")
        tokenizer.chat_template = kept if isinstance(kept, str) else None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def picture_token(folder: Path, tokenizer: Any, token_id: int) -> str:
    """The token that stands for a picture in a text; StudioError where the tokenizer has none."""
    token = tokenizer.convert_ids_to_tokens(token_id) if 0 <= token_id < len(tokenizer) else None
    if not token:
        raise StudioError(f"{folder}: its tokenizer has no token for pictures: fetch it again, whole")
    return token


@contextlib.contextmanager
def _told(folder: Path, facts: Facts) -> Iterator[None]:
    """Within: what cannot be loaded is one line that names the folder."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StudioError) or is_out_of_memory(error):
            raise
        reason = " ".join(printable(str(error)).split())[:200] or "it is damaged"
        raise StudioError(f"{folder}: cannot be loaded as {facts.title} ({reason}): fetch it again, whole") from None


def _dtype_that_fits(folder: Path, device: Any) -> Any:
    """The precision of this device, or a shorter one where memory is short; StudioError where not even that fits."""
    used, total = memory_gib(device)
    free, stored = total - used, _stored_gib(folder)
    precision = pick_precision(device, "auto")
    if precision == "fp32" and 2 * stored > SHARE * free:  # most are stored in half precision
        precision = "bf16"
    if stored > SHARE * free:
        raise StudioError(
            f"{folder}: its weights take {stored:.1f} GiB, {free:.1f} GiB of memory are free: end other work, or choose a smaller one"
        )
    return dtype_of(precision)


def _stored_gib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 2**30
