"""What is wrong with a dataset, as a list of findings and one score of readiness; nothing is decoded or measured anew."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio.dataset.doctor.base import Case, Check, Found
from studio.dataset.doctor.chart import Chart
from studio.dataset.doctor.checks import words
from studio.dataset.doctor.mends import MENDS
from studio.dataset.doctor.table import CHECKS
from studio.dataset.rows import Dataset
from studio.store import ASSETS

SMALL_PX = 64  # the embedded model's size
LONG_WORDS = 50  # about the 77 tokens of CLIP's text encoder
READER = ASSETS / "starter" / "tokenizer"  # the embedded model's
MAX_GROUPS = 200
NOT_PICTURES = {check.key for check in words.CHECKS} | {"leak"}
SPEAKING = {"exact", "near", "turned", "alike", "lying"}  # their reasons are sentences by themselves
Reads = tuple[str, dict[str, int | None]]  # (a base's name, where it stops reading each caption)
_FREE_LOSS = 1.0  # points that any finding costs at least


def diagnose(
    dataset: Dataset,
    captions: Sequence[str],
    chart: Chart,
    *,
    size_px: int = SMALL_PX,
    reader: Path = READER,
    reads: Reads | None = None,
    known: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """{"score", "checked", "measured", "compared", "findings": what each check found, most costly first}; captions as of all rows.

    `size_px` is what the base model draws, `reader` the folder of its tokenizer; `reads` = another base by its
    name, with where it stops reading each caption, in characters. `known` holds what the checks that read no
    captions have found, for as long as rows and chart stay as they are: filled here, used the next time. A finding is {"key",
    "title", "text", "why", "cost", "files", "told": why by file, "groups": [{"files", "best", "why"}], "mends": [{"mend", …}]}.
    """
    known = {} if known is None else known
    case = Case(dataset, captions, chart, size_px, lambda text: cut_at(text, reader))
    if reads:
        case = replace(case, reader=reads[0], cut=reads[1].get)
    findings = [
        _told(check, found, case)
        for check in CHECKS.values()
        if dataset.rows and (found := _without_kept(check, case, {} if known is None else known))
    ]
    findings.sort(key=lambda each: -each["cost"])
    return {
        "score": max(0, 100 - round(sum(each["cost"] for each in findings))) if dataset.rows else 0,
        "checked": chart.checked,
        "measured": sum(each is not None for each in case.measures),
        "images": len(dataset.rows),
        "compared": len(dataset.rows) < 2 or (bool(chart.compared) and chart.num_compared + len(chart.damaged) >= len(dataset.rows)),
        "findings": findings,
    }


def problems(diagnosis: dict[str, Any]) -> dict[str, list[str]]:
    """By file: what is wrong with the picture itself, in words; captions have badges of their own."""
    found: dict[str, list[str]] = {}
    for each in diagnosis["findings"]:
        if each["cost"] and each["key"] not in NOT_PICTURES:
            for file in each["files"]:
                told = each["told"].get(file, each["text"])
                found.setdefault(file, []).append(told if each["key"] in SPEAKING else f"{each['title'].lower()}: {told}")
    return found


def _without_kept(check: Check, case: Case, known: dict[str, Any]) -> Found | None:
    """What a check found, but for what a person said to keep; None where nothing is left."""
    if check.key not in known or check.reads_captions:
        known[check.key] = check.find(case)
    found = known[check.key]
    if found is None or not case.chart.kept.get(check.key):
        return found
    pixels = {row.file: row.pixels for row in case.dataset.rows}
    kept = case.chart.kept[check.key]
    if check.is_whole:
        return found
    if found.groups:
        groups = [group for group in found.groups if not case.chart.is_kept(check.key, (pixels[file] for file in group["files"]))]
        left = {file for group in groups for file in group["files"]}
    else:
        alone = {each[0] for each in kept if len(each) == 1}
        groups, left = [], {file for file in found.files if pixels[file] not in alone}
    if not left:
        return None
    if len(left) == len(found.files):
        return found
    text = f"{found.text} ({len(found.files) - len(left)} of them kept by you)"
    return Found([file for file in found.files if file in left], text, {k: v for k, v in found.told.items() if k in left}, groups)


def _told(check: Check, found: Found, case: Case) -> dict[str, Any]:
    return {
        "key": check.key,
        "title": check.title,
        "text": found.text,
        "why": check.why,
        "cost": cost(check, found, len(case.dataset.rows)),
        "files": found.files,
        "told": found.told,
        "groups": found.groups[:MAX_GROUPS],
        "mends": [{"mend": key, **MENDS[key].told(found)} for key in check.mends if MENDS[key].is_offered(found)],
    }


def cost(check: Check, found: Found, num_rows: int) -> float:
    """Points of 100: the check's weight times the square root of the share of pictures concerned, so that the first ones count most."""
    if not check.weight:
        return 0.0
    concerned = sum(max(1, len(group["files"]) - 1) for group in found.groups) if found.groups else len(found.files)
    share = 1.0 if check.is_whole and not found.told else min(1.0, max(concerned, len(found.told) if check.is_whole else 0) / num_rows)
    return round(max(_FREE_LOSS, check.weight * math.sqrt(share)), 1)


@lru_cache(maxsize=65536)
def cut_at(text: str, reader: Path = READER) -> int | None:
    """Where the encoder whose tokenizer is in `reader` stops reading `text`, in characters; None where it reads all of it.

    A folder without `tokenizer.json` is taken to read about as many words as CLIP does.
    """
    found = _tokenizer(reader)
    if found is None:
        words = text.split(" ")
        return len(" ".join(words[:LONG_WORDS])) if len(words) > LONG_WORDS else None
    tokenizer, num_tokens = found
    if len(text) < num_tokens:  # no token is shorter than a character
        return None
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return offsets[num_tokens][0] if len(offsets) > num_tokens else None


@lru_cache(maxsize=8)
def _tokenizer(folder: Path) -> tuple[Any, int] | None:
    """(the tokenizer, how many tokens of a caption it leaves room for beside begin and end); None where there is none."""
    from tokenizers import Tokenizer

    from studio.store import read_json

    if not (folder / "tokenizer.json").is_file():
        return None
    limit = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return Tokenizer.from_file(str(folder / "tokenizer.json")), (limit if isinstance(limit, int) and limit < 10**6 else 77) - 2
