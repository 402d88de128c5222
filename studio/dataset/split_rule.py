"""The rule by which a dataset is split: which pictures belong together, how many are held out, which draw; kept with the dataset."""

import time
from collections.abc import Sequence
from typing import Any

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.dataset.alike import ALIKE
from studio.dataset.rows import Dataset, Row
from studio.errors import StudioError, printable

RULE = "split"  # in a dataset's `about`: the rule its split follows
MAX_PATTERN = 200
MAX_S = 2.0  # for all names together: some patterns take for ever on some names


class SplitRule(BaseModel):
    """Which pictures belong together, and how many are held out; everything empty is the rule of an import."""

    model_config = ConfigDict(extra="forbid")

    groups_by: str = Field("", max_length=MAX_PATTERN, description="a pattern in folder/file name; what its groups match names the group")
    column: str = Field("", max_length=120, description="a column of metadata.jsonl, or folder")
    share: float | None = Field(None, gt=0, lt=1, allow_inf_nan=False, description="of the pictures; None = by their number")
    within: bool = Field(False, description="pictures of one patient or scene may lie on both sides; copies and look-alikes never do")
    seed: int = Field(0, ge=0, lt=2**31, description="another number draws other pictures")


def parse_rule(values: dict[str, Any]) -> SplitRule:
    """The rule in `values`; StudioError naming the first thing that is wrong with it."""
    try:
        rule = SplitRule.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StudioError(f"split: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if rule.groups_by and rule.column:
        raise StudioError("split: groups are named by a pattern or by a column, not by both")
    if rule.within and (rule.groups_by or rule.column):
        raise StudioError("split: pictures are held out within groups, or groups are named; not both")
    return rule


def rule_of(dataset: Dataset) -> SplitRule:
    """The rule that the split of `dataset` follows; that of an import where none was given, or where it cannot be read."""
    try:
        return parse_rule(dataset.about.get(RULE) or {})
    except StudioError:
        return SplitRule()


def given_names(rows: Sequence[Row], rule: SplitRule) -> list[str]:
    """The group that a person gave each row, by pattern, by column, or with the picture; "" for none.

    StudioError where the pattern cannot be used, or where pattern or column fit no picture.
    """
    if rule.within:
        return [""] * len(rows)
    if rule.column:
        names = [columns_of(row).get(rule.column, "") for row in rows]
        if not any(names):
            known = sorted({key for row in rows for key in columns_of(row)})
            raise StudioError(f"split: no picture has a column {printable(rule.column)!r}: there are {', '.join(known) or 'none'}")
        return names
    if rule.groups_by:
        names = _matches(
            rule.groups_by, [f"{row.columns['folder']}/{row.source}" if row.columns.get("folder") else row.source for row in rows]
        )
        if not any(names):
            raise StudioError(f"split: the pattern {rule.groups_by!r} fits no file name, such as {printable(rows[0].source)!r}")
        return names
    return [known_group(row) for row in rows]


def known_group(row: Row) -> str:
    """The group that a picture came with: its patient, its scene, or what its table says; "" for none."""
    return row.columns.get("group") or ("" if row.group.startswith(ALIKE) else row.group)


def shared_groups(rows: Sequence[Row]) -> str:
    """What it means for a score that groups lie on both sides of the split; "" where none does."""
    trained = {name for row in rows if row.split == "train" for name in (row.group, known_group(row)) if name}
    num = sum(bool({row.group, known_group(row)} & trained) for row in rows if row.split == "held_out")
    if not num:
        return ""
    are = "held-out picture is" if num == 1 else "held-out pictures are"
    return f"{num} {are} of groups that are trained on: the score is about new pictures of these groups, of no others"


def columns_of(row: Row) -> dict[str, str]:
    """What a row can be grouped by: the columns of its table, its folder, and what its reader knows of it."""
    return {**{key: str(value) for key, value in row.facts.items()}, **row.columns}


def _matches(text: str, names: Sequence[str]) -> list[str]:
    """What the pattern `text` finds in each of `names`, its groups joined; "" where it finds nothing. StudioError after MAX_S."""
    try:
        pattern = regex.compile(text)
    except (regex.error, RecursionError, OverflowError) as error:
        raise StudioError(f"split: the pattern {text!r} is no regular expression ({error})") from None
    until, found = time.monotonic() + MAX_S, []
    for name in names:
        try:
            match = pattern.search(name, timeout=max(0.001, until - time.monotonic()))
        except TimeoutError:
            raise StudioError(f"split: the pattern {text!r} takes too long on {printable(name)[:60]!r}: write it simpler") from None
        parts = (match.groups() or (match.group(),)) if match else ()
        found.append("|".join(part or "" for part in parts)[:120].strip("|"))
    return found
