"""What a dataset says of itself: its trigger word, its class noun and what kind of pictures it holds; every change can be undone."""

from typing import Any

from studio.dataset.edit import editing
from studio.dataset.removal import add_record, forget_record, read_record
from studio.dataset.rows import Dataset
from studio.domains import find_domain
from studio.errors import StudioError
from studio.store import Workspace

MAX_WORD = 60
_NAMES = {"trigger": "trigger word", "class_noun": "class noun", "domain": "kind of pictures"}


def set_trigger(workspace: Workspace, name: str, trigger: str) -> str:
    """Keep the word that is to stand for this domain in prompts; "" for none. The word as stored."""
    return _set(workspace, name, "trigger", _word("trigger", trigger))


def set_class_noun(workspace: Workspace, name: str, noun: str) -> str:
    """Keep the plain noun for what the pictures show, one of its class; "" for none. The noun as stored."""
    return _set(workspace, name, "class_noun", _word("class_noun", noun))


def set_domain(workspace: Workspace, name: str, domain: str) -> str:
    """Say what kind of pictures these are, which decides how they are augmented by default; "" for none. The kind as stored."""
    if domain:
        find_domain(domain)
    return _set(workspace, name, "domain", domain)


def undo_about(workspace: Workspace, name: str, undo: str) -> dict[str, Any]:
    """Put back what a dataset said of itself, unless that was changed since."""
    with editing(workspace, name) as dataset:
        record = read_record(dataset.root, undo)
        key, what = record["key"], _NAMES[record["key"]]
        is_same = str(dataset.about.get(key, "")) == record["after"]
        if is_same:
            _with(dataset, key, record["before"]).save()
        forget_record(dataset.root, undo)
    return {"text": f"Put back the {what}" if is_same else f"The {what} was changed since and stays", "restored": int(is_same)}


def _word(key: str, word: str) -> str:
    text = " ".join(word.split())
    if "\n" in word.strip() or not text.isprintable():
        raise StudioError(f"{_NAMES[key]}: keep it on one line, without control characters")
    if len(text) > MAX_WORD:
        raise StudioError(f"{_NAMES[key]}: {len(text)} characters, at most {MAX_WORD} fit: shorten it")
    return text


def _set(workspace: Workspace, name: str, key: str, value: str) -> str:
    with editing(workspace, name) as dataset:
        before = str(dataset.about.get(key, ""))
        if value != before:
            shown = find_domain(value).title if key == "domain" and value else value or "nothing"
            text = f"Set the {_NAMES[key]} to {shown}"
            add_record(
                dataset.root, {"kind": "about", "text": text, "num": len(dataset.rows), "key": key, "before": before, "after": value}
            )
            _with(dataset, key, value).save()
    return value


def _with(dataset: Dataset, key: str, value: str) -> Dataset:
    about = {other: each for other, each in dataset.about.items() if other != key}
    return dataset.model_copy(update={"about": {**about, key: value} if value else about})
