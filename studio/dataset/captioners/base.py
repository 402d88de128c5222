"""What a captioner is to the rest of the studio; a captioner is a module with these names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.dataset.rows import Row

MAX_ALTERNATIVES = 5
PromptKind = Literal["none", "beginning", "instruction", "template"]


@dataclass(frozen=True)
class Suggestion:
    """What a captioner says of one picture."""

    caption: str  # "" where it does not know
    confidence: float | None = None  # probability in [0, 1] that the caption is right; None where the captioner gives none
    alternatives: tuple[tuple[str, float], ...] = ()  # whole captions and their probabilities, best first, the first choice among them
    reason: str = ""  # why it does not know, in a sentence


@dataclass(frozen=True)
class Facts:
    """What is known of a captioner before anything of it is loaded."""

    title: str  # what a person chooses by
    architectures: tuple[str, ...] = ()  # by which `config.json` names its folders
    files: tuple[str, ...] = ()  # by which its folders are told where no `config.json` does
    details: Mapping[str, str] = field(default_factory=dict)  # how much it says -> what it is then asked
    detail: str = ""  # the one of these that it says by itself
    prompt: PromptKind = "none"  # whether it can be asked in words, and what they are: how the caption begins, an instruction, a template
    asked: str = ""  # the instruction that suits it best, where that is not the common one
    sees: Literal["pixels", "facts"] = "pixels"  # what captions are made of: the picture, or what is known beside it
    thresholds: tuple[float, ...] = ()  # its own: below the first nothing is said; taggers have a second one, for characters
    switches: tuple[str, ...] = ()  # those of `Ask` that it heeds: rating, escape
    licence: str = ""  # of the weights that are known under this name
    hub_id: str = ""  # of such weights on the hub, as safetensors or ONNX and without code; "" where none is known

    @property
    def needs_folder(self) -> bool:
        """Whether its weights lie in a folder that a person has."""
        return bool(self.architectures or self.files)


@dataclass(frozen=True)
class Ask:
    """How pictures are captioned; empty = the captioner's own."""

    prompt: str = ""
    detail: str = ""
    max_tokens: int = 128
    threshold: float | None = None
    character_threshold: float | None = None
    rating: bool = False  # of taggers: the likeliest rating is a tag, too
    escape: bool = False  # of taggers: brackets as prompts of A1111 and ComfyUI have them, \( and \)
    fields: tuple[str, ...] = ()  # what is known of any picture of the dataset, by names that a template can write
    trigger: str = ""  # the dataset's trigger word
    alive: Callable[[], None] = lambda: None  # called between two words; raises to end the work


class Loaded(Protocol):
    """A captioner with its weights in memory."""

    batch: int  # pictures at once that fit in memory

    def caption(
        self, pictures: "Sequence[Image] | Sequence[Row]", ask: Ask
    ) -> list[Suggestion]: ...  # RGB pictures of any size; rows where it sees facts

    def unload(self) -> None: ...  # give its memory back


class Captioner(Protocol):
    """One file per captioner; torch is imported inside functions."""

    FACTS: Facts

    def load(self, folder: Path | None) -> Loaded: ...  # StudioError, naming the folder, where it cannot be used
