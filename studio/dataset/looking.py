"""Scans and scenes of an import looked into before it: what is there, which choices there are, and how a picture would look."""

import threading
from base64 import b64encode
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from studio import registry
from studio.dataset.facts import check_template, fill
from studio.dataset.intake import gathered
from studio.dataset.readers.base import Choices, Set
from studio.dataset.sources import Found
from studio.dataset.subjects import Subjects
from studio.dataset.surveying import Progress, chosen_sets, describe, plan, survey
from studio.dataset.worker import Worker
from studio.errors import StudioError
from studio.store import write_bytes

MAX_SETS = 500  # that are shown
ANY_RANGES = [[[0.0, 1.0], [0.0, 1.0]]]  # what becomes black and white does not change how many pictures there are


class Look:
    """The scans and scenes in `sources`, kept until `close`; any thread may ask. `folder` takes what archives hold, and previews."""

    def __init__(self, sources: Sequence[Path], folder: Path, progress: Progress) -> None:
        self._stack, self._lock, self._folder = ExitStack(), threading.Lock(), folder
        try:
            self._worker = self._stack.enter_context(Worker())
            self._found: Found = self._stack.enter_context(gathered(sources, folder, progress))
            surveyed = survey(self._found, self._worker, progress, Subjects().salt)
        except BaseException:
            self._stack.close()
            raise
        self.sets: list[Set] = surveyed.sets
        self.is_of_people = any(registry.reader(each.reader).SUBJECT == "p" for each in self.sets)
        self.num_plain = len(surveyed.plain)

    def close(self) -> None:
        """Free what was unpacked, and end the decoding process."""
        with self._lock:
            self._stack.close()

    def told(self) -> dict[str, Any]:
        """What is there, for pages: the sets, the other files by number, how many subjects, and the choices with their defaults."""
        wanted = {name for each in self.sets for name in each.choices} | {"blocks", "caption"}
        fields = {name: field for name, field in Choices.model_json_schema()["properties"].items() if name in wanted}
        return {
            "sets": describe(self.sets[:MAX_SETS]),
            "num_sets": len(self.sets),
            "plain": self.num_plain,
            "subjects": len({each.subject for each in self.sets if registry.reader(each.reader).SUBJECT}),
            "fields": fields,
            "templates": {name: registry.reader(name).CAPTION for name in dict.fromkeys(each.reader for each in self.sets)},
            "skipped": [each.model_dump() for each in self._found.skipped[:MAX_SETS]],
        }

    def preview(self, choices: Choices, number: int, share: float) -> dict[str, Any]:
        """How a picture of set `number` would look, `share` of the way through it: {"picture", "note", "caption", "name", "num", "total"}.

        "num" counts the pictures of this set, "total" those of all that `choices` take, plain ones too; empty ones are among them.
        StudioError where there is none, or it cannot be read.
        """
        (found,) = chosen_sets(self.sets, choices.model_copy(update={"series": str(number)}))
        reader = registry.reader(found.reader)
        check_template(choices.caption, set(reader.FIELDS))
        with self._lock:
            problems = Found()
            takes = sorted(plan(found, self._worker, choices, problems, lambda: None), key=lambda take: take.name)
            if not takes:
                raise StudioError(f"{found.title}: {problems.skipped[0].reason if problems.skipped else 'nothing is left of it'}")
            take = takes[min(len(takes) - 1, int(share * len(takes)))]
            target = self._folder / "preview.png"
            write_bytes(target, b"")  # says early where nothing can be written
            ask = {"reader": found.reader, "source": str(take.file.path), "ask": take.ask, "target": str(target)}
            answer = self._worker.ask(ask, lambda: None)
            told = {"num": len(takes), "total": self._total(choices), "name": take.name, "picture": "", "note": "", "caption": ""}
            if "empty" in answer:
                return told | {"note": "this one shows next to nothing and would be left out"}
            if "reason" in answer:
                raise StudioError(f"{take.file.label} {answer['reason']}")
            picture = f"data:image/png;base64,{b64encode(target.read_bytes()).decode()}"
            target.unlink()
        caption = fill(choices.caption or reader.CAPTION, take.facts | answer["facts"])
        return told | {"picture": picture, "note": answer["note"], "caption": caption}

    def _total(self, choices: Choices) -> int:
        """How many pictures the import would bring at most; a set that these choices do not suit brings none."""
        num = self.num_plain
        for each in chosen_sets(self.sets, choices):
            reader = registry.reader(each.reader)
            with suppress(StudioError):
                here = len(reader.plan(each, choices, ANY_RANGES if reader.measured(each, choices) else []))
                num += min(here, getattr(choices, reader.LIMIT) or here) if reader.LIMIT else here
        return num
