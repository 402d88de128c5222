"""A subject by its instance token and class noun (DreamBooth, Ruiz 2023): how captions, prompts and class prompts are worded."""

import re
from typing import Any

from studio.errors import StudioError
from studio.spec import PriorSpec

RARE = "sks"  # a token that means little to a text encoder
MAX_NOUN_WORDS = 3
MAX_TOKEN = 40


def adopt(prior: PriorSpec, about: dict[str, Any], is_subject: bool) -> PriorSpec:
    """The settings with what a dataset decides filled in; StudioError where what a subject needs is missing or wrong."""
    noun = " ".join((prior.class_noun or (str(about.get("class_noun") or "") if is_subject else "")).split())
    if not noun and (is_subject or prior.weight):
        raise StudioError(
            "prior.class_noun: say in one to three words what your pictures show (dog, teapot): the new token is learned as one of these, "
            "and the class keeps the base from forgetting what others look like"
        )
    if len(noun.split()) > MAX_NOUN_WORDS or not noun.isprintable() or (noun and not re.search(r"[^\W\d_]", noun)):
        raise StudioError(f"prior.class_noun: {noun[:60]!r}: give a noun of one to three words, as dog or coffee mug, not a description")
    token = prior.token.strip() or str(about.get("trigger") or "").strip() or RARE
    if noun and (len(token.split()) != 1 or not token.isprintable() or len(token) > MAX_TOKEN):
        raise StudioError(f"prior.token: {token[:MAX_TOKEN]!r} must be one word without spaces, of at most {MAX_TOKEN} characters")
    if noun and token.lower() in noun.lower().split():
        raise StudioError(f"prior.token: {token!r} is the class noun itself: give a word that means nothing yet, as {RARE}")
    prompt = " ".join(prior.prompt.split()) or noun
    return prior.model_copy(update={"class_noun": noun, "token": token if noun else "", "prompt": prompt if noun else ""})


def phrase(prior: PriorSpec) -> str:
    """What calls the subject in a prompt: token and noun; "" where there is none."""
    return f"{prior.token} {prior.class_noun}".strip()


def reword(prior: PriorSpec, caption: str) -> str:
    """A caption about this subject: the noun with the token before it; before everything where the caption lacks the noun."""
    return _with(prior, caption, phrase(prior))


def as_class(prior: PriorSpec, caption: str) -> str:
    """A caption about any of the class: the same words without the token."""
    return _with(prior, caption, prior.class_noun)


def _with(prior: PriorSpec, caption: str, words: str) -> str:
    if not prior.class_noun:
        return caption
    plain = re.sub(rf"(?<!\w){re.escape(prior.token)}(?!\w)[,\s]*", "", caption).strip()
    noun = re.compile(rf"(?<!\w){re.escape(prior.class_noun)}(?!\w)", re.IGNORECASE)
    if noun.search(plain):
        return noun.sub(lambda _: words, plain, count=1)
    return f"{words}, {plain}" if plain else words
