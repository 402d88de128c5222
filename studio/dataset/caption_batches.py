"""Pictures put before a captioner batch by batch: short of memory they are halved; what it fails on is told, and the rest goes on."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.dataset.captioners.base import Ask, Loaded, Suggestion
from studio.dataset.framing import as_framed
from studio.dataset.rows import Dataset, Row
from studio.device import is_out_of_memory
from studio.errors import StudioError, one_line, printable

if TYPE_CHECKING:
    from PIL.Image import Image

ASK_EVERY_S = 0.1  # whether anybody still wants the captions: captioners ask between two layers
MAX_FAILURES = 3  # before anything was captioned: then it is the captioner, not the pictures


class _Ended(BaseException):
    """Carries what ends the work through a captioner's code, whose own errors are ordinary ones."""


class Batches:
    """A captioner at work on the rows of a dataset; what cannot be read or captioned is added to `skipped`."""

    def __init__(self, dataset: Dataset, loaded: Loaded, ask: Ask, sees_facts: bool, skipped: list[dict[str, str]]) -> None:
        asked = 0.0

        def alive() -> None:
            nonlocal asked
            if time.monotonic() < asked + ASK_EVERY_S:
                return
            asked = time.monotonic()
            try:
                ask.alive()
            except Exception as error:
                raise _Ended(error) from None

        self._dataset, self._loaded, self._sees_facts, self._skipped = dataset, loaded, sees_facts, skipped
        self._ask = replace(ask, alive=alive)
        self._size, self._num_said, self._num_failed = max(1, loaded.batch), 0, 0

    def over(self, rows: Sequence[Row]) -> Iterator[tuple[int, list[tuple[Row, Suggestion]]]]:
        """(how many are done, what was said of which) batch by batch; StudioError where no picture can be captioned."""
        at = 0
        while at < len(rows):
            part = rows[at : at + self._size]
            here, given = (part, part) if self._sees_facts else self._open(part)
            said = zip(here, self._say(here, given), strict=True)
            at += len(part)
            yield at, [(row, one) for row, one in said if one is not None]

    def _say(self, here: Sequence[Row], given: Sequence[Any]) -> list[Suggestion | None]:
        """What is said of each, None where the captioner failed on it; short of memory, batches are halved from here on."""
        said: list[Suggestion | None] = []
        while len(said) < len(given):
            rows, some = (each[len(said) : len(said) + self._size] for each in (here, given))
            told = self._try(some)
            if not isinstance(told, Exception):
                self._num_said += len(told)
                said += told
            elif is_out_of_memory(told):
                self._halve(len(some))
            elif len(some) == 1:
                said.append(self._fail(rows[0], told))
            else:  # which of them it is
                said += [self._say([row], [one])[0] for row, one in zip(rows, some, strict=True)]
        return said

    def _try(self, given: Sequence[Any]) -> list[Suggestion] | Exception:
        """What the captioner says, or its error, without what that holds in memory."""
        try:
            return list(self._loaded.caption(given, self._ask))
        except _Ended as ended:
            raise ended.args[0] from None
        except StudioError:
            raise
        except Exception as error:
            return error.with_traceback(None)

    def _halve(self, num: int) -> None:
        if num == 1:
            raise StudioError("out of memory with one picture at a time: choose a smaller captioner, or a shorter length")
        self._size = num // 2
        _free_memory()

    def _fail(self, row: Row, error: Exception) -> None:
        reason, self._num_failed = one_line(error)[:200], self._num_failed + 1
        if self._num_failed >= MAX_FAILURES and not self._num_said:
            raise StudioError(f"the captioner fails on every picture ({reason}): use another one")
        self._skipped.append({"file": row.file, "reason": f"{printable(row.file)}: the captioner failed on it ({reason})"})

    def _open(self, rows: Sequence[Row]) -> "tuple[list[Row], list[Image]]":
        """The rows whose pictures can be read, and these."""
        from studio.dataset.stored import open_image

        here, pictures = [], []
        for row in rows:
            try:
                pictures.append(as_framed(open_image(self._dataset.path(row)), row.framing))
                here.append(row)
            except StudioError as error:
                self._skipped.append({"file": row.file, "reason": str(error)})
        return here, pictures


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
