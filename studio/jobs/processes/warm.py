"""A loaded base model that is kept from one request to the next, with at most one adapter on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from studio import extras, registry
from studio.device import dtype_of, memory_gib, pick_device, pick_precision
from studio.errors import StudioError
from studio.families.base import FLOW, Parts
from studio.jobs.processes import libraries
from studio.jobs.processes.park import empty_cache
from studio.methods import several
from studio.methods.base import Attached
from studio.models.bases import Base, told
from studio.models.facts import GIB
from studio.models.memory_plan import Drawing, plan_drawing
from studio.models.sizes import read_sizes
from studio.spec import BaseSpec, MethodSpec
from studio.train.memory import draw_so


def load_base(base: Base, overrides: BaseSpec, precision: str, by_parts: bool = False) -> tuple[ModuleType, Parts, str]:
    """(family, parts, precision) of a base with the overrides of a spec applied; `by_parts`: components come to the device when needed.

    StudioError where one does not suit the base.
    """
    libraries.load()
    device = pick_device()
    precision = pick_precision(device, precision)
    family = registry.family(base.family)
    parts = family.load(base.path, dtype_of(precision), "cpu" if by_parts else device)
    if by_parts:
        import torch

        parts.device, parts.host = device, torch.device("cpu")
    facts, said = parts.facts, told(base.path)
    if not base.folder.is_dir():  # what a file does not say is one guess, here and on every screen
        facts.size_px, facts.pixel_multiple = base.shape_px
    facts.title = said.get("model_name") or facts.title
    facts.licence = said.get("license_name") or said.get("license") or facts.licence
    if overrides.prediction_type and facts.prediction_type == FLOW:
        raise StudioError(f"base.prediction_type: {family.card.title} is a flow model, which predicts eps - z: leave it empty")
    facts.prediction_type = overrides.prediction_type or facts.prediction_type
    if overrides.size_px:
        if overrides.size_px % facts.pixel_multiple:
            raise StudioError(f"base.size_px: {overrides.size_px} is not a multiple of {facts.pixel_multiple}, which this model needs")
        facts.size_px = overrides.size_px
    return family, parts, precision


def plan_of(base: Base, overrides: BaseSpec, precision: str, keeps_base: bool) -> Drawing:
    """How pictures are drawn with this base in what is free on the GPU; `keeps_base`: it may be kept in fewer bits."""
    device = pick_device()
    sizes = read_sizes(base.path, registry.family(base.family).card) if device.type == "cuda" else None
    if sizes is None:
        return Drawing()
    used, total = memory_gib(device)
    each = dtype_of(pick_precision(device, precision)).itemsize
    few = keeps_base and each == 2 and extras.installed("quant")
    return plan_drawing(sizes, overrides.size_px or sizes.size_px, 1, each, (total - used) * GIB, few)


@dataclass
class Loaded:
    """A base model in memory."""

    path: Path
    identity: str
    family: ModuleType
    parts: Parts
    drawing: Drawing


class Warm:
    """At most one base model in memory, and at most one adapter on it; used again where a request asks for the same."""

    def __init__(self) -> None:
        self._base_key: Any = None
        self._base: Loaded | None = None
        self._adapter_key: Any = None
        self._adapter: Attached | None = None

    @property
    def path(self) -> Path | None:
        """Where the base model in memory comes from."""
        return self._base.path if self._base else None

    def base(self, base: Base, identity: str, overrides: BaseSpec, precision: str, keeps_base: bool = False) -> Loaded:
        """This base in memory, in fewer bits where it fits in no other way and may be (`keeps_base`); another one goes first."""
        key = (base.path, identity, overrides.size_px, overrides.prediction_type, precision)
        if self._base is None or key != self._base_key or (self._base.drawing.bits < 16 and not keeps_base):
            self.clear()
            how = plan_of(base, overrides, precision, keeps_base)
            family, parts, _ = load_base(base, overrides, precision, how.by_parts)
            draw_so(how, parts, family.card)
            self._base, self._base_key = Loaded(base.path, identity, family, parts, how), key
        return self._base

    def adapter(self, specs: list[MethodSpec], seed: int = 0) -> Attached:
        """An adapter of these methods and shapes on the base, with whatever weights it had last."""
        card, parts = self._base.family.card, self._base.parts
        return self.put(tuple((s.kind, s.model_dump_json()) for s in specs), lambda: several.attach(parts, specs, card, seed))

    def put(self, key: Any, attach: Callable[[], Attached]) -> Attached:
        """What `attach` puts on the bare base, or what is there already under this key."""
        if self._adapter is None or key != self._adapter_key:
            self.bare()
            self._adapter, self._adapter_key = attach(), key
        return self._adapter

    def bare(self) -> None:
        """Take the adapter off."""
        if self._adapter:
            self._adapter.detach()
        self._adapter = self._adapter_key = None

    def clear(self) -> None:
        """Let go of everything, and give its memory back."""
        if self._base is None:
            return
        device = self._base.parts.device
        self._adapter = self._adapter_key = self._base = self._base_key = None
        empty_cache(device)
