"""What a run was made from: hashes of pictures, captions and base, the split and its rule, versions; and what has changed since."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from studio.dataset.masks import mask_bytes
from studio.dataset.rows import Dataset, Row
from studio.dataset.split_rule import rule_of, shared_groups
from studio.errors import StudioError
from studio.jobs.runs.folders import Run
from studio.store import sha256, write_json

FILE = "origin.json"
PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "pillow")


def write_origin(run: Run, dataset: Dataset, identity: str, device: str, warn: Callable[[str], None]) -> None:
    """Record what `run` is made from; `warn` is told of groups on both sides of the split and, on resume, of a changed dataset.

    StudioError on resume with another base.
    """
    data = {row.file: _origin_of(dataset, row) for row in dataset.rows}
    now = {"base": identity, "data": data, "packages": {name: version(name) for name in PACKAGES}, "python": sys.version.split()[0]}
    now |= {"device": device, "split_rule": rule_of(dataset).model_dump()}
    if shared := shared_groups(dataset.rows):
        warn(shared)
    if (run.folder / FILE).exists():
        if run.read(FILE, "base") != identity:
            raise StudioError(f"run {run.id}: the base model has changed since this run began: restore it, or start a new run")
        before = run.read(FILE, "data")
        if before == data:
            return
        warn("the dataset has changed since this run began; it goes on with the dataset as it is now")
        if num := _num_seen(before, data):
            warn(f"{num} held-out {'picture was' if num == 1 else 'pictures were'} trained on before: their scores flatter")
    write_json(run.folder / FILE, now)


def _origin_of(dataset: Dataset, row: Row) -> dict[str, Any]:
    """What a run takes of a picture, told by hashes."""
    found = {"image": row.sha256, "caption": sha256(dataset.caption(row).encode()), "split": row.split}
    mask = mask_bytes(dataset, row)
    found |= {"mask": sha256(mask)} if mask else {}
    found |= {"repeats": row.repeats} if row.repeats > 1 else {}
    return found | ({"edit": row.edit.model_dump(mode="json")} if row.edit else {})


def _num_seen(before: dict[str, Any], now: dict[str, Any]) -> int:
    """How many pictures are held out now that were trained on before, told by their bytes."""
    trained = {each["image"] for each in before.values() if each["split"] == "train"}
    return sum(each["image"] in trained for each in now.values() if each["split"] == "held_out")
