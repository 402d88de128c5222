"""The words of a dataset's captions: counted for the cloud, looked up for a filter, and whether trigger word and class noun are in them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

Kind = Literal["tags", "words"]
MAX_SHOWN = 300
MAX_TAG_WORDS = 6  # a longer part between two commas is a sentence
TAG_PARTS = 4  # parts from which a caption is a list of tags, where they are short
TAG_WORDS = 3.0  # words of such a part, in the mean
_MARKS = "".join(c for c in map(chr, range(0x300, 0x20D0)) if unicodedata.category(c)[0] == "M")  # of letters, as vowels in Devanagari
_LETTER = rf"[^\W_][{_MARKS}]*"
_WORD = re.compile(rf"(?:{_LETTER})+(?:['’.\-/](?:{_LETTER})+)*")
_COMMA = re.compile("[,，、]")
_COMMON = frozenset(
    "a an the of in on at to and or with without from by for as is are was be it its this that these those there their his her some "
    "into over under near between behind beside which who has have had not no".split()
)


def _folded(text: str) -> str:
    """`text` without the difference of capitals, and with its accents composed."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


@lru_cache(maxsize=65536)
def words_of(caption: str) -> frozenset[str]:
    """The words of a caption in small letters, without those that say nothing by themselves."""
    return frozenset(_WORD.findall(_folded(caption))) - _COMMON


@lru_cache(maxsize=65536)
def tags_of(caption: str) -> frozenset[str]:
    """What stands between the commas of a caption, in small letters, where it is short."""
    parts = (" ".join(part.split()).strip(".;:!?。 ") for part in _COMMA.split(_folded(caption)))
    return frozenset(part for part in parts if part and len(part.split()) <= MAX_TAG_WORDS)


_SPLIT = {"tags": tags_of, "words": words_of}


def kind_of_captions(captions: Sequence[str]) -> Kind:
    """Whether captions are lists of tags or sentences, as most of them are."""
    written = [caption for caption in captions if caption]
    split = [(text, _COMMA.split(text)) for text in written]
    lists = sum(len(parts) >= TAG_PARTS and len(text.split()) <= TAG_WORDS * len(parts) for text, parts in split)
    return "tags" if 2 * lists > len(written) else "words"


def has_entry(caption: str, entry: str) -> bool:
    """Whether `entry` is a word or a tag of the caption."""
    folded = _folded(entry)
    return folded in _folded(caption) and (folded in tags_of(caption) or folded in words_of(caption))


def mentions(word: str) -> re.Pattern[str]:
    """Finds `word`, or words, whole and in any case of letters."""
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def cloud(captions: Sequence[str], about: dict[str, Any], kind: Kind | None = None) -> dict[str, Any]:
    """{"kind", "entries": [{"text", "count", "is"}], "num", "captions"}: the most frequent first; `is`: "trigger", "class" or ""."""
    kind = kind or kind_of_captions(captions)
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(_SPLIT[kind](caption))
    trigger, noun = (str(about.get(key, "")).casefold() for key in ("trigger", "class_noun"))
    roles = {**({noun: "class"} if noun else {}), **({trigger: "trigger"} if trigger else {})}
    order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    entries = [{"text": text, "count": count, "is": roles.get(text, "")} for text, count in order[:MAX_SHOWN]]
    return {"kind": kind, "entries": entries, "num": len(counts), "captions": sum(map(bool, captions))}


def check_words(captions: Sequence[str], about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"trigger", "class_noun"}: {"word", "has", "lacks"}, how many captions have it, and how many lack it; none where they are empty."""
    found = {}
    for key in ("trigger", "class_noun"):
        word = str(about.get(key, ""))
        written = [caption for caption in captions if caption]
        has = sum(bool(mentions(word).search(caption)) for caption in written) if word else 0
        found[key] = {"word": word, "has": has, "lacks": len(written) - has if word else 0}
    return found


def lacks(caption: str, word: str) -> bool:
    """Whether there is a caption, and it does not mention `word`."""
    return bool(caption) and bool(word) and not mentions(word).search(caption)
