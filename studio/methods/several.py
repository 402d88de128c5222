"""Methods of one run taken together, as pivotal tuning takes a new word and a LoRA; one method alone is the plain case."""

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from studio import registry
from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.methods.base import Attached
from studio.models.sizes import Sizes
from studio.spec import MethodSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def live(specs: list[MethodSpec]) -> frozenset[str]:
    """The components that any of the methods needs loaded while training."""
    return frozenset().union(*(registry.method(s.kind).live(s) for s in specs))


def reword(specs: list[MethodSpec], caption: str) -> str:
    """A caption as all the methods word it."""
    for spec in specs:
        caption = registry.method(spec.kind).reword(spec, caption)
    return caption


def keeps_every_snapshot(specs: list[MethodSpec]) -> bool:
    """Whether all snapshots of a run stay, or only the best and the last."""
    return all(registry.method(s.kind).keeps_every_snapshot for s in specs)


def trained(specs: list[MethodSpec], sizes: Sizes) -> float:
    """How many numbers all of them train together, on a base of these sizes."""
    return sum(registry.method(s.kind).trained(s, sizes) for s in specs)


def batchable(specs: list[MethodSpec]) -> bool:
    """Whether base and adapted may share a pass."""
    return all(registry.method(s.kind).batchable(s) for s in specs)


def check_strength(specs: list[MethodSpec], strength: float) -> None:
    """StudioError where one of the methods has no such strength."""
    for method in (registry.method(s.kind) for s in specs):
        refusal = method.refuses_strength(strength) if hasattr(method, "refuses_strength") else None
        if refusal:
            raise StudioError(f"strength {strength:g}: {refusal}")


def word(specs: list[MethodSpec]) -> str:
    """The word of a prompt that calls the adapter; "" where none is needed."""
    return next((w for s in specs if (w := registry.method(s.kind).word(s))), "")


def layouts(specs: list[MethodSpec], card: Card) -> tuple[str, ...]:
    """The layouts of all their exports, each the file of one method; the recommended one first."""
    return tuple(dict.fromkeys(layout for s in specs for layout in registry.method(s.kind).layouts(card)))


def keeps_base(specs: list[MethodSpec]) -> bool:
    """Whether the base stays frozen, so that it may be kept in fewer bits."""
    return all(registry.method(s.kind).keeps_every_snapshot for s in specs)


def recordable(specs: list[MethodSpec]) -> bool:
    """Whether a step of all of them can be recorded as a CUDA graph."""
    return all(getattr(registry.method(s.kind), "recordable", True) for s in specs)


def in_half(specs: list[MethodSpec]) -> bool:
    """Whether all of them may be computed in half precision from end to end, their tensors being kept in fp32."""
    return all(getattr(registry.method(s.kind), "in_half", False) for s in specs)


def writer_of(specs: list[MethodSpec], layout: str, card: Card) -> MethodSpec:
    """The method that writes a layout."""
    return next(s for s in specs if layout in registry.method(s.kind).layouts(card))


def attach(parts: Parts, specs: list[MethodSpec], card: Card, seed: int) -> Attached:
    """All the methods on the base; StudioError, and the base as before, where one cannot be."""
    members: list[Attached] = []
    try:
        for spec in specs:
            members.append(registry.method(spec.kind).attach(parts, spec, card, seed))
    except Exception:
        for member in reversed(members):
            member.detach()
        raise
    return members[0] if len(members) == 1 else Together(members)


class Together:
    """`methods.base.Attached` for several: their states side by side, each tensor under its own name."""

    def __init__(self, members: list[Attached]) -> None:
        self._members = members
        self.num_layers = sum(m.num_layers for m in members)
        self.components = frozenset().union(*(m.components for m in members))
        assert len(self.state()) == sum(len(m.state()) for m in members), "two methods use one name"

    def groups(self) -> list[dict[str, Any]]:
        """The optimizer groups of all."""
        return [group for member in self._members for group in member.groups()]

    def state(self) -> "dict[str, Tensor]":
        """The live tensors of all."""
        return {name: tensor for member in self._members for name, tensor in member.state().items()}

    def restore(self, state: "dict[str, Tensor]") -> None:
        """Copy a state of these very methods back in. StudioError where it is of others."""
        if state.keys() != self.state().keys():
            raise StudioError("this adapter is not of this run: same base and the same settings of all its methods are needed")
        for member in self._members:
            member.restore({name: state[name] for name in member.state()})

    def load(self, tensors: "dict[str, Tensor]", partly: bool = False) -> str:
        """A file holds what one method learned, so none can be taken over. StudioError, saying so."""
        raise StudioError("start_from: several methods are trained together here, and a file is of one: continue from a run")

    def read_as(self, text: str, strength: float) -> str:
        """`text` as it is understood at a strength."""
        for member in self._members:
            text = member.read_as(text, strength)
        return text

    @contextmanager
    def at(self, strengths: list[float]) -> "Iterator[None]":
        """Within: all of them at these strengths."""
        with ExitStack() as stack:
            for member in self._members:
                stack.enter_context(member.at(strengths))
            yield

    def detach(self) -> None:
        """Take all off, the last one first."""
        for member in reversed(self._members):
            member.detach()
