"""A new word on a text encoder: vectors beside its own table, and a tokenizer that knows them. Neither original is changed."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from studio.errors import StudioError
from studio.families.base import Parts
from studio.methods.embedding_files import STATE_KEY, vector_names

if TYPE_CHECKING:
    from studio.methods.textual_inversion import Spec


class Rows(nn.Module):
    """A table of token embeddings with trained rows after `first_id`; ids [B, L] to embeddings [B, L, d].

    Before each training step a row that is longer than the longest of the base's own is shortened to it: a word far outside of
    what the encoder has read drowns all others.
    """

    def __init__(self, table: nn.Module, rows: Tensor, first_id: int) -> None:
        super().__init__()
        self.table, self.first_id, self.strength = table, first_id, 1.0
        self.new = nn.Parameter(rows.to(table.weight.device))
        self.register_buffer("first", self.new.detach().clone(), persistent=False)
        self.longest = float(table.weight.detach().float().norm(dim=1).max())

    @property
    def weight(self) -> Tensor:
        """The base's own table, which others ask for its dtype and device."""
        return self.table.weight

    def vectors(self) -> Tensor:
        """The rows [n, d] as they are read: `strength` of the way from their beginning."""
        return self.new if self.strength == 1.0 else self.first + self.strength * (self.new - self.first)

    def forward(self, ids: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.new.mul_((self.longest / self.new.norm(dim=1, keepdim=True).clamp_min(1e-8)).clamp(max=1.0))
        known = self.table(ids.clamp(max=self.first_id - 1))
        new = self.vectors()[(ids - self.first_id).clamp(0, len(self.new) - 1)]
        return torch.where((ids >= self.first_id)[..., None], new.to(known.dtype), known)


class Reader:
    """A tokenizer that reads `word` as `meaning`."""

    def __init__(self, tokenizer: Any, word: str, meaning: str) -> None:
        self._tokenizer, self._word, self._meaning = tokenizer, word, meaning

    def reword(self, text: str) -> str:
        """`text` as the tokenizer gets it."""
        return text.replace(self._word, self._meaning)

    def __call__(self, text: str | list[str], **options: Any) -> Any:
        return self._tokenizer(self.reword(text) if isinstance(text, str) else [self.reword(t) for t in text], **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)


class Word:
    """`methods.base.Attached` for textual inversion."""

    def __init__(self, parts: Parts, spec: "Spec", encoder: str) -> None:
        self._parts, self._spec, self._name = parts, spec, encoder
        self._tokenizer_name = encoder.replace("text_encoder", "tokenizer")
        self._encoder, self._tokenizer = parts.modules[encoder], parts.tokenizers[self._tokenizer_name]
        self._table = self._encoder.get_input_embeddings()
        self.num_layers, self.components = spec.num_vectors, frozenset({encoder})
        names = vector_names(spec.token, spec.num_vectors)
        learned = _extended(self._tokenizer, names)
        self._rows = Rows(self._table, _first_rows(self._tokenizer, self._table, spec), len(self._tokenizer))
        self._encoder.set_input_embeddings(self._rows)
        self._learned = Reader(learned, spec.token, " ".join(names))
        self._plain = Reader(self._tokenizer, spec.token, spec.initial_words)
        parts.tokenizers[self._tokenizer_name] = self._learned

    def groups(self) -> list[dict[str, Any]]:
        """One optimizer group: the new rows, and nothing of the table."""
        return [{"params": [self._rows.new], "lr": self._spec.embedding_lr}]

    def state(self) -> dict[str, Tensor]:
        """The live vectors: `<text encoder>.token_embedding` [n, d], fp32."""
        return {f"{self._name}.{STATE_KEY}": self._rows.new}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Copy a state of this very word back in."""
        found = state.get(f"{self._name}.{STATE_KEY}")
        if len(state) != 1 or found is None or found.shape != self._rows.new.shape:
            raise StudioError(f"this adapter is no word of {self.num_layers} vectors for this base: same base and vectors are needed")
        self._rows.new.data.copy_(found)

    def load(self, tensors: dict[str, Tensor], partly: bool = False) -> str:
        """Take over an embedding file; StudioError where it does not fit this word or this base."""
        from studio.methods import embedding_files

        self._rows.new.data.copy_(embedding_files.read(tensors, tuple(self._rows.new.shape)))
        return f"{self._rows.new.shape[0]} vectors"

    def read_as(self, text: str, strength: float) -> str:
        """`text` as it is understood at a strength: at 0 the new word is the words that it began as."""
        return text if strength else self._plain.reword(text)

    @contextmanager
    def at(self, strengths: list[float]) -> Iterator[None]:
        """Within: at 0 the base reads the first words in the new one's place; below 1 its vectors are that far from their beginning."""
        if len(set(strengths)) > 1:
            raise ValueError("a word has one strength per pass")
        self._rows.strength = strengths[0]
        self._parts.tokenizers[self._tokenizer_name] = self._learned if strengths[0] else self._plain
        try:
            yield
        finally:
            self._rows.strength = 1.0
            self._parts.tokenizers[self._tokenizer_name] = self._learned

    def detach(self) -> None:
        """Put the base's own table and tokenizer back."""
        self._encoder.set_input_embeddings(self._table)
        self._parts.tokenizers[self._tokenizer_name] = self._tokenizer


def _first_rows(tokenizer: Any, table: nn.Module, spec: "Spec") -> Tensor:
    """Vectors [n, d], fp32: those of the first words, repeated where they are fewer, means of neighbours where they are more."""
    ids = tokenizer(spec.initial_words, add_special_tokens=False).input_ids
    if not ids:
        raise StudioError("method.initial_words: the new word needs one to begin with, for example picture")
    rows = table.weight.detach()[ids].float()
    if len(rows) > spec.num_vectors:
        return torch.stack([part.mean(0) for part in rows.tensor_split(spec.num_vectors)])
    return rows[[n % len(rows) for n in range(spec.num_vectors)]]


def _extended(tokenizer: Any, names: list[str]) -> Any:
    """A copy of the tokenizer that knows the names as tokens of their own; StudioError where it knows one already."""
    known = tokenizer.get_vocab()
    taken = next((n for n in names if n in known or n.lower() in known or f"{n.lower()}</w>" in known), None)
    if taken:
        raise StudioError(
            f"method.token: {taken!r} is in this model's vocabulary already: choose a word that is not, as <{taken.strip('<>')}-1>"
        )
    own = copy.deepcopy(tokenizer)
    own.add_tokens([AddedToken(n, normalized=False) for n in names])
    return own
