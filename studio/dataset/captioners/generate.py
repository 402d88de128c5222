"""Captioners that write word by word: loaded from their folder without a processor that needs torchvision, and asked batch by batch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.answers import tidy
from studio.dataset.captioners.base import Ask, Facts, Suggestion
from studio.device import dtype_of, is_out_of_memory, memory_gib, pick_device, pick_precision
from studio.errors import StudioError, printable
from studio.families.folder import read_config

if TYPE_CHECKING:
    from PIL.Image import Image

SHARE = 0.9  # of free memory that weights may take
ONE_PICTURE_GIB = 0.35  # beside the weights, of a model of a billion parameters: its feature maps and what it remembers of the text
MAX_BATCH = 16
SILENCE = "answered with nothing"
Inputs = Callable[[Sequence["Image"], Ask], dict[str, Any]]  # what `generate` is given, on the CPU


@dataclass
class Parts:
    """What a folder holds: model on its device, tokenizer, and how pictures become pixels."""

    model: Any
    tokenizer: Any
    pixels: Any
    device: Any


def load_parts(folder: Path, facts: Facts, model_class: Any, pixels_class: Any) -> Parts:
    """The parts in `folder`, from safetensors alone and never from the network; StudioError in one line where they do not fit."""
    device = pick_device()
    dtype = _dtype_that_fits(folder, device)
    tokenizer = read_tokenizer(folder, facts)
    with _told(folder, facts):
        pixels = pixels_class.from_pretrained(folder, local_files_only=True)
        options = {"use_safetensors": True, "dtype": dtype, "output_loading_info": True, "local_files_only": True}
        model, told = model_class.from_pretrained(folder, **options)
    if told["missing_keys"] or told["mismatched_keys"]:
        name = sorted(str(key) for key in (told["missing_keys"] or told["mismatched_keys"]))[0]
        raise StudioError(f"{folder}: its weights lack what {facts.title} needs ({printable(name)[:80]} …): fetch it again, whole")
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    if not model.config.is_encoder_decoder:
        tokenizer.padding_side = "left"
    return Parts(model.to(device).eval(), tokenizer, pixels, device)


def read_tokenizer(folder: Path, facts: Facts) -> Any:
    """The tokenizer in `folder`, with the template for questions that may lie beside it; it can fill up what is short."""
    from transformers import AutoTokenizer

    with _told(folder, facts):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    beside = folder / "chat_template.json"
    if not tokenizer.chat_template and beside.is_file():
        kept = read_config(beside).get("chat_template")
        tokenizer.chat_template = kept if isinstance(kept, str) else None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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


def batch_that_fits(free_gib: float, num_billions: float) -> int:
    """How many pictures at once: powers of two, so that halving comes out even; short of memory, one at a time."""
    room = free_gib / (2 * ONE_PICTURE_GIB * max(0.1, num_billions))
    batch = MAX_BATCH
    while batch > 1 and batch > room:
        batch //= 2
    return batch


class Generator:
    """A captioner whose words come out of `generate`: greedy, so that the same picture gets the same caption."""

    def __init__(self, parts: Parts, inputs: Inputs, facts: Facts, num_dropped: int = 0) -> None:
        """`num_dropped`: how many tokens of a prompt the model does not give back."""
        used, total = memory_gib(parts.device)
        billions = sum(value.numel() for value in parts.model.parameters()) / 1e9
        self._parts, self._inputs, self._facts, self._num_dropped = parts, inputs, facts, num_dropped
        self.batch = batch_that_fits(total - used, billions)

    def caption(self, pictures: "Sequence[Image]", ask: Ask) -> list[Suggestion]:
        """One caption per picture; where the model says nothing, a reason."""
        import torch

        if not pictures:
            return []
        model = self._parts.model
        inputs = {name: self._place(value) for name, value in self._inputs(pictures, ask).items()}
        start = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1] - self._num_dropped
        limit = _num_positions(model) - start
        if limit < 1:
            raise StudioError(f"prompt: it is too long for {self._facts.title}: shorten it")
        with torch.inference_mode():
            ids = model.generate(
                **inputs,
                max_new_tokens=min(ask.max_tokens, limit),
                do_sample=False,
                num_beams=1,
                stopping_criteria=[lambda ids, scores, **more: _keep_on(ask, ids)],
            )
        ids = ids[:, start:].tolist()
        ends = _ends(model)
        return [self._said(row, ask, ran_on=not ends & set(row)) for row in ids]

    def _place(self, value: Any) -> Any:
        value = value.to(self._parts.device)
        return value.to(self._parts.model.dtype) if value.is_floating_point() else value

    def _said(self, ids: list[int], ask: Ask, ran_on: bool) -> Suggestion:
        answer = tidy(self._parts.tokenizer.decode(ids, skip_special_tokens=True), ran_on)
        if not answer:
            return Suggestion("", reason=f"{self._facts.title} {SILENCE}")
        begun = ask.prompt.strip() if self._facts.prompt == "beginning" else ""
        has_begun = not begun or begun.endswith(":") or answer.casefold().startswith(begun.casefold())
        return Suggestion(answer if has_begun else tidy(f"{begun} {answer}"))

    def unload(self) -> None:
        """Let go of the weights."""
        import gc

        import torch

        self._parts = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _keep_on(ask: Ask, ids: Any) -> Any:
    """No sequence is done because of this; raises where nobody wants the captions any more."""
    import torch

    ask.alive()
    return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)


def _num_positions(model: Any) -> int:
    """How many words the model can count."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 20) - 2


def _ends(model: Any) -> set[int]:
    """The tokens by which the model says that it has finished."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = getattr(model.config.get_text_config(), "eos_token_id", None)
    return set(ends) if isinstance(ends, list | tuple) else {ends}
