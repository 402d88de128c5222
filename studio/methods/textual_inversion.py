"""Textual inversion (Gal 2022): a new word whose vectors alone are learned; every weight of the base stays as it is."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods import embedding_files
from studio.models.sizes import Sizes
from studio.settings import setting
from studio.spec import MethodSpec
from studio.store import slug

if TYPE_CHECKING:
    from torch import Tensor

    from studio.methods.word import Word

keeps_every_snapshot = True
MAX_TOKEN = 60
USUAL_WIDTH = 768  # of a text encoder
PLAIN_WORDS = frozenset("the and with from for its his her are was this that into onto over under near".split())


class Spec(MethodSpec):
    """Settings of textual inversion."""

    kind: str = "textual_inversion"
    token: str = setting(
        "", "New word", "Stands for what is learned, in captions and prompts; empty = made from the dataset's name", personal=True
    )
    num_vectors: int = setting(4, "Vectors", "Length of the new word; more hold more, and leave less room in a prompt", ge=1, le=16)
    initial_words: str = setting(
        "", "Begins as", "Words whose vectors the new word starts with; empty = the word that most captions share", personal=True
    )
    replaces: str = setting(
        "", "Replaces", "The new word takes this phrase's place in captions; empty = the dataset's trigger word", personal=True
    )
    embedding_lr: float = setting(5e-3, "Learning rate of the word", "Step size of its vectors, far above that of weights", gt=0, le=1)


def supports(card: Card) -> str | None:
    """Why this family cannot learn a word; None when it can."""
    if refusal := card.refuses.get("textual_inversion"):
        return refusal
    if not (card.text_encoders and card.text):
        return f"{card.title} reads no text, so it cannot learn a new word"
    return None if card.words else f"no program reads a new word for {card.title}: adapt its layers instead, with LoRA"


def live(spec: Spec) -> frozenset[str]:
    """The components that must stay loaded while training."""
    return frozenset({"text_encoder"})


def trained(spec: Spec, sizes: Sizes) -> float:
    """How many numbers are trained: those of the vectors, whatever the denoiser."""
    return spec.num_vectors * USUAL_WIDTH


def batchable(spec: Spec) -> bool:
    """Base and adapted read other words: they take a pass each."""
    return False


def layouts(card: Card) -> tuple[str, ...]:
    """The layouts that an export may have."""
    return ("embedding",)


def metadata(spec: Spec) -> dict[str, str]:
    """Nothing beyond what every file says: the word is a person's own and goes along as the file's name."""
    return {}


def word(spec: Spec) -> str:
    """The new word; an exported file is named after it, because many programs take the file's name for the word."""
    return spec.token


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """The tensors of an embedding file. StudioError for another layout."""
    if layout != "embedding":
        raise StudioError(f"--format {layout}: this method writes embedding")
    return embedding_files.write(state, card)


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """None: this is no PEFT method."""
    return {}


def describe(path: Path, card: Card) -> dict[str, Any]:
    """The settings under which an embedding file can be continued: its number of vectors."""
    return embedding_files.describe(path, card)


def adopt(spec: Spec, about: dict[str, Any], captions: list[str], name: str) -> Spec:
    """The settings with what a dataset decides filled in: the word, what it replaces, what it begins as.

    StudioError where that is no word.
    """
    replaces = spec.replaces or str(about.get("trigger") or "")
    token = spec.token.strip() or f"<{slug(replaces or name) or 'domain'}>"
    if token != "".join(token.split()) or not token.isprintable() or len(token) > MAX_TOKEN:
        raise StudioError(f"method.token: {token[:MAX_TOKEN]!r} must be one word without spaces, of at most {MAX_TOKEN} characters")
    if not re.search(r"\w", token):
        raise StudioError(f"method.token: {token!r} needs at least one letter or digit: its file is named after it")
    words = spec.initial_words.strip() or shared_word(captions, replaces)
    return spec.model_copy(update={"token": token, "replaces": replaces, "initial_words": words})


def shared_word(captions: list[str], beside: str = "") -> str:
    """The word that most captions share, besides those of the phrase `beside`; "picture" where they have none."""
    own = set(re.findall(r"[^\W\d_]{3,}", beside.lower()))
    counts = Counter(
        w for c in captions for w in dict.fromkeys(re.findall(r"[^\W\d_]{3,}", c.lower())) if w not in PLAIN_WORDS and w not in own
    )
    return max(counts, key=lambda w: (counts[w], len(w), w), default="picture")


def reword(spec: Spec, caption: str) -> str:
    """A caption with the new word in it: in place of the phrase it replaces, else before everything."""
    if spec.token in caption:
        return caption
    if spec.replaces:
        phrase = re.compile(rf"(?<!\w){re.escape(spec.replaces)}(?!\w)", re.IGNORECASE)
        if phrase.search(caption):
            return phrase.sub(lambda _: spec.token, caption)
    return f"{spec.token}, {caption}" if caption.strip() else spec.token


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> "Word":
    """Teach tokenizers and text encoders the new word; StudioError where the vocabulary has it, or nothing is left of its first words."""
    from studio.methods.word import Word

    return Word(parts, card, spec.token, spec.initial_words, spec.num_vectors, spec.embedding_lr)
