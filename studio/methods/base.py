"""What an adaptation method is to the rest of the studio; a method is a module with these names."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.families.base import Card, Parts
from studio.models.sizes import Sizes
from studio.spec import MethodSpec

if TYPE_CHECKING:
    from torch import Tensor


class Attached(Protocol):
    """An adaptation sitting on a base model."""

    num_layers: int
    components: frozenset[str]  # of the base that it changes

    def groups(self) -> list[dict[str, Any]]: ...  # optimizer groups: {"params": [...], "lr": float}
    def state(self) -> "dict[str, Tensor]": ...  # the live trained tensors by name
    def restore(self, state: "dict[str, Tensor]") -> None: ...
    def load(self, tensors: "dict[str, Tensor]", partly: bool = False) -> str: ...  # take over a file of any layout; "278/278 layers"
    def at(self, strengths: "list[float]") -> AbstractContextManager[None]: ...  # one strength per sample of a batch, in order
    def read_as(self, text: str, strength: float) -> str: ...  # a prompt as it is understood at a strength; 0 = as the base reads it
    def detach(self) -> None: ...  # base tensors and tokenizers are as before


class Method(Protocol):
    """One file per adaptation method; torch is imported inside functions."""

    Spec: type[MethodSpec]
    keeps_every_snapshot: bool  # False: the best and the last only, because each is large
    recordable: bool  # a step can be recorded as a CUDA graph; may lack: it can
    in_half: bool  # its arithmetic may be half precision from end to end, as a base is drawn with; may lack: it may not

    def supports(self, card: Card) -> str | None: ...  # the reason of a refusal, in a sentence
    def live(self, spec: MethodSpec) -> frozenset[str]: ...  # components that stay loaded, and in the gradient, while training
    def trained(self, spec: MethodSpec, sizes: Sizes) -> float: ...  # numbers that are trained, on a base of these sizes
    def adopt(self, spec: MethodSpec, about: dict[str, Any], captions: list[str], name: str) -> MethodSpec: ...  # what a dataset decides
    def reword(self, spec: MethodSpec, caption: str) -> str: ...  # a caption as the method trains on it
    def attach(self, parts: Parts, spec: MethodSpec, card: Card, seed: int) -> Attached: ...
    def layouts(self, card: Card) -> tuple[str, ...]: ...  # of its exports, the recommended one first
    def word(self, spec: MethodSpec) -> str: ...  # the word of a prompt that calls the adapter, and names its file; "" = none
    def export(self, state: "dict[str, Tensor]", spec: MethodSpec, layout: str, card: Card) -> "dict[str, Tensor]": ...
    def peft_configs(self, state: "dict[str, Tensor]", spec: MethodSpec) -> dict[str, dict[str, Any]]: ...
    def describe(self, path: Path, card: Card) -> dict[str, Any]: ...  # settings under which an adapter file can be continued
    def combine(self, parts: Parts, members: "list[tuple[dict[str, Tensor], MethodSpec, float]]", card: Card) -> Attached: ...  # may lack
    def refuses_strength(self, strength: float) -> str | None: ...  # why it has no such strength, in a sentence; may lack: it has any
    def batchable(self, spec: MethodSpec) -> bool: ...  # may base and adapted share one batched pass exactly?
    def metadata(self, spec: MethodSpec) -> dict[str, str]: ...
