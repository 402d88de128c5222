"""A new word on text encoders: vectors beside their own tables, and tokenizers that know them. No original is changed."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.families.clip import tokenizer_of
from studio.methods import embedding_files
from studio.methods.embedding_files import STATE_KEY, vector_names


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
        """The base's own table [V, d], which others ask for its dtype and device."""
        return self.table.weight

    def vectors(self) -> Tensor:
        """The rows [n, d] as they are read: `strength` of the way from their beginning."""
        return self.new if self.strength == 1.0 else self.first + self.strength * (self.new - self.first)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, L, d] of ids [B, L], in the precision of the table."""
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


class _Side:
    """The word on one text encoder and its tokenizer."""

    def __init__(self, parts: Parts, encoder: str, token: str, first_words: str, num_vectors: int) -> None:
        self._parts, self._name = parts, tokenizer_of(encoder)
        self._encoder, self._tokenizer = parts.modules[encoder], parts.tokenizers[self._name]
        self._table = self._encoder.get_input_embeddings()
        names = vector_names(token, num_vectors)
        self._learned = Reader(_extended(self._tokenizer, names), token, " ".join(names))
        self._plain = Reader(self._tokenizer, token, first_words)
        self.rows = Rows(self._table, _first_rows(self._tokenizer, self._table, first_words, num_vectors), len(self._tokenizer))

    def attach(self) -> None:
        """Read the word from now on."""
        self._encoder.set_input_embeddings(self.rows)
        self.read_at(1.0)

    def read_at(self, strength: float) -> None:
        """Read the word at a strength; at 0 as the words that it began as."""
        self.rows.strength = strength or 1.0
        self._parts.tokenizers[self._name] = self._learned if strength else self._plain

    def detach(self) -> None:
        """Put the base's own table and tokenizer back."""
        self._encoder.set_input_embeddings(self._table)
        self._parts.tokenizers[self._name] = self._tokenizer


class Word:
    """`methods.base.Attached` for textual inversion: one word, with vectors of its own in each of the base's text encoders."""

    def __init__(self, parts: Parts, card: Card, token: str, first_words: str, num_vectors: int, lr: float) -> None:
        self._card, self._token, self._first_words, self._num_vectors, self._lr = card, token, first_words, num_vectors, lr
        self._sides = {encoder: _Side(parts, encoder, token, first_words, num_vectors) for encoder in card.words}
        self.num_layers, self.components = num_vectors * len(self._sides), frozenset(self._sides)
        for side in self._sides.values():
            side.attach()

    def groups(self) -> list[dict[str, Any]]:
        """One optimizer group: the new rows, and nothing of the tables."""
        return [{"params": [side.rows.new for side in self._sides.values()], "lr": self._lr}]

    def state(self) -> dict[str, Tensor]:
        """The live vectors: `<text encoder>.token_embedding` [n, d], fp32."""
        return {f"{encoder}.{STATE_KEY}": side.rows.new for encoder, side in self._sides.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Copy a state of this very word back in. StudioError where it is of another."""
        live = self.state()
        if live.keys() != state.keys() or any(state[name].shape != rows.shape for name, rows in live.items()):
            raise StudioError(f"this adapter is no word of {self._num_vectors} vectors for this base: same base and vectors are needed")
        for name, rows in live.items():
            rows.data.copy_(state[name])

    def load(self, tensors: dict[str, Tensor], partly: bool = False) -> str:
        """Take over an embedding file; StudioError where it does not fit this word or this base."""
        shapes = {encoder: tuple(side.rows.new.shape) for encoder, side in self._sides.items()}
        for encoder, rows in embedding_files.read(tensors, shapes, self._card).items():
            self._sides[encoder].rows.new.data.copy_(rows)
        return f"{self._num_vectors} vectors"

    def read_as(self, text: str, strength: float) -> str:
        """`text` as it is understood at a strength: at 0 the new word is the words that it began as."""
        return text if strength else text.replace(self._token, self._first_words)

    @contextmanager
    def at(self, strengths: list[float]) -> Iterator[None]:
        """Within: at 0 the base reads the first words in the new one's place; below 1 its vectors are that far from their beginning."""
        if len(set(strengths)) > 1:
            raise ValueError("a word has one strength per pass")
        for side in self._sides.values():
            side.read_at(strengths[0])
        try:
            yield
        finally:
            for side in self._sides.values():
                side.read_at(1.0)

    def detach(self) -> None:
        """Put the base's own tables and tokenizers back."""
        for side in self._sides.values():
            side.detach()


def _first_rows(tokenizer: Any, table: nn.Module, first_words: str, num_vectors: int) -> Tensor:
    """Vectors [num_vectors, d], fp32: those of the first words, repeated where they are fewer, means of neighbours where they are more."""
    ids = tokenizer(first_words, add_special_tokens=False).input_ids
    if not ids:
        raise StudioError("method.initial_words: the new word needs one to begin with, for example picture")
    rows = table.weight.detach()[ids].float()
    if len(rows) > num_vectors:
        return torch.stack([part.mean(0) for part in rows.tensor_split(num_vectors)])
    return rows[[n % len(rows) for n in range(num_vectors)]]


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
