"""What a captioning model answers, as a caption: one line, no special tokens, no repeated phrases, cut at a sentence where it ran on."""

import re

from studio.dataset.captions import clean

MAX_PHRASE_WORDS = 24  # longer phrases that repeat are left: they are whole sentences that happen twice
KEEP_SHARE = 0.3  # of an answer that ran on: a sentence or phrase that ends later than this is where it is cut
_SPECIAL = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|</?(?:s|pad|unk|bos|eos|image|mask|start_of_turn|end_of_turn|loc_\d+|unused\d+)>|\[(?:PAD|UNK|CLS|SEP|MASK|DEC|ENC)\]",
    re.IGNORECASE,
)
_TALK = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok)\b[,!.:]*\s*)?"
    r"(?:here(?:'s| is)[^:\n]{0,60}:|(?:image |picture )?(?:caption|description)\s*:)\s*",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)|^.*?</think>", re.IGNORECASE | re.DOTALL)  # some templates open it themselves
_SENTENCE_END = re.compile(r"[.!?…](?=\s|$)|[。！？]")
_LOOP = re.compile(r"([^\W\d_a-zA-Z].{1,40}?)\1{2,}")  # three times in a row, in scripts that put no blanks between words
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "`": "`"}


def tidy(answer: str, ran_on: bool = False) -> str:
    """`answer` as a caption, "" where nothing is left; `ran_on`: it was ended by a limit and not by the model."""
    text = clean(_SPECIAL.sub(" ", _THOUGHT.sub(" ", answer)).replace("**", ""))[0]
    text = _TALK.sub("", text).strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    looped = _LOOP.sub(r"\1", text)
    words = looped.split()
    once = without_repeats(words)
    ran_on = ran_on and looped == text and len(once) == len(words)  # what went round in circles has been said
    text = " ".join(once)
    return (cut(text) if ran_on else text).strip(" ,;-，、；")


def without_repeats(words: list[str]) -> list[str]:
    """`words` with every phrase that follows itself said once: "a dog, a dog, a dog" is "a dog,"."""
    kept: list[str] = []
    plain: list[str] = []
    for word in words:
        kept.append(word)
        plain.append(word.casefold().strip(".,;:!?"))
        for size in range(1, min(MAX_PHRASE_WORDS, len(kept) // 2) + 1):
            if plain[-size:] == plain[-2 * size : -size]:
                del kept[-size:], plain[-size:]
                break
    return kept


def cut(text: str) -> str:
    """A text that was ended in the middle, up to its last whole sentence, else its last comma, else its last whole word."""
    least = int(KEEP_SHARE * len(text))
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if match.end() > least]
    if ends:
        return text[: ends[-1]]
    comma = max(text.rfind(mark) for mark in ",，、")
    return text[:comma] if comma > least else text.rpartition(" ")[0] or text
