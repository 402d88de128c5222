"""Captions: missing, the same again and again, without the trigger word, longer than the encoder reads."""

from collections import Counter

from studio.dataset.doctor.base import Case, Check, Found, pictures
from studio.dataset.words import lacks

MIN_SHARED = 3  # pictures with one caption before that is worth a word
MOST_SHARED = 0.5  # of the dataset


def _missing(case: Case) -> Found | None:
    files = [row.file for row, text in zip(case.dataset.rows, case.captions, strict=True) if not text]
    return Found(files, f"{pictures(len(files))} without a caption") if files else None


def _shared(case: Case) -> Found | None:
    counts = Counter(text for text in case.captions if text)
    limit = max(MIN_SHARED, MOST_SHARED * len(case.captions))
    same = {text for text, num in counts.items() if num >= limit}
    told = {row.file: f"shared by {counts[text]}" for row, text in zip(case.dataset.rows, case.captions, strict=True) if text in same}
    return Found(list(told), f"{pictures(len(told))} share one caption: prompts will hardly steer the result", told) if told else None


def _no_trigger(case: Case) -> Found | None:
    trigger = str(case.dataset.about.get("trigger", ""))
    if not trigger:
        return None
    files = [row.file for row, text in zip(case.dataset.rows, case.captions, strict=True) if lacks(text, trigger)]
    return Found(files, f"{pictures(len(files))} without the trigger word {trigger!r} in the caption") if files else None


def _no_noun(case: Case) -> Found | None:
    noun = str(case.dataset.about.get("class_noun", ""))
    files = [row.file for row, text in zip(case.dataset.rows, case.captions, strict=True) if noun and lacks(text, noun)]
    return Found(files, f"{pictures(len(files))} without the class noun {noun!r} in the caption") if files else None


def _cut(case: Case) -> Found | None:
    told = {}
    for row, text in zip(case.dataset.rows, case.captions, strict=True):
        at = case.cut(text) if text else None
        if at is not None:
            told[row.file] = f"read up to “…{text[:at][-40:]}”, not read: “{text[at:][:60].strip()}{'…' if len(text) - at > 60 else ''}”"
    return Found(list(told), f"{pictures(len(told))} with a caption longer than {case.reader} reads", told) if told else None


CHECKS = (
    Check(
        "no_caption",
        "No caption",
        "What a caption does not name is learned as part of every prompt. Caption them, or fill them by a template.",
        14,
        _missing,
        ("fill", "keep"),
        reads_captions=True,
    ),
    Check(
        "same_caption",
        "One caption for many",
        "Half of the pictures or more carry the same words. Fine for a single subject, weak for a domain.",
        8,
        _shared,
        ("keep",),
        reads_captions=True,
    ),
    Check(
        "no_trigger",
        "Trigger word absent",
        "A trigger word is set, but these captions lack it: it would learn only from the others.",
        8,
        _no_trigger,
        ("trigger", "keep"),
        reads_captions=True,
    ),
    Check(
        "no_class_noun",
        "Class noun absent",
        "The subject's kind in a plain word: without it in the captions a subject is learned far worse (DreamBooth, Ruiz 2023, table 3).",
        6,
        _no_noun,
        ("class_noun", "keep"),
        reads_captions=True,
    ),
    Check(
        "long_caption",
        "Caption cut off",
        "The text encoder of the base that was chosen last stops reading before the caption ends; others read more (What is read of the "
        "captions). Put what matters first, or shorten it.",
        6,
        _cut,
        ("keep",),
        reads_captions=True,
    ),
)
