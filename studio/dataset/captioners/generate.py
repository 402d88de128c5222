"""Captioners that write word by word, asked batch by batch; ended between two layers of the model where nobody waits any more."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.answers import tidy
from studio.dataset.captioners.base import Ask, Facts, Suggestion
from studio.dataset.captioners.loading import Parts
from studio.device import memory_gib
from studio.errors import StudioError

if TYPE_CHECKING:
    from PIL.Image import Image

ONE_PICTURE_GIB = 0.35  # beside the weights, of a model of a billion parameters: its feature maps and what it remembers of the text
MAX_BATCH = 16
SILENCE = "answered with nothing"
Inputs = Callable[[Sequence["Image"], Ask], dict[str, Any]]  # what `generate` is given, on the CPU


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
        """One caption per picture; where the model says nothing, a reason. StudioError where the prompt is too long."""
        import torch

        if not pictures:
            return []
        model = self._parts.model
        inputs = {name: self._place(value) for name, value in self._inputs(pictures, ask).items()}
        start = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1] - self._num_dropped
        limit = _num_positions(model) - start
        if limit < 1:
            raise StudioError(f"prompt: it is too long for {self._facts.title}: shorten it")
        lost = torch.zeros(len(pictures), dtype=torch.bool, device=self._parts.device)

        def look(ids: Any, scores: Any) -> Any:
            lost.logical_or_(scores.isnan().any(-1))
            return scores

        chosen = {"do_sample": False, "num_beams": 1, "logits_processor": [look]}
        with torch.inference_mode(), _watched(model, ask):
            ids = model.generate(**inputs, max_new_tokens=min(ask.max_tokens, limit), **chosen)
        ends, rows = _ends(model), zip(ids[:, start:].tolist(), lost.tolist(), strict=True)
        return [self._lost() if is_lost else self._said(row, ask, ran_on=not ends & set(row)) for row, is_lost in rows]

    def _lost(self) -> Suggestion:
        return Suggestion("", reason=f"{self._facts.title} lost count (NaN): its weights are damaged, or too large for this precision")

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


@contextlib.contextmanager
def _watched(model: Any, ask: Ask) -> Iterator[None]:
    """Within: before each layer of the model it is asked whether anybody still wants the captions."""
    import torch

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    hooks = [layer.register_forward_pre_hook(lambda *given: ask.alive()) for stack in stacks for layer in stack]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _num_positions(model: Any) -> int:
    """How many words the model can count."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 20) - 2


def _ends(model: Any) -> set[int]:
    """The tokens by which the model says that it has finished."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = getattr(model.config.get_text_config(), "eos_token_id", None)
    return set(ends) if isinstance(ends, list | tuple) else {ends}
