"""What a captioner is to the rest of the studio; a captioner is a module with these names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ALTERNATIVES = 5


@dataclass(frozen=True)
class Suggestion:
    """What a captioner says of one picture."""

    caption: str  # "" where it does not know
    confidence: float  # probability in [0, 1] that the caption is right
    alternatives: tuple[tuple[str, float], ...] = ()  # whole captions and their probabilities, best first, the first choice among them
    reason: str = ""  # why it does not know, in a sentence


Suggest = Callable[[Sequence["Image"]], list[Suggestion]]  # RGB pictures of any size, a batch of them, in order


class Captioner(Protocol):
    """One file per captioner; torch is imported inside functions, weights are loaded by `load`."""

    TITLE: str  # what a person chooses by

    def load(self, threshold: float | None) -> Suggest: ...  # below this confidence nothing is said; None = the captioner's own
